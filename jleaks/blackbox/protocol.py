"""How an endpoint is asked: where, with what in the body, and where in its answer the posteriors are.

A protocol is data (`Protocol`), so that most are a few lines: of `jleaks.blackbox.protocols`, of a plug-in
that registers its own, or of a mapping file, TOML or JSON, whose keys are the fields of `Protocol`:

    path = "/score"                        # follows the address
    answers = "result.items[*].scores"     # where in the answer the records' posteriors are
    form = "posteriors"                    # or logits, labels, percent
    classes = ["cat", "dog"]               # order of classes that the answer names
    most_records = 16                      # of one request
    [body]                                 # what is sent; "$records" is put in
    instances = "$records"

What stands in the place of a word in the body:

    "$records"   the batch, nested lists [B, ...]; a data frame's rows as objects by column
    "$record"    the only record of a request (most_records = 1); the answer then is of one record
    "$flat"      the numbers of the batch one after the other
    "$shape"     [B, ...]
    "$datatype"  the type of the numbers as KServe writes it: FP32, INT64, UINT8
    "$count"     B

`answers` is names and positions from the outside in: "outputs[0].data", "items[*].p", "" for the answer
itself; [*] goes through a list.  What is found there may be a list of posteriors per record; one number per
record; all numbers one after the other; per record an object by class, {"cat": 0.9, "dog": 0.1}, or a
list of objects that hold a class and a number, [{"label": "cat", "score": 0.9}, ...]; or, of form labels,
classes.
"""

import dataclasses
import json
import re
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jleaks.blackbox.address import plain
from jleaks.blackbox.pace import FORMS, Form
from jleaks.errors import InputError
from jleaks.registry import Registry

_STEP = re.compile(r"\[(\d+|\*)\]|([^.\[\]]+)")
_TYPES = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "b1": "BOOL"} | {
    f"{kind}{size}": f"{name}{8 * size}"
    for kind, name in (("i", "INT"), ("u", "UINT"))
    for size in (1, 2, 4, 8)
}
# Under what names objects hold a class and its number.
_CLASS, _NUMBER = ("label", "class", "name"), ("score", "probability", "confidence", "value")


class Told(NamedTuple):
    """What an endpoint said of itself.

    Attributes:
      num_classes: K; None if it did not say.
      most_records: Of one request; None if it did not say.
      identity: What tells its answers from others'; None for its address and protocol.
      words: What stands in the place of further words in the body, by word.
      check: Returns records in the endpoint's own type, or raises InputError; None for no check.
    """

    num_classes: int | None = None
    most_records: int | None = None
    identity: str | None = None
    words: Mapping[str, Any] = types.MappingProxyType({})
    check: Callable[[Any], np.ndarray] | None = None


