"""Asking a black box behind HTTP: the attacker's side of `jleaks.blackbox.protocol`.

urllib3 carries the requests.  Sending them again is done here: every attempt has to keep the pace and
to be counted against the budget before it leaves, which urllib3's own retries cannot do.

What counts against the budget: every record that was sent, unless the endpoint certainly did not answer it
(no connection; status 429 or 503).  A request that timed out may have been paid for.
"""

import contextlib
import hashlib
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import urllib3
from jaxtyping import Float, Num
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    TimeoutError,  # noqa: A004 - the name that urllib3 gave it
)

from jleaks.blackbox.answers import Answers, record_key
from jleaks.blackbox.box import check_answer
from jleaks.blackbox.pace import Clock, Limits, Pace, retry_after, wait_seconds
from jleaks.blackbox.protocol import ABOUT, POSTERIORS, About, check_records, read_about
from jleaks.errors import InputError

# Too many requests; bad gateway; unavailable; gateway timed out: may pass if asked again.
_PASSING = frozenset({429, 502, 503, 504})
# Of these, those that say that nothing was answered.
_REFUSED = frozenset({429, 503})
_ERROR_LENGTH = 200  # characters of an endpoint's own message that are shown


class BudgetError(InputError):
    """The next request would exceed the budget; it was not sent, and all answers so far are kept."""


class EndpointError(RuntimeError):
    """The endpoint could not be reached, or kept failing; all answers so far are kept."""


class _PassingError(Exception):
    """One attempt failed in a way that may pass."""

    def __init__(self, reason: str, asked_for: float | None = None, is_unanswered: bool = False):
        super().__init__(reason)
        self.asked_for = asked_for  # seconds that the endpoint asks to wait
        self.is_unanswered = is_unanswered  # whether it certainly did not answer


