"""Endpoints, and functions, as black boxes that are asked at a price (`jleaks.blackbox.asked`)."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jleaks.attacks import probabilities
from jleaks.blackbox.address import plain, read_address
from jleaks.blackbox.answers import Answers
from jleaks.blackbox.asked import Asked, TooManyError
from jleaks.blackbox.pace import Clock, Form, Incomplete, Limits, retry_after
from jleaks.blackbox.protocol import Protocol, Told, find_protocol
from jleaks.blackbox.transport import PassingError, Response, Transport, wait_out
from jleaks.errors import InputError
from jleaks.training.preemption import StopSignal

# Too many requests; failed; bad gateway; unavailable; gateway timed out: may pass if asked again.
_PASSING = frozenset({429, 500, 502, 503, 504})
# Of these, those that say that nothing was answered.
_REFUSED = frozenset({429, 503})
# Bytes of an answer: of anything, of each record at least, of each of its posteriors, at most.
_ANY, _RECORD, _NUMBER, _MOST = 1 << 20, 1 << 15, 64, 1 << 28


class EndpointSource:
    """An endpoint: what it is asked with, and what its answers say; see `jleaks.blackbox.asked.Source`.

    Attributes:
      told: What it said of itself.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol,
        limits: Limits,
        headers: Mapping[str, str],
        num_classes: int | None,
        form: Form | None,
        clock: Clock,
        report: Callable[[str], None],
        is_stopped: Callable[[], bool],
    ):
        """Asks the endpoint what it is, where the protocol has a page for that; it costs no query."""
        address = read_address(url)
        # The address of the model, or of the page that answers.
        path = address.path.removesuffix(protocol.path)
        self._address = dataclasses.replace(address, path=path)
        self.name, self._protocol, self._clock = self._address.shown, protocol, clock
        self.form: Form = form or protocol.form
        self._transport = Transport(
            self._address,
            {"Content-Type": "application/json", "Accept": "application/json", **headers},
            limits.connect_timeout,
            limits.read_timeout,
            limits.answer_timeout,
            is_stopped,
        )
        self.told = Told()
        try:
            if protocol.tell is not None and protocol.about is not None:
                said = self._about(protocol.about, limits, report)
                self.told = protocol.tell(said, self.name + protocol.about)
        except BaseException:
            self.close()
            raise
        self.most_records = self.told.most_records or protocol.most_records
        self.num_classes = (
            num_classes
            or self.told.num_classes
            or protocol.num_classes
            or len(protocol.classes)
            or None
        )
        place = self._address.place
        self.identity = _digest(self.told.identity or f"{place} {protocol.stated}")
        self.account = self.identity if self.told.identity else _digest(place)

    def _about(self, path: str, limits: Limits, report: Callable[[str], None]) -> Any:
        """Returns what the endpoint says of itself, parsed; None where a protocol can do without."""
        failures, where = 0, self.name + path
        while True:
            try:
                response = self._answered("GET", path, None, _ANY)
                break
            except PassingError as error:
                failures += 1
                wait_out(error, failures, where, limits, self._clock, report)
            except _NotFoundError as error:
                if self._protocol.about:
                    raise InputError(
                        f"{error}; an endpoint that is not jleaks' is asked by another --protocol"
                    ) from error
                return None
        try:
            return json.loads(response.data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} answered what is not JSON {_said(response.data)}") from error

    def prepare(self, records: Any) -> Any:
        """Returns the records as the endpoint takes them, or raises InputError."""
        if hasattr(records, "to_dict") and hasattr(records, "dtypes"):
            if all(kind.kind in "biuf" for kind in records.dtypes):
                records = records.to_numpy()
            else:
                # As JSON has it: numbers, text, null.
                return json.loads(records.to_json(orient="records"))
        found = np.asarray(records)
        if self.told.check is not None:
            return self.told.check(found)
        if found.ndim == 0 or not len(found):
            raise InputError("there are no records to answer")
        if found.dtype.kind in "OUS":
            return found.tolist()
        if found.dtype.kind not in "biuf":
            raise InputError(f"records are {found.dtype}, expected numbers or text")
        bad = ~np.isfinite(found.reshape(len(found), -1)).all(1)
        if bad.any():
            raise InputError(
                f"record {np.argmax(bad)} has a number that is not finite, which JSON has not"
            )
        return found

    def request(self, records: Any) -> bytes:
        """Returns the body of a request."""
        return self._protocol.fill(records, self.told.words)

    def send(self, request: bytes, num_records: int) -> bytes:
        """Sends a request once, and returns the body of its answer."""
        each = max(_RECORD, _NUMBER * (self.num_classes or 0))
        most = min(_ANY + num_records * each, _MOST)
        return self._answered(self._protocol.method, self._protocol.path, request, most).data

    def read(self, answer: bytes, num_records: int) -> Float[np.ndarray, "b w"]:
        """Returns the numbers of each record."""
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not JSON {_said(answer)}") from error
        wanted = self.num_classes if self.form != "labels" else None
        return self._protocol.read(value, num_records, wanted)

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def _answered(self, method: str, path: str, body: bytes | None, most: int) -> Response:
        where = self.name + path
        try:
            response = self._transport.send(method, path, body, most)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        status, said = response.status, _said(response.data)
        if status in _PASSING:
            raise PassingError(
                f"status {status} {said}",
                retry_after(response.headers.get("retry-after"), self._clock),
                status in _REFUSED,
                # A model that fails on a batch mostly fails on it again.
                1 if status == 500 else None,
            )
        if status == 413 and body is not None:
            raise TooManyError(f"status 413 {said}")
        if 300 <= status < 400:
            to = plain(response.headers.get("location", "nowhere"), 100)
            raise InputError(
                f"{where} answered status {status}, to {to}: redirects are not followed"
            )
        if status in (404, 405):
            raise _NotFoundError(f"{where} answered status {status} {said}")
        if status != 200:
            raise InputError(f"{where} answered status {status} {said}")
        return response


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _NotFoundError(InputError):
    """There is no such page."""


