"""The gate of a release pipeline: an audit held against limits, passed, failed, or inconclusive.

A policy is a TOML file:

    [limits]                     # upper confidence bounds must stay below
    level = "weak"               # the highest level that may be reached
    auc = 0.6
    tpr_at_fpr_0.01 = 0.05       # at a threshold set on shadows where there are any
    epsilon = 2.0                # lower bound: fails above; nothing proves an epsilon from above
    worst_class = 0.2            # TPR of the most exposed class; worst_group likewise
    [regression]                 # against a stored audit of the former release, of the same records
    auc = 0.02                   # may be so much larger; told record by record

A limit is *failed* if the lower bound of the number is above it, *passed* if the upper bound is not, and
*inconclusive* between: the audit is too small to tell.
"""

import dataclasses
import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from jleaks.auditing.baseline import Pairs
from jleaks.auditing.verdict import LEVELS
from jleaks.errors import InputError

Outcome = Literal["pass", "fail", "inconclusive"]
# Exit statuses; 2 is bad input.
STATUS: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3}

LIMITS = (
    "level",
    "auc",
    "tpr_at_fpr_0.001",
    "tpr_at_fpr_0.01",
    "epsilon",
    "worst_class",
    "worst_group",
)
REGRESSIONS = ("auc", "tpr_at_fpr_0.001", "tpr_at_fpr_0.01")


@dataclasses.dataclass(frozen=True)
class Policy:
    """Limits by name, and by how much a number may be larger than in the former audit.

    Attributes:
      limits: By name (`LIMITS`); a level is its name.
      regression: By name (`REGRESSIONS`).
    """

    limits: dict[str, Any]
    regression: dict[str, float] = dataclasses.field(default_factory=dict)


# What the level's rule amounts to: nothing beyond "weak".
DEFAULT = Policy({"level": "weak"})


@dataclasses.dataclass(frozen=True)
class Check:
    """One limit, and what became of it.

    Attributes:
      name: Of the limit.
      outcome: "pass", "fail" or "inconclusive".
      said: The number with its bounds, and the limit.
    """

    name: str
    outcome: Outcome
    said: str


def read_policy(path: str | os.PathLike[str]) -> Policy:
    """Reads a policy.

    Raises:
      InputError: names the entry that cannot be used, and what is allowed.
    """
    try:
        found = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    return _checked(found, str(path))


def as_policy(given: Policy | Mapping[str, Any] | str | os.PathLike[str]) -> Policy:
    """Returns a policy of what a caller has: itself, limits by name, or a file.

    Raises:
      InputError: names the entry that cannot be used, and what is allowed.
    """
    if isinstance(given, Policy):
        return given
    if isinstance(given, Mapping):
        return _checked({"limits": dict(given)}, "policy")
    return read_policy(given)


def _checked(found: dict[str, Any], where: str) -> Policy:
    """Returns the policy of its tables, which are emptied."""
    limits, regression = found.pop("limits", {}), found.pop("regression", {})
    problems = [f"unknown table {name}; allowed: limits, regression" for name in found]
    for table, entries, allowed in (
        ("limits", limits, LIMITS),
        ("regression", regression, REGRESSIONS),
    ):
        if not isinstance(entries, dict):
            problems.append(f"{table} is {entries}, expected a table")
            continue
        for name, value in entries.items():
            if name not in allowed:
                problems.append(f"{table} has {name}; allowed: {', '.join(allowed)}")
            elif name == "level":
                if value not in LEVELS:
                    problems.append(f"level is {value!r}; allowed: {', '.join(LEVELS)}")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                problems.append(f"{table} has {name} = {value!r}, expected a number >= 0")
    if not problems and not limits and not regression:
        problems.append("it has no limit")
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    return Policy(limits, regression)