class HttpBox:
    """A black box behind HTTP."""

    def __init__(
        self,
        url: str,
        limits: Limits | None = None,
        answers: Answers | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ):
        """Asks the endpoint what it is; that costs no query.

        Args:
          url: Of the endpoint, without the path of a request: http://127.0.0.1:8000.
          limits: How it may be asked.
          answers: Where its answers are kept; None for the memory of this process.
          headers: Sent with each request (an API's key).
          report: Receives a sentence after each batch and before each wait; what it raises ends the
            asking.
          clock: Time and chance.

        Raises:
          InputError: the address, the limits or what the endpoint says of itself cannot be used.
          EndpointError: it cannot be reached.
        """
        if not _is_address(url):
            raise InputError(f"{url!r} is not an address such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.limits = (limits or Limits()).validate()
        # What a reader must be told of how its posteriors were given.
        self.notes: list[str] = []
        self._answers = Answers() if answers is None else answers
        self._owns_answers = answers is None
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._report, self._clock = report, clock or Clock()
        self._pace = Pace(self.limits, self._clock)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(
                connect=self.limits.connect_timeout, read=self.limits.read_timeout
            ),
            retries=False,
        )
        try:
            said_of_itself = self._request("GET", ABOUT, None, 0)
            self.about: About = read_about(said_of_itself, f"{self.url}{ABOUT}")
        except BaseException:
            self.close()
            raise
        # Endpoints that state the same fingerprint answer the same, wherever they are; others are
        # told apart by address, and by what they say of themselves, should it change.
        said = json.dumps({**self.about.as_dict(), "most_records": None}, sort_keys=True)
        place = "" if self.about.fingerprint else self.url
        self.identity = hashlib.sha256(f"{place} {said}".encode()).hexdigest()

    @property
    def num_sent(self) -> int:
        """Records counted against the budget, by all runs that share the answers."""
        return self._answers.sent(self.identity)

    def answer(self, records: Num[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch k"]:
        """Answers posteriors; asks only for records whose answers are not known, each once.

        Args:
          records: [B, *shape] stored records, any B.

        Returns:
          [B, K] float32.

        Raises:
          InputError: a record, or what was answered to it, cannot be used.
          BudgetError: the records that are not known exceed the budget.
          EndpointError: the endpoint kept failing.
        """
        records = check_records(records, self.about)
        keys = [record_key(record) for record in records]
        first: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        known = self._answers.get(self.identity, list(first), self.about.num_classes)
        missing = [i for key, i in first.items() if key not in known]
        self._check_budget(len(missing))
        size = min(self.limits.batch or self.about.most_records, self.about.most_records)
        for start in range(0, len(missing), size):
            rows = missing[start : start + size]
            body = json.dumps({"records": records[rows].tolist()}).encode()
            found = self._request("POST", POSTERIORS, body, len(rows))
            posteriors = self._read(found, rows)
            part = [keys[i] for i in rows]
            self._answers.put(self.identity, part, posteriors)
            known |= dict(zip(part, posteriors, strict=True))
            done = start + len(rows)
            self._report(f"{self.url}: {done}/{len(missing)} records answered")
        return np.stack([known[key] for key in keys])

    def _check_budget(self, num_records: int) -> None:
        """Raises `BudgetError` before anything is sent if the whole call cannot be afforded."""
        budget = self.limits.budget
        if budget is not None and num_records and self.num_sent + num_records > budget:
            raise self._over_budget(num_records)

    def _over_budget(self, num_records: int) -> BudgetError:
        return BudgetError(
            f"{num_records} more records are to be sent to {self.url}, the budget is "
            f"{self.limits.budget} and {self.num_sent} were sent before"
        )

    def _read(self, value: Any, rows: list[int]) -> Float[np.ndarray, "batch k"]:
        where = f"{self.url}{POSTERIORS}"
        if not isinstance(value, dict) or "posteriors" not in value:
            raise InputError(f"{where} answered {value!s:.60}, expected {{'posteriors': ...}}")
        return check_answer(
            *(value["posteriors"], len(rows), self.about.num_classes, where, rows), self.notes
        )

    def _request(self, method: str, path: str, body: bytes | None, num_records: int) -> Any:
        """Sends one request, again and again if need be; returns the parsed answer."""
        failures, url = 0, self.url + path
        while True:
            self._pace.wait(num_records)
            if num_records and not self._answers.count(
                self.identity, num_records, self.limits.budget
            ):
                raise self._over_budget(num_records)
            try:
                return self._attempt(method, url, body)
            except _PassingError as error:
                failure = error
            if num_records and failure.is_unanswered:
                self._answers.count(self.identity, -num_records, None)
            failures += 1
            if failures > self.limits.retries:
                raise EndpointError(f"{url}: {failure}; given up after {failures} attempts")
            seconds = wait_seconds(self.limits, self._clock, failures, failure.asked_for)
            if seconds > self.limits.longest_wait:
                raise EndpointError(
                    f"{url}: {failure}; it asks to wait {seconds:.0f} s, the longest wait is "
                    f"{self.limits.longest_wait:g} s"
                )
            self._report(f"{url}: {failure}; asking again in {seconds:.1f} s")
            self._clock.sleep(seconds)

    def _attempt(self, method: str, url: str, body: bytes | None) -> Any:
        """Sends one request once; returns the parsed answer."""
        try:
            response = self._pool.request(
                method, url, body=body, headers=self._headers, redirect=False
            )
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise _PassingError(_one_line(error), is_unanswered=True) from error
        except (TimeoutError, ProtocolError) as error:
            raise _PassingError(_one_line(error)) from error
        except HTTPError as error:
            # Certificates, names that cannot be parsed: asking again would not help.
            raise EndpointError(f"{url}: {_one_line(error)}") from error
        status, data = response.status, response.data
        if status in _PASSING:
            asked_for = retry_after(response.headers.get("Retry-After"), self._clock)
            raise _PassingError(f"status {status} {_said(data)}", asked_for, status in _REFUSED)
        if status != 200:
            raise InputError(f"{url} answered status {status} {_said(data)}")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{url} answered what is not JSON {_said(data)}") from error

    def close(self) -> None:
        """Closes the connections; answers that were given stay open."""
        self._pool.clear()
        if self._owns_answers:
            self._answers.close()

    def __enter__(self) -> "HttpBox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query


def _said(data: bytes) -> str:
    """Returns an endpoint's own message in one line: its JSON's "error", or its text."""
    text = data.decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    return f"({' '.join(text.split())[:_ERROR_LENGTH]})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_ERROR_LENGTH]
