"""Asking what answers at a price: each record once, within a budget, at a pace; nothing paid is lost.

Whoever answers, an endpoint or a function, is a `Source`.  What arrived is kept as it came, before anybody
judges it: one record whose answer is NaN is named, and the others are not asked about again.

What counts against the budget: every record that was sent, unless it certainly was not answered (no
connection; status 413, 429 or 503).  A request that timed out may have been paid for.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from jleaks.attacks import probabilities
from jleaks.blackbox.answers import Answers, record_key
from jleaks.blackbox.forms import posteriors_of, usable_rows
from jleaks.blackbox.pace import Clock, Form, Incomplete, Limits, Pace
from jleaks.blackbox.transport import PassingError, wait_out
from jleaks.errors import InputError
from jleaks.training.preemption import Preempted, StopSignal

# Seconds between two looks at the stop signal.
_LOOK = 0.1


class BudgetError(InputError):
    """The next request would exceed the budget; it was not sent, and all answers so far are kept."""


class TooManyError(Exception):
    """So many records are more than one request may have; nothing was answered."""


class UnreadableError(InputError):
    """An answer that arrived, and says something else than it should."""


@runtime_checkable
class Source(Protocol):
    """What answers.

    Attributes:
      name: In messages and rows.
      identity: What tells its answers from others' on disk.
      account: What its budget is counted by, however its answers are read.
      num_classes: K; None if it is not known.
      most_records: Of one request; None for any number.
      form: What its numbers are: posteriors, logits, labels or percent.
    """

    name: str
    identity: str
    account: str
    num_classes: int | None
    most_records: int | None
    form: Form

    def prepare(self, records: Any) -> Any:
        """Returns records as they can be asked about: numbers [B, ...], or a list of values for JSON."""
        ...

    def request(self, records: Any) -> Any:
        """Returns what is sent for a batch."""
        ...

    def send(self, request: Any, num_records: int) -> bytes | np.ndarray:
        """Sends it once, and returns what came back, unread.

        Raises:
          PassingError: it failed in a way that may pass.
          TooManyError: the batch is too large.
        """
        ...

    def read(self, answer: Any, num_records: int) -> Float[np.ndarray, "b w"]:
        """Returns the numbers of each record, NaN for what cannot be used.

        Raises:
          ValueError: the answer says something else than it should.
        """
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


class Asked:
    """A black box that is asked through a store of answers, a budget and a pace.

    Attributes:
      source: What answers.
      limits: How it may be asked.
      notes: What a reader must be told of how its posteriors were given.
    """

    def __init__(
        self,
        source: Source,
        limits: Limits | None = None,
        answers: Answers | str | os.PathLike[str] | None = None,
        *,
        incomplete: Incomplete = "stop",
        report: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
        stop: StopSignal | None = None,
    ):
        """Asks nothing yet.

        Args:
          source: What answers; it is closed with this.
          limits: How it may be asked.
          answers: Where its answers are kept: a store, or the path of its file; None for the memory of this
            process.
          incomplete: Of records whose kept answer cannot be used (NaN): "stop" names the first, "ask" asks
            about them once more, "drop" leaves them out, and with them those that the budget does not pay
            for.
          report: Receives a sentence after each batch and before each wait.
          clock: Time and chance.
          stop: Ends the asking with `Preempted`; looked at while an answer is waited for, too.

        Raises:
          InputError: the limits cannot be used.
        """
        self.source, self.notes = source, list[str]()
        self.limits = (limits or Limits()).validate()
        self._answers = answers if isinstance(answers, Answers) else Answers(answers)
        self._owns_answers = not isinstance(answers, Answers)
        self._incomplete, self._report, self._stop = incomplete, report, stop
        clock = clock or Clock()
        self._clock = dataclasses.replace(clock, sleep=self._sleep) if stop else clock
        self._pace = Pace(self.limits, self._clock)
        self._again = incomplete == "ask"

    @property
    def name(self) -> str:
        """What answers, in messages and rows."""
        return self.source.name

    @property
    def num_sent(self) -> int:
        """Records counted against the budget, by all runs that share the answers."""
        return self._answers.sent(self.source.account)

    def answer(self, records: Any) -> Float[np.ndarray, "batch k"]:
        """Answers posteriors; asks only for records whose answers are not known, each once.

        Args:
          records: [B, ...] stored records, any B; or a data frame of B rows.

        Returns:
          [B, K] float32.

        Raises:
          InputError: a record, or what was answered to it, cannot be used.
          BudgetError: the records that are not known exceed the budget.
          EndpointError: the endpoint kept failing.
          Preempted: a stop signal arrived.
        """
        found, answered = self.ask(records)
        if not answered.all():
            raise InputError(
                f"{self.name}: {int((~answered).sum())} of {len(answered)} records have no usable answer"
            )
        return found

    def ask(self, records: Any) -> tuple[Float[np.ndarray, "batch k"], Bool[np.ndarray, "batch"]]:
        """Answers as `answer` does, and says which records have an answer that can be used.

        The posteriors of the others are NaN; there are none unless `incomplete` is "drop".
        """
        records = self.source.prepare(records)
        keys = [record_key(record) for record in records]
        first: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        known = self._answers.get(self.source.identity, list(first))
        if self._again:
            known = {
                key: row
                for key, row in known.items()
                if usable_rows(row[None], self.source.form)[0]
            }
        missing = [i for key, i in first.items() if key not in known]
        if self._incomplete == "drop" and self.limits.budget is not None:
            # Not members alone, which come first in most files: whoever the budget pays for is any of them.
            missing = np.random.default_rng(0).permutation(missing).tolist()
        else:
            self._check_budget(len(missing))
        try:
            self._ask_about(records, missing, keys, known)
        except BudgetError:
            if self._incomplete != "drop" or not known:
                raise
        self._again = False
        return self._judged([known.get(key) for key in keys])

    def _ask_about(
        self, records: Any, missing: list[int], keys: list[bytes], known: dict[bytes, np.ndarray]
    ) -> None:
        """Asks about records batch by batch; `known` receives what arrived, and so does the disk."""
        sizes = [s for s in (self.limits.batch, self.source.most_records) if s is not None]
        size, done = min(sizes, default=max(len(missing), 1)), 0
        while done < len(missing):
            rows = missing[done : done + self._payable(size)]
            request = self.source.request(_take(records, rows))
            try:
                answer = self._sent(request, len(rows))
            except TooManyError as error:
                if len(rows) == 1:
                    raise InputError(
                        f"{self.name}: one record alone is too large ({error})"
                    ) from None
                size = (len(rows) + 1) // 2
                self._report(f"{self.name}: {error}; {size} records in a request from now on")
                continue
            found = self._read(request, answer, rows).astype(np.float32)
            part = [keys[i] for i in rows]
            self._answers.put(self.source.identity, part, found, replace=self._again)
            known |= dict(zip(part, found, strict=True))
            self._look_at(found, rows)
            done += len(rows)
            self._report(f"{self.name}: {done}/{len(missing)} records answered")

    def _payable(self, size: int) -> int:
        """Returns how many records the next request may have: the last one takes what is left."""
        if self.limits.budget is None:
            return size
        left = self.limits.budget - self.num_sent
        if left < 1:
            raise self._over_budget(1)
        return min(size, left)

    def _check_budget(self, num_records: int) -> None:
        """Raises `BudgetError` before anything is sent if the whole call cannot be afforded."""
        budget = self.limits.budget
        if budget is not None and num_records and self.num_sent + num_records > budget:
            raise self._over_budget(num_records)

    def _over_budget(self, num_records: int) -> BudgetError:
        return BudgetError(
            f"{num_records} more records are to be sent to {self.name}, the budget is "
            f"{self.limits.budget} and {self.num_sent} were sent before"
        )

    def _sent(self, request: Any, num_records: int) -> Any:
        """Sends one request, again and again if need be; returns what came back."""
        account = self.source.account
        kept = self._answers.unread(account, request) if isinstance(request, bytes) else None
        if kept is not None and not self._again:
            # It was paid for once, and the way to read it may have changed.
            return kept
        failures = 0
        while True:
            self._look()
            self._pace.wait(num_records)
            if not self._answers.count(account, num_records, self.limits.budget):
                raise self._over_budget(num_records)
            try:
                return self.source.send(request, num_records)
            except TooManyError:
                self._answers.count(account, -num_records, None)
                raise
            except PassingError as error:
                failure = error
            self._look()
            if failure.is_unanswered:
                self._answers.count(account, -num_records, None)
            failures += 1
            wait_out(failure, failures, self.name, self.limits, self._clock, self._report)

    def _read(self, request: Any, answer: Any, rows: Sequence[int]) -> Float[np.ndarray, "b w"]:
        """Reads an answer; one that cannot be read is kept as it came."""
        try:
            found = self.source.read(answer, len(rows))
        except ValueError as error:
            kept = ""
            if isinstance(request, bytes) and isinstance(answer, bytes):
                self._answers.keep_unread(self.source.account, request, answer)
                kept = "; the answer is kept, and read again by the next run"
            raise UnreadableError(
                f"{self.name} answered what cannot be read: {error}{kept}"
            ) from error
        account = self.source.account
        if isinstance(request, bytes) and self._answers.unread(account, request) is not None:
            self._answers.drop_unread(account, request)
        # Not told beforehand, the number of columns is that of the first answer.
        if self.source.num_classes is None and found.shape[1] > 1:
            self.source.num_classes = found.shape[1]
        return found

    def _look_at(self, found: Float[np.ndarray, "b w"], rows: Sequence[int]) -> None:
        """Ends the asking where a whole batch cannot be used: the next would be paid for in vain."""
        if not usable_rows(found, self.source.form).any():
            self._posteriors(found, rows)

    def _judged(
        self, rows: Sequence[np.ndarray | None]
    ) -> tuple[Float[np.ndarray, "batch k"], Bool[np.ndarray, "batch"]]:
        """Returns all posteriors, and which can be used.

        Raises:
          InputError: names the first record whose answer cannot be used, and the way out.
        """
        widths = {len(row) for row in rows if row is not None}
        if len(widths) > 1:
            raise InputError(
                f"{self.name} answered {' and '.join(map(str, sorted(widths)))} numbers for a record: "
                "of two models, or its kept answers are damaged"
            )
        (width,) = widths
        nothing = np.full(width, np.nan, np.float32)
        found = np.stack([nothing if row is None else row for row in rows])
        usable = usable_rows(found, self.source.form)
        numbers = np.arange(len(rows))
        if self._incomplete != "drop":
            try:
                posteriors, form = self._posteriors(found, numbers)
            except InputError as error:
                num_bad = int((~usable).sum())
                if not num_bad or num_bad == len(usable):
                    raise
                raise InputError(
                    f"{error}; {num_bad} of {len(usable)} answers cannot be used, all are kept: "
                    "--incomplete=ask asks about these once more, --incomplete=drop leaves them out"
                ) from error
            usable[:] = True
        else:
            part, form = self._posteriors(found[usable], numbers[usable])
            posteriors = np.full((len(rows), part.shape[1]), np.nan, np.float32)
            posteriors[usable] = part
        told = form._replace(deviation=0.0).lines(self.name)
        if num_left := int((~usable).sum()):
            told.append(
                f"{self.name}: {num_left} of {len(usable)} records are left out: no usable answer, or not "
                "paid for by the budget"
            )
        self.notes.extend(line for line in told if line not in self.notes)
        return posteriors, usable

    def _posteriors(
        self, rows: Float[np.ndarray, "b w"], numbers: Any
    ) -> tuple[Float[np.ndarray, "b k"], probabilities.Form]:
        source = self.source
        return posteriors_of(rows, source.form, source.num_classes, self.name, numbers)

    def _look(self) -> None:
        if self._stop is not None and self._stop.received is not None:
            raise Preempted("stopped, all answers so far are kept")

    def _sleep(self, seconds: float) -> None:
        """Waits, and looks at the stop signal meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._look()
            time.sleep(min(left, _LOOK))

    def close(self) -> None:
        """Closes connections; answers that were given stay open."""
        self.source.close()
        if self._owns_answers:
            self._answers.close()

    def __enter__(self) -> "Asked":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take(records: Any, rows: Sequence[int]) -> Any:
    if isinstance(records, list):
        return [records[i] for i in rows]
    return records[rows] if isinstance(records, np.ndarray) else records.take(rows)