# From the answer to a request for `about` (parsed JSON; None where there is no such page) and the name of
# the place, to what it tells.
TellFn = Callable[[Any, str], Told]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How an endpoint is asked; see the module.

    Attributes:
      body: What is sent as JSON.
      answers: Where in the answer the records' posteriors are.
      path: That follows the address.
      method: Of HTTP.
      form: What the answers are: posteriors, logits, labels (the class alone) or percent.
      classes: Names of classes, in the order of labels 0..K-1; empty where answers name none.
      num_classes: K; None for that of the first answer.
      most_records: Of one request; None for any number.
      about: Path where it says what it is; None if it does not.
      tell: Reads what it says of itself.
    """

    body: Any
    answers: str = ""
    path: str = ""
    method: str = "POST"
    form: Form = "posteriors"
    classes: tuple[str, ...] = ()
    num_classes: int | None = None
    most_records: int | None = None
    about: str | None = None
    tell: TellFn | None = None

    def validate(self, where: str) -> "Protocol":
        """Checks the values, and returns the protocol.

        Raises:
          InputError: names every problem at once.
        """
        found = [
            f"{name} is {getattr(self, name)!r:.60}, expected text"
            for name in ("answers", "path", "method")
            if not isinstance(getattr(self, name), str)
        ]
        for name, least in (("num_classes", 2), ("most_records", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                found.append(f"{name} is {value!r:.60}, expected a whole number from {least}")
        if self.form not in FORMS:
            found.append(f"form is {self.form!r:.60}, expected one of {', '.join(FORMS)}")
        if not all(isinstance(name, str) for name in self.classes):
            found.append("classes are not a list of names")
        elif len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            found.append("classes are not at least two names, each once")
        words = set(_words(self.body))
        if not words & {"$records", "$record", "$flat"}:
            found.append('body has no "$records" (or "$record", "$flat"): no record would be sent')
        if "$record" in words and self.most_records != 1:
            found.append('body has "$record", which is for most_records = 1')
        if isinstance(self.answers, str) and _steps(self.answers) is None:
            found.append(f'answers is {self.answers!r:.60}, expected a path such as "items[*].p"')
        if found:
            raise InputError(f"{where}: {'; '.join(found)}")
        return self

    @property
    def stated(self) -> str:
        """All of it that decides what is asked, and what is read, as text."""
        names = ("method", "path", "body", "answers", "classes")
        return json.dumps([getattr(self, name) for name in names], sort_keys=True)

    def fill(self, records: Any, words: Mapping[str, Any]) -> bytes:
        """Returns the body of a request.

        Args:
          records: [B, ...] numbers, or a list of B values for JSON.
          words: Further words and what stands in their place.

        Raises:
          InputError: the body wants numbers and the records are something else, or JSON cannot hold them.
        """
        values = records.tolist() if isinstance(records, np.ndarray) else list(records)
        known: dict[str, Any] = {
            "$records": values,
            "$record": values[0],
            "$count": len(values),
            **words,
        }
        wanted = set(_words(self.body))
        if wanted & {"$flat", "$shape", "$datatype"}:
            if not isinstance(records, np.ndarray):
                raise InputError("records are objects, and the endpoint takes numbers of one type")
            known |= {"$shape": list(records.shape), "$flat": records.ravel().tolist()}
            known.setdefault("$datatype", _TYPES.get(records.dtype.str[1:], "FP64"))
        try:
            return json.dumps(_filled(self.body, known), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a record is nothing that JSON can hold: {plain(str(error))}"
            ) from error

    def read(self, value: Any, count: int, num_classes: int | None) -> Float[np.ndarray, "b w"]:
        """Finds what was answered about each record.

        Args:
          value: The answer, parsed JSON.
          count: B.
          num_classes: K, if it is known.

        Returns:
          [B, W] numbers as they came, W being K or one; of a record whose answer cannot be used, NaN.

        Raises:
          ValueError: says where the answer is something else than it should be.
        """
        steps = _steps(self.answers)
        assert steps is not None
        found = _followed(value, steps, self.answers)
        if "$record" in set(_words(self.body)):
            found = [found]
        if not isinstance(found, list):
            raise ValueError(f"{_place(self.answers)} is {_kind(found)}, expected a list")
        if len(found) != count and len(found) % count == 0 and all(map(_is_number, found)):
            width = len(found) // count
            found = [found[i * width : (i + 1) * width] for i in range(count)]
        if len(found) != count:
            raise ValueError(f"{_place(self.answers)} has {len(found)} answers for {count} records")
        if self.form == "labels":
            return np.array([[self._label(one)] for one in found])
        found = [_by_class(one) for one in found]
        named = [one for one in found if isinstance(one, dict)]
        classes = (self.classes or _names(named)) if named else ()
        return _rectangle([_row(one, classes) for one in found], num_classes)

    def _label(self, one: Any) -> float:
        if isinstance(one, list) and len(one) == 1:
            one = one[0]
        if isinstance(one, str) and self.classes:
            return float(self.classes.index(one)) if one in self.classes else np.nan
        if isinstance(one, str) and one not in self.classes:
            raise ValueError(f"{plain(one, 40)!r} is a class, and classes does not say which one")
        return _number(one)


PROTOCOLS: Registry[Protocol] = Registry("protocol")


def find_protocol(name: str) -> Protocol:
    """Returns a protocol by its name, or by the mapping file that says it.

    Raises:
      InputError: there is no such protocol, or the file cannot be used.
    """
    # Registers jleaks' own.
    from jleaks.blackbox import protocols  # noqa: F401

    if not name.endswith((".toml", ".json")):
        if name not in PROTOCOLS:
            raise InputError(
                f"unknown protocol {name!r}; allowed: {', '.join(PROTOCOLS)}, or a mapping file "
                "(.toml or .json: path, body, answers, ...)"
            )
        return PROTOCOLS[name]
    path = Path(name)
    try:
        text = path.read_text("utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {plain(str(error))}") from error
    allowed = [f.name for f in dataclasses.fields(Protocol) if f.name not in ("about", "tell")]
    if not isinstance(value, dict) or "body" not in value:
        raise InputError(f"{path} has no body, expected some of {', '.join(allowed)}")
    if unknown := sorted(set(value) - set(allowed)):
        raise InputError(f"{path} has {', '.join(unknown)}, expected some of {', '.join(allowed)}")
    if isinstance(value.get("classes"), list):
        value["classes"] = tuple(value["classes"])
    elif "classes" in value:
        raise InputError(f"{path}: classes is {value['classes']!r:.60}, expected a list of names")
    return Protocol(**value).validate(str(path))


def _words(body: Any) -> list[str]:
    """Returns the words of a body that something stands in the place of."""
    if isinstance(body, dict):
        return [word for value in body.values() for word in _words(value)]
    if isinstance(body, list):
        return [word for value in body for word in _words(value)]
    return [body] if isinstance(body, str) and body.startswith("$") else []


def _filled(body: Any, known: dict[str, Any]) -> Any:
    if isinstance(body, dict):
        return {name: _filled(value, known) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, known) for value in body]
    return known.get(body, body) if isinstance(body, str) else body


def _steps(path: str) -> list[str | int] | None:
    """Returns the names, positions and stars of a path; None if it is none."""
    found: list[str | int] = []
    for match in _STEP.finditer(path):
        index, name = match.groups()
        found.append(name if index is None else "*" if index == "*" else int(index))
    rest = _STEP.sub("", path)
    return found if not rest.strip(".") and ".." not in path else None


def _followed(value: Any, steps: Sequence[str | int], path: str) -> Any:
    for i, step in enumerate(steps):
        if step == "*":
            if not isinstance(value, list):
                raise ValueError(f"{_place(path)}: [*] is {_kind(value)}, expected a list")
            return [_followed(item, steps[i + 1 :], path) for item in value]
        if isinstance(step, int):
            if not isinstance(value, list) or len(value) <= step:
                raise ValueError(f"{_place(path)}: there is no [{step}] in {_kind(value)}")
            value = value[step]
        else:
            if not isinstance(value, dict) or step not in value:
                raise ValueError(f"there is no {step!r} in {_kind(value)}")
            value = value[step]
    return value


def _place(path: str) -> str:
    return path or "the answer"


def _kind(value: Any) -> str:
    """Returns what a value of JSON is, in words."""
    if isinstance(value, dict):
        names = ", ".join(plain(str(name), 20) for name in list(value)[:5])
        return f"an object of {names or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{plain(json.dumps(value), 60)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    """Returns a number; NaN for what is none.  Text may be a number, or one in percent."""
    if isinstance(value, str):
        try:
            return float(value.strip().removesuffix("%")) if len(value) < 40 else np.nan
        except ValueError:
            return np.nan
    try:
        return float(value) if _is_number(value) else np.nan
    except OverflowError:
        return np.nan


def _of(part: dict[str, Any], names: Sequence[str]) -> Any:
    """Returns what an object holds under the first of these names that it has."""
    found = next((part[name] for name in names if name in part), None)
    return found if isinstance(found, (str, int, float)) else None


def _by_class(one: Any) -> Any:
    """Returns a list of objects, each a class and its number, as one object by class."""
    if isinstance(one, list) and one and all(isinstance(part, dict) for part in one):
        return {_of(part, _CLASS): _of(part, _NUMBER) for part in one}
    return one


def _row(one: Any, classes: Sequence[Any]) -> list[float]:
    if isinstance(one, dict):
        return [_number(one.get(name)) for name in classes]
    if isinstance(one, list):
        # [[p]] per record is what some servers make of one output.
        flat = one[0] if len(one) == 1 and isinstance(one[0], list) else one
        return [_number(part) for part in flat]
    return [_number(one)]


def _names(found: Sequence[dict[Any, Any]]) -> list[Any]:
    """Returns the classes that answers name, in the order of labels: as numbers, or sorted."""
    if any(one.keys() != found[0].keys() for one in found):
        raise ValueError(
            "the answers do not all name the same classes; classes says which there are, in order"
        )
    try:
        return sorted(found[0], key=lambda name: float(str(name)))
    except ValueError:
        return sorted(found[0], key=str)


def _rectangle(rows: Sequence[list[float]], num_classes: int | None) -> Float[np.ndarray, "b w"]:
    """Returns rows of one width; those of another are NaN, unless none is as wide as it should be."""
    widths = [len(row) for row in rows]
    usual = max(set(widths), key=widths.count)
    if num_classes is not None and num_classes in widths:
        usual = num_classes
    if usual == 0 or (
        num_classes is not None and usual != num_classes and (usual, num_classes) != (1, 2)
    ):
        expected = "" if num_classes is None else f", expected {num_classes} classes"
        raise ValueError(f"{usual} posteriors for each record{expected}")
    return np.array([row if len(row) == usual else [np.nan] * usual for row in rows])