def read_audit(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `jleaks audit` left: a folder with audit.json, or that file.

    Raises:
      InputError: it is not there, or something else.
    """
    path = Path(path)
    path = path / "audit.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON ({error}); make it again with jleaks audit"
        ) from error
    if (
        not isinstance(found, dict)
        or str(found.get("level")) not in LEVELS
        or "attacks" not in found
    ):
        raise InputError(
            f"{path} is no audit, expected a level ({', '.join(LEVELS)}) and attacks; make it with jleaks "
            "audit"
        )
    return found


def apply(
    policy: Policy,
    audit: dict[str, Any],
    baseline: dict[str, Any] | None = None,
    pairs: Pairs | None = None,
) -> list[Check]:
    """Holds an audit against a policy.

    Args:
      policy: The limits.
      audit: As `read_audit` returns it.
      baseline: The former release's audit; needed for `policy.regression`.
      pairs: Records of both; None to compare two numbers whose errors are taken to be independent.

    Raises:
      InputError: the audit lacks what a limit is about.
    """
    found = [_limit(name, value, audit) for name, value in policy.limits.items()]
    if policy.regression and baseline is None:
        raise InputError("the policy has [regression]: give the former audit with --baseline")
    for name, value in policy.regression.items():
        assert baseline is not None
        found.append(_regression(name, float(value), audit, baseline, pairs))
    return found


def outcome(checks: list[Check]) -> Outcome:
    """Returns "fail" if any check failed, else "inconclusive" if any is, else "pass"."""
    outcomes = {check.outcome for check in checks}
    if "fail" in outcomes:
        return "fail"
    return "inconclusive" if "inconclusive" in outcomes else "pass"


def _limit(name: str, limit: Any, audit: dict[str, Any]) -> Check:
    if name == "level":
        reached = LEVELS[audit["level"]]
        return Check(
            name,
            "fail" if reached > LEVELS[limit] else "pass",
            f"level is {audit['level']}, limit {limit}",
        )
    if name == "epsilon":
        low = audit["epsilon"]["one run"]
        return Check(
            name,
            "fail" if low > limit else "pass",
            f"epsilon is at least {low:.3g}, limit {limit:g}",
        )
    return _judged(name, value_of(name, audit), float(limit), f"limit {limit:g}")


def _judged(name: str, value: dict[str, float], limit: float, what: str) -> Check:
    said = f"{name} is {value['mean']:.3g} [{value['low']:.3g}, {value['high']:.3g}], {what}"
    if value["low"] > limit:
        return Check(name, "fail", said)
    return Check(name, "inconclusive" if value["high"] > limit else "pass", said)


def value_of(name: str, audit: dict[str, Any]) -> dict[str, float]:
    """Returns a number of the strongest attack with its bounds.

    Args:
      name: Of a limit, but for a level and epsilon, which have none.
      audit: As `apply` takes it.

    Raises:
      InputError: the audit has no such number.
    """
    if name.startswith("worst_"):
        kind = name.removeprefix("worst_")
        parts = audit.get("parts", {})
        of_kind = ["class"] if kind == "class" else [part for part in parts if part != "class"]
        rates = [row["tpr"] for part in of_kind for row in parts.get(part, []) if row["tpr"]]
        if not rates:
            raise InputError(
                f"the policy limits {name}, but the audit has none: it needs shadow models"
                + ("" if kind == "class" else " and --groups")
            )
        # Whichever is largest for certain, and whatever the largest may be.
        worst = max(rates, key=lambda rate: rate["low"])
        return {**worst, "high": max(rate["high"] for rate in rates)}
    fpr = name.removeprefix("tpr_at_fpr_")
    if fpr != name and fpr in audit.get("thresholds", {}):
        return audit["thresholds"][fpr]["tpr"]
    best = next((row for row in audit["attacks"] if row.get("strongest")), None)
    if best is None or not isinstance(best.get(name), dict):
        raise InputError(f"the audit has no {name} of the strongest attack; make it again")
    return best[name]


def _regression(
    name: str,
    allowed: float,
    audit: dict[str, Any],
    baseline: dict[str, Any],
    pairs: Pairs | None,
) -> Check:
    """Compares two audits' numbers: record by record, or as two whose errors are independent."""
    title = f"{name} above the former audit's"
    found = None if pairs is None else pairs.difference(name, audit, baseline)
    if pairs is not None and found is not None:
        value = {"mean": found.mean, "low": found.low, "high": found.high}
        return _judged(title, value, allowed, f"{pairs.describe()}, limit {allowed:g}")
    ours, theirs = value_of(name, audit), value_of(name, baseline)
    difference = ours["mean"] - theirs["mean"]
    # Distances to the bounds add up as independent errors do.
    below = math.hypot(ours["mean"] - ours["low"], theirs["high"] - theirs["mean"])
    above = math.hypot(ours["high"] - ours["mean"], theirs["mean"] - theirs["low"])
    value = {"mean": difference, "low": difference - below, "high": difference + above}
    return _judged(title, value, allowed, f"taken as independent, limit {allowed:g}")


def junit(checks: list[Check], title: str) -> bytes:
    """Returns the checks as JUnit XML: what is inconclusive counts as an error, not as a failure."""
    suite = ElementTree.Element(
        "testsuite",
        name=title or "jleaks gate",
        tests=str(len(checks)),
        failures=str(sum(check.outcome == "fail" for check in checks)),
        errors=str(sum(check.outcome == "inconclusive" for check in checks)),
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname="jleaks.gate", name=check.name)
        if check.outcome == "fail":
            ElementTree.SubElement(case, "failure", message=check.said)
        elif check.outcome == "inconclusive":
            ElementTree.SubElement(case, "error", message=f"inconclusive: {check.said}")
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
