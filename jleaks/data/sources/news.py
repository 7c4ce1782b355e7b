"""News: 18,846 posts of 20 newsgroups as counts of the most widespread terms.

Headers, signatures and quotes are removed as scikit-learn does.  The vocabulary, the `num_terms`
terms that occur in the most posts, is taken from all posts before any split: it is the dataset's
public description, alike for members and non-members.  Weights (TF-IDF) are not computed here; each
model fits them on its own training part (`jleaks.data.encodings`).
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jleaks.data.sources.archive import read_members
from jleaks.data.sources.builder import RecordsBuilder
from jleaks.data.sources.download import Download
from jleaks.data.sources.raw import RawInput, find_files
from jleaks.errors import InputError

DEFAULT_NUM_TERMS = 10_000

GROUPS = (
    "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware", "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles",
    "rec.sport.baseball", "rec.sport.hockey", "sci.crypt", "sci.electronics", "sci.med",
    "sci.space", "soc.religion.christian", "talk.politics.guns", "talk.politics.mideast",
    "talk.politics.misc", "talk.religion.misc",
)  # fmt: skip

_ARCHIVE = "20news-bydate.tar.gz"
_POST = re.compile(r"20news-bydate-(?P<part>train|test)/(?P<group>[^/]+)/(?P<post>[^/]+)")
_QUOTE = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")


@dataclasses.dataclass(eq=False)
class NewsConfig(tfds.core.BuilderConfig):
    """How a post becomes a record.

    Attributes:
      num_terms: Size of the vocabulary.
    """

    num_terms: int = DEFAULT_NUM_TERMS


def news_config(num_terms: int) -> NewsConfig:
    """Returns the configuration with this vocabulary, named after it.

    Raises:
      InputError: there is no such vocabulary.
    """
    if num_terms < 1:
        raise InputError(f"num_terms {num_terms}, expected at least 1")
    return NewsConfig(
        name=f"terms{num_terms}",
        description=f"Counts of the {num_terms} terms that occur in the most posts.",
        num_terms=num_terms,
    )


class News(RecordsBuilder):
    """`20news-bydate.tar.gz`: `20news-bydate-{train,test}/<group>/<post>`, as term counts.

    Columns are terms by falling number of posts that hold them (ties: alphabetically), so that a
    smaller vocabulary is the beginning of a larger one.  Counts are clipped at 255.
    """

    NOTE = "Training posts, then test posts, each by group and name."
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [news_config(DEFAULT_NUM_TERMS)]
    TASK = "news"
    HOMEPAGE = "http://qwone.com/~jason/20Newsgroups/"
    CITATION = """\
