"""Holds an audit against a policy: the gate of a release pipeline.

Exit status 0: passed; 1: failed; 3: inconclusive, the audit is too small to tell; 2: bad input.

Example: python -m launch.gate --policy=policy.toml audit
"""

import json
from pathlib import Path

from absl import flags

from jleaks.errors import InputError

from .app import WHAT, WHERE, run

# `jleaks gate audit` is `jleaks gate --audit=audit`.
POSITIONAL = "audit"

_AUDIT = flags.DEFINE_string(
    "audit", "audit", "Folder that jleaks audit wrote, or its audit.json.", module_name=WHERE
)
_POLICY = flags.DEFINE_string(
    "policy",
    None,
    "Limits, a TOML file.  Default: a level of at most weak.",
    module_name=WHAT,
)
_BASELINE = flags.DEFINE_string(
    "baseline",
    None,
    "Audit of the former release, for the policy's [regression]: its folder, whose records.csv lets the "
    "two be compared record by record.",
    module_name=WHERE,
)
_JUNIT = flags.DEFINE_string("junit", None, "File for the checks as JUnit XML.", module_name=WHERE)
_JSON = flags.DEFINE_string("json", None, "File for the checks as JSON.", module_name=WHERE)


def main(_: list[str]) -> int:
    """Applies the policy; returns the exit status."""
    from jleaks.auditing import policy
    from jleaks.auditing.baseline import pair
    from jleaks.files import replace_file

    chosen = policy.DEFAULT if _POLICY.value is None else policy.read_policy(_POLICY.value)
    if _BASELINE.value is not None and not chosen.regression:
        raise InputError("--baseline is given, but the policy has no [regression]")
    audit = policy.read_audit(_AUDIT.value)
    baseline = None if _BASELINE.value is None else policy.read_audit(_BASELINE.value)
    pairs = None if _BASELINE.value is None else pair(_AUDIT.value, _BASELINE.value)
    checks = policy.apply(chosen, audit, baseline, pairs)
    result = policy.outcome(checks)
    for check in checks:
        print(f"{check.outcome}: {check.said}")
    print(result)
    if _JUNIT.value is not None:
        replace_file(Path(_JUNIT.value), policy.junit(checks, str(audit.get("title", ""))))
    if _JSON.value is not None:
        found = {"outcome": result, "checks": [vars(check) for check in checks]}
        replace_file(Path(_JSON.value), json.dumps(found, indent=1).encode())
    return policy.STATUS[result]


if __name__ == "__main__":
    run(main, "python -m launch.gate", __doc__ or "", POSITIONAL)