class FunctionSource:
    """A function from records to posteriors; see `jleaks.blackbox.asked.Source`."""

    def __init__(
        self,
        fn: Callable[[Any], Any],
        name: str,
        identity: str,
        num_classes: int | None,
        form: Form,
    ):
        self._fn, self.name, self.identity = fn, name, identity
        self.account = identity
        self.num_classes, self.form = num_classes, form
        self.most_records: int | None = None

    def prepare(self, records: Any) -> Any:
        """Returns the records themselves, data frames by rows."""
        if hasattr(records, "iloc"):
            return _Frame(records)
        array = probabilities.as_array(records, self.name, "records")
        if array.ndim == 0 or not len(array):
            raise InputError(f"{self.name}: there are no records to ask about")
        return array

    def request(self, records: Any) -> Any:
        """Returns the batch as the function takes it."""
        return records.frame if isinstance(records, _Frame) else records

    def send(self, request: Any, num_records: int) -> np.ndarray:
        """Calls the function; tensors of other frameworks come as arrays."""
        try:
            found = self._fn(request)
        except InputError:
            raise
        # Whatever a user's function raises.
        except (Exception, SystemExit) as error:
            said = plain(str(error))
            raise InputError(
                f"{self.name} failed on {num_records} records: {type(error).__name__}: {said}"
            ) from error
        if hasattr(found, "detach"):
            found = found.detach().cpu()
        return probabilities.as_array(found, self.name, "posteriors")

    def read(self, answer: np.ndarray, num_records: int) -> Float[np.ndarray, "b w"]:
        """Returns the numbers of each record."""
        wanted = self.num_classes or "K"
        expected = f"expected [{num_records} records, {wanted} classes]"
        if not probabilities.is_number(answer) and answer.dtype != bool:
            raise ValueError(f"posteriors are {answer.dtype}, expected numbers")
        array = answer[:, None] if answer.ndim == 1 else answer
        if array.ndim != 2 or len(array) != num_records or not array.shape[1]:
            raise ValueError(f"posteriors have shape {answer.shape}, {expected}")
        width, count = array.shape[1], self.num_classes
        if self.form != "labels" and count not in (None, width) and (width, count) != (1, 2):
            raise ValueError(f"{width} posteriors for each record, {expected}")
        return array.astype(np.float64)

    def close(self) -> None:
        """Does nothing."""


class _Frame:
    """A data frame by rows."""

    def __init__(self, frame: Any):
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __iter__(self) -> Any:
        return iter(json.loads(self.frame.to_json(orient="records")))

    def take(self, rows: Any) -> "_Frame":
        """Returns some rows."""
        return _Frame(self.frame.iloc[rows])


