"""Adult: 48,842 people of the 1994 US census, 14 attributes, income above 50,000 dollars or not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files
from jleaks.data.tasks import ADULT_NUMERIC
from jleaks.errors import InputError
from jleaks.fields import whole_number

# The files' columns, before the label.
_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country",
)  # fmt: skip

# Codes are positions in these lists, which are those of `adult.names`, in its order; "?" comes last
# where the data has unknowns.
CATEGORIES = {
    "workclass": (
        "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov",
        "Without-pay", "Never-worked", "?",
    ),
    "education": (
        "Bachelors", "Some-college", "11th", "HS-grad", "Prof-school", "Assoc-acdm", "Assoc-voc",
        "9th", "7th-8th", "12th", "Masters", "1st-4th", "10th", "Doctorate", "5th-6th", "Preschool",
    ),
    "marital-status": (
        "Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed",
        "Married-spouse-absent", "Married-AF-spouse",
    ),
    "occupation": (
        "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial",
        "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical",
        "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv",
        "Armed-Forces", "?",
    ),
    "relationship": (
        "Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried",
    ),
    "race": ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"),
    "sex": ("Female", "Male"),
    "native-country": (
        "United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany",
        "Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran",
        "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal",
        "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti", "Columbia",
        "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia", "El-Salvador",
        "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands", "?",
    ),
}  # fmt: skip

_CODES = {
    column: {category: code for code, category in enumerate(categories)}
    for column, categories in CATEGORIES.items()
}
_NUMERIC_AT = tuple(_COLUMNS.index(column) for column in ADULT_NUMERIC)
_CATEGORIES_AT = tuple((_COLUMNS.index(column), column) for column in CATEGORIES)
_LABELS = ("<=50K", ">50K")

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"


class Adult(RecordsBuilder):
    """`adult.data` and `adult.test`: 6 numbers, then 8 category codes (see `CATEGORIES`)."""

    NOTE = "Training rows, then test rows; '?' is a category of its own."
    TASK = "adult"
    HOMEPAGE = "https://archive.ics.uci.edu/dataset/2/adult"
    CITATION = """\
@misc{becker1996adult,
  author = {Barry Becker and Ronny Kohavi},
  title = {Adult},
  year = {1996},
  howpublished = {UCI Machine Learning Repository},
  doi = {10.24432/C5XW20}
}"""
    DESCRIPTION = (
        "Does somebody earn more than 50,000 dollars a year?  14 attributes of 48,842 people, from "
        "the 1994 US census."
    )
    RAW_FOLDERS = ("adult",)
    # The repository publishes no checksums; these many projects have pinned for its files.
    DOWNLOADS = (
        Download(
            f"{_UCI}adult.data",
            "sha256:5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        ),
        Download(
            f"{_UCI}adult.test",
            "sha256:a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        ),
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """See base class."""
        return _LABELS

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        return find_files(cls.TASK, folder, ("adult.data", "adult.test"))

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        for raw in inputs:
            path = raw.paths[0]
            with path.open(encoding="ascii", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    text = line.strip()
                    # The test file begins with "|1x3 Cross validator"; both end in an empty line.
                    if text and not text.startswith("|"):
                        yield _parse(text, f"{path}, line {number}")


def _parse(text: str, where: str) -> tuple[np.ndarray, int]:
    fields = [field.strip() for field in text.split(",")]
    if len(fields) != len(_COLUMNS) + 1:
        raise InputError(f"{where}: {len(fields)} columns, expected {len(_COLUMNS) + 1}")
    values = []
    for i in _NUMERIC_AT:
        if (value := whole_number(fields[i])) is None:
            raise InputError(f"{where}: {_COLUMNS[i]} {fields[i]!r:.40}, expected a whole number")
        values.append(value)
    for i, column in _CATEGORIES_AT:
        if fields[i] not in _CODES[column]:
            raise InputError(
                f"{where}: {column} {fields[i]!r}, expected one of {', '.join(CATEGORIES[column])}"
            )
        values.append(_CODES[column][fields[i]])
    # The test file writes "<=50K." and ">50K.".
    label = fields[-1].removesuffix(".")
    if label not in _LABELS:
        raise InputError(f"{where}: label {fields[-1]!r}, expected {' or '.join(_LABELS)}")
    return np.array(values, np.int32), _LABELS.index(label)
