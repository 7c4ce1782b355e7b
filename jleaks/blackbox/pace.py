"""How something may be asked: limits, rates, how long to wait before asking again, and in what words."""

import dataclasses
import email.utils
import random
import re
import time
import typing
from collections.abc import Callable
from typing import Literal

from jleaks.errors import refuse

# What answers are: posteriors, their logarithms up to a constant, the class alone, or percent.
Form = Literal["posteriors", "logits", "labels", "percent"]
FORMS: tuple[Form, ...] = typing.get_args(Form)
# What happens to records without a usable answer (`jleaks.blackbox.asked.Asked`).
Incomplete = Literal["stop", "ask", "drop"]
INCOMPLETE: tuple[Incomplete, ...] = typing.get_args(Incomplete)


@dataclasses.dataclass(frozen=True)
class Clock:
    """Time and chance, so that tests need neither.

    Attributes:
      now: Seconds since some moment, never falling.
      wall: Seconds since 1970, for dates in Retry-After.
      sleep: Waits so many seconds.
      chance: A random number in [0, 1), for jitter.
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclasses.dataclass(frozen=True)
class Limits:
    """How an endpoint is asked.

    Attributes:
      batch: Records in one request; None for as many as the endpoint takes.
      connect_timeout: Seconds until a connection must stand.
      read_timeout: Seconds that the endpoint may be silent.
      answer_timeout: Seconds that a whole answer may take, however it comes.
      retries: Number of times that a request is sent again if it fails.
      first_wait: Seconds before it is sent again for the first time; each later wait is twice as
        long.  The waits are drawn from the upper half of that, so that clients that failed
        together do not come back together.
      longest_wait: Seconds that no wait exceeds; an endpoint that asks for more is given up.
      requests_per_second: At most; None for no limit.
      records_per_second: At most; None for no limit.
      budget: Number of records that may be sent to the endpoint at all, by all runs that share its
        answers; None for no limit.
    """

    batch: int | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    answer_timeout: float = 600.0
    retries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 120.0
    requests_per_second: float | None = None
    records_per_second: float | None = None
    budget: int | None = None

    def validate(self) -> "Limits":
        """Checks the values.

        Returns:
          The limits themselves.

        Raises:
          InputError: names every problem at once.
        """
        found = []
        for name, least in (("batch", 1), ("retries", 0), ("budget", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                found.append(f"{name} is {value}, expected at least {least}")
        for name in (
            "connect_timeout", "read_timeout", "answer_timeout", "first_wait", "longest_wait",
            "requests_per_second", "records_per_second",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                found.append(f"{name} is {value}, expected a positive number")
        refuse(found)
        return self


class Pace:
    """Spaces requests: after one of b records the next waits b / rate, so there are no bursts."""

    def __init__(self, limits: Limits, clock: Clock):
        """The first request may go at once.

        Args:
          limits: The rates.
          clock: What to wait by.
        """
        self._limits, self._clock, self._free_at = limits, clock, float("-inf")

    def wait(self, num_records: int) -> None:
        """Waits until a request of so many records may be sent, and counts it as sent then."""
        clock, limits = self._clock, self._limits
        if (missing := self._free_at - clock.now()) > 0:
            clock.sleep(missing)
        cost = 0.0
        if limits.requests_per_second is not None:
            cost = 1 / limits.requests_per_second
        if limits.records_per_second is not None:
            cost = max(cost, num_records / limits.records_per_second)
        self._free_at = clock.now() + cost


def wait_seconds(limits: Limits, clock: Clock, failures: int, asked_for: float | None) -> float:
    """Returns how long to wait before a request is sent again.

    Args:
      limits: First and longest wait.
      clock: For chance.
      failures: How often the request has failed, at least once.
      asked_for: Seconds that the endpoint asked for (Retry-After), or None.
    """
    # Far before 2 ** 40 the longest wait is reached.
    most = min(limits.longest_wait, limits.first_wait * 2.0 ** min(failures - 1, 40))
    return max(most * (1 + clock.chance()) / 2, asked_for or 0.0)


def retry_after(value: str | None, clock: Clock) -> float | None:
    """Reads a Retry-After header (RFC 9110, section 10.2.3): seconds, with decimals too, or a date.

    Args:
      value: Of the header, or None.
      clock: For the date.

    Returns:
      Seconds from now, at least 0; None if nothing was asked for or it cannot be read.
    """
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,12})?", value.strip(), re.ASCII):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - clock.wall())
    except (TypeError, ValueError, OverflowError):
        return None