@inproceedings{lang1995newsweeder,
  author = {Ken Lang},
  title = {NewsWeeder: Learning to Filter Netnews},
  booktitle = {International Conference on Machine Learning},
  year = {1995}
}"""
    DESCRIPTION = "18,846 posts to 20 newsgroups, without headers, signatures and quotes."
    RAW_FOLDERS = ("news",)
    CONSTANT_BECAUSE = (
        "posts without a body, without a blank line after the header, or without any of the terms"
    )
    # Address and checksum as in scikit-learn.
    DOWNLOADS = (
        Download(
            "https://ndownloader.figshare.com/files/5975967",
            "sha256:8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
            name=_ARCHIVE,
        ),
    )

    _details: dict[str, Any]

    @property
    def record_shape(self) -> tuple[int, ...]:
        """See base class."""
        return (self.builder_config.num_terms,)

    @property
    def parameters(self) -> dict[str, Any]:
        """See base class."""
        return {"num_terms": self.builder_config.num_terms}

    @property
    def class_names(self) -> tuple[str, ...]:
        """See base class."""
        return GROUPS

    @classmethod
    def find(cls, folder: Path) -> list[RawInput]:
        """See base class."""
        return find_files(cls.TASK, folder, (_ARCHIVE,))

    def read(self, inputs: list[RawInput]) -> Iterator[tuple[np.ndarray, int]]:
        """See base class."""
        posts, labels = _read_posts(inputs[0].paths[0])
        counts, vocabulary = count_terms(posts, self.builder_config.num_terms)
        # The tokeniser and stop words are scikit-learn's; this tells whether they changed.
        self._details = {
            "vocabulary_sha256": hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()
        }
        for i, label in enumerate(labels):
            record = np.zeros(len(vocabulary), np.uint8)
            span = slice(counts.indptr[i], counts.indptr[i + 1])
            record[counts.indices[span]] = np.minimum(counts.data[span], 255)
            yield record, label

    def details(self) -> dict[str, Any]:
        """See base class."""
        return self._details


def _read_posts(path: Path) -> tuple[list[str], list[int]]:
    contents = read_members(path, lambda name: _POST.fullmatch(name) is not None)
    order = []
    for name in contents:
        match = _POST.fullmatch(name)
        assert match is not None
        if match["group"] not in GROUPS:
            raise InputError(
                f"{path}: post {name} of an unknown group, expected {', '.join(GROUPS)}"
            )
        order.append((match["part"] == "test", GROUPS.index(match["group"]), match["post"], name))
    order.sort()
    labels = [label for _, label, _, _ in order]
    absent = [group for label, group in enumerate(GROUPS) if label not in set(labels)]
    if absent:
        raise InputError(f"{path}: no posts of {', '.join(absent)}")
    posts = [unix_lines(contents[name].decode("latin-1")) for *_, name in order]
    return [strip(post) for post in posts], labels


def unix_lines(post: str) -> str:
    """Returns a post whose lines all end otherwise with the line ends of the published posts.

    Archives that were unpacked and packed again elsewhere have others, and in them no header has an end.
    """
    ends = post.count("\n")
    if ends and post.count("\r\n") == ends:
        return post.replace("\r\n", "\n")
    # A post of the distribution has carriage returns within its lines, which are kept.
    return post if ends else post.replace("\r", "\n")


def strip(post: str) -> str:
    """Removes header, signature and quotes, in this order, as scikit-learn's loader does."""
    return strip_quotes(strip_footer(strip_header(post)))


def strip_header(post: str) -> str:
    """Removes everything up to the first blank line."""
    return post.partition("\n\n")[2]


def strip_footer(post: str) -> str:
    """Removes what follows the last line that is blank or made of hyphens, if anything precedes it."""
    lines = post.strip().split("\n")
    for i in range(len(lines) - 1, 0, -1):
        if not lines[i].strip().strip("-"):
            return "\n".join(lines[:i])
    return post


def strip_quotes(post: str) -> str:
    """Removes lines that quote or introduce a quotation."""
    return "\n".join(line for line in post.split("\n") if not _QUOTE.search(line))


def count_terms(posts: list[str], num_terms: int) -> tuple[Any, list[str]]:
    """Counts the terms that occur in the most posts.

    Args:
      posts: N texts.
      num_terms: V.

    Returns:
      Sparse [N, V] counts (scipy, by rows) and the V terms, by falling number of posts, ties
      alphabetically.  Terms are scikit-learn's: lower case, two characters or more, no English stop
      words.

    Raises:
      InputError: there are not that many terms.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(stop_words="english")
    try:
        counts = vectorizer.fit_transform(posts)
    except ValueError as error:
        raise InputError(f"news: the posts hold no terms ({error})") from error
    if counts.shape[1] < num_terms:
        raise InputError(f"num_terms {num_terms}, but the posts hold only {counts.shape[1]} terms")
    num_posts = np.bincount(counts.indices, minlength=counts.shape[1])
    # scikit-learn's columns are in alphabetical order, which a stable sort keeps among equals.
    columns = np.argsort(-num_posts, kind="stable")[:num_terms]
    terms = vectorizer.get_feature_names_out()[columns].tolist()
    return counts[:, columns], terms