def endpoint(
    url: str,
    limits: Limits | None = None,
    answers: Answers | str | os.PathLike[str] | None = None,
    *,
    protocol: str | Protocol = "jleaks",
    headers: Mapping[str, str] | str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    form: Form | None = None,
    incomplete: Incomplete = "stop",
    report: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
    stop: StopSignal | None = None,
) -> Asked:
    """Returns an endpoint as a black box.

    Args:
      url: Of the endpoint, without the path of a request: http://127.0.0.1:8000.  User and password in it
        are sent as Basic authorization, and shown nowhere.
      limits: How it may be asked.
      answers: Where its answers are kept: a store, or its file's path; None for this process's memory.
      protocol: Its name (`jleaks.blackbox.protocols`), a mapping file, or the protocol itself.
      headers: Sent with each request (an API's key), or the path of a file of them (`read_headers`); they
        are shown and kept nowhere.
      num_classes: K; None for what the endpoint or its first answer says.
      form: What its answers are; None for what the protocol says.
      incomplete: What to do about records without a usable answer (`jleaks.blackbox.asked.Asked`).
      report: Receives a sentence after each batch and before each wait.
      clock: Time and chance.
      stop: Ends the asking.

    Raises:
      InputError: the address, the limits, the protocol or what the endpoint says of itself cannot be used.
      EndpointError: it cannot be reached.
    """
    limits, clock = (limits or Limits()).validate(), clock or Clock()
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    protocol.validate("the protocol")
    if isinstance(headers, (str, os.PathLike)):
        headers = read_headers(headers)
    source = EndpointSource(
        url, protocol, limits, headers or {}, num_classes, form, clock, report,
        lambda: stop is not None and stop.received is not None,
    )  # fmt: skip
    try:
        return Asked(
            source, limits, answers, incomplete=incomplete, report=report, clock=clock, stop=stop
        )
    except BaseException:
        source.close()
        raise


def metered(
    fn: Callable[[Any], Any],
    limits: Limits | None = None,
    answers: Answers | str | os.PathLike[str] | None = None,
    *,
    name: str = "the function",
    identity: str = "",
    num_classes: int | None = None,
    form: Form = "posteriors",
    incomplete: Incomplete = "stop",
    report: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
    stop: StopSignal | None = None,
) -> Asked:
    """Returns a function as a black box, behind the same budget, pace and store as an endpoint.

    Args:
      fn: From [B, ...] records (or a data frame) to [B, K] posteriors, as anything NumPy can read, or a
        tensor.
      limits: How it may be asked: batch, rates and budget.
      answers: Where its answers are kept: a store, or its file's path; None for this process's memory.
      name: Of the function, for messages.
      identity: What its kept answers are found by: say which model answers, and its version.
      num_classes: K; None for that of the first answer.
      form: What it returns.
      incomplete: What to do about records without a usable answer (`jleaks.blackbox.asked.Asked`).
      report: Receives a sentence after each batch.
      clock: Time and chance.
      stop: Ends the asking.

    Raises:
      InputError: the limits cannot be used.
    """
    source = FunctionSource(fn, name, identity or name, num_classes, form)
    return Asked(
        source, limits, answers, incomplete=incomplete, report=report, clock=clock, stop=stop
    )


def read_headers(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads headers from a file of lines "Name: value"; empty lines and those that begin with # are none.

    Raises:
      InputError: the file cannot be read or a line is no header; the message shows no value.
    """
    try:
        lines = Path(path).read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise InputError(f"cannot read headers from {path}: {why}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        good = name and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name)
        if not colon or not good or not value.strip() or not value.strip().isprintable():
            raise InputError(
                f"{path}:{number} is no header, expected a line such as X-API-Key: ..."
            )
        found[name] = value.strip()
    return found


def _said(data: bytes) -> str:
    """Returns an endpoint's own message in one line: its JSON's "error" or "detail", or its text."""
    text = data[:10_000].decode(errors="replace")
    try:
        value = json.loads(data[:10_000])
        text = str(next(value[name] for name in ("error", "detail", "message") if name in value))
    except (ValueError, KeyError, TypeError, RecursionError, StopIteration):
        pass
    return f"({plain(text)})"
