"""Audits a model: who was it trained on?  Your own, with shadows of its kind; or a black box's answers.

Your own model: --data has its records, labels and membership, and --network, or --fit and --predict, say
how its kind is trained.  Shadow models are trained, every attack that they allow is run, and report.html
says what it means.

A black box: the target is a file of posteriors (--target), two files of its members and of others
(--target_members, --target_nonmembers), an endpoint (--target_url) or a Python function
(--target_callable); the latter two are asked about --records.  With a shadow's posteriors (--shadow, or
--shadow_members and --shadow_nonmembers) adversary 1 learns from them; adversary 3 needs none; four shadows
and more, about the target's own records, are compared with it record by record.  Where true labels are
known, attacks on them are run, too: is the label right (gap), confidence, loss, modified entropy, and with
a labelled shadow thresholds per class.  The last line names the strongest attack that was possible, and
what would allow stronger ones.

Files are npz, csv or parquet: posteriors [N, K] (columns p0, p1, ...; [N, 1] or p1 alone is the posterior
of class 1), member (0, 1, True, False) and optionally label (whole numbers, or the names of all K classes
as text).  Zeros, rounded numbers and percent are read as such, and a line says so.
`jleaks/blackbox/files.py` documents the files, `jleaks/blackbox/protocol.py` what an endpoint is asked.

Writes rows.jsonl and tables.md, and posteriors.npz if the target was asked: that file can be the --target
or --shadow of the next audit.  Answers of an endpoint are kept in --cache: interrupted anywhere, the same
command continues, and no record is asked about twice.

Example: python -m launch.audit --data=records.npz --fit=train.py:fit --predict=train.py:predict
Example: python -m launch.audit --target=target.npz --shadow=shadow.npz --out_dir=checkpoints/audit
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from jleaks.blackbox.pace import Clock, Limits
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.plan import Plan
from jleaks.training.preemption import Preempted, StopSignal

from . import own_audit
from .app import (
    FAILED,
    WHAT,
    WHERE,
    Log,
    console,
    define_execution,
    make_execution,
    public_command,
    run,
    start,
)
from .attack_recipe import make_attack_recipe
from .fields import Fields

if TYPE_CHECKING:
    from jleaks.auditing.audit import Audit
    from jleaks.blackbox.answers import Answers
    from jleaks.blackbox.box import CallableBox
    from jleaks.blackbox.client import HttpBox
    from jleaks.blackbox.posteriors import Posteriors, Records

define_execution()

_ASKING = "How an endpoint is asked"

_TARGET = flags.DEFINE_string(
    "target", None, "File of the target's posteriors (npz, csv, parquet).", module_name=WHERE
)
_TARGET_PAIR, _SHADOW_PAIR = (
    tuple(
        flags.DEFINE_string(
            f"{whose}_{what}",
            None,
            f"File of the {whose}'s posteriors on its {what}; csv needs no header.",
            module_name=WHERE,
        )
        for what in ("members", "nonmembers")
    )
    for whose in ("target", "shadow")
)
_URL = flags.DEFINE_string(
    "target_url", None, "Address of the target's endpoint.", module_name=WHERE
)
_CALLABLE = flags.DEFINE_string(
    "target_callable",
    None,
    "Python function that is the target, as module:function, from records to posteriors.",
    module_name=WHERE,
)
_RECORDS = flags.DEFINE_string(
    "records", None, "Records to ask about and their membership (npz).", module_name=WHERE
)
_SHADOW = flags.DEFINE_list(
    "shadow",
    [],
    "File of a shadow's posteriors and its membership; or of four shadows and more about the target's "
    "records, separated by commas, with which it is compared record by record.",
    module_name=WHERE,
)
_RANDOM = flags.DEFINE_string(
    "random", None, "File of the target's posteriors on random points.", module_name=WHERE
)
_OUT = flags.DEFINE_string(
    "out_dir", "checkpoints/audit", "Directory to write to.", module_name=WHERE
)

_TASK = flags.DEFINE_string(
    "task", "target", "Task of the target: any name, but see --num_random_points.", module_name=WHAT
)
_SHADOW_TASK = flags.DEFINE_string(
    "shadow_task", None, "Task of the shadow, if it is another: adversary 2.", module_name=WHAT
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the attack model and of random points.", module_name=WHAT
)
_FIELDS = Fields(Plan, ("top", "percentile"), WHAT)
_POINTS = flags.DEFINE_integer(
    "num_random_points",
    0,
    "Number of random points to ask about for adversary 3's threshold, in the format of --task (a task of "
    "the registry).",
    lower_bound=0,
    module_name=WHAT,
)

_CACHE = flags.DEFINE_string(
    "cache",
    None,
    "File that keeps the answers; default answers.sqlite in --out_dir.",
    module_name=_ASKING,
)
_TOKEN = flags.DEFINE_string(
    "token_file", None, "File of a token, sent as Authorization: Bearer.", module_name=_ASKING
)
_LIMITS = Fields(Limits, ("budget", "retries"), _ASKING)
_RATE = flags.DEFINE_float(
    "rate", None, "Most records it is sent in a second.", module_name=_ASKING
)
_REQUEST_RATE = flags.DEFINE_float(
    "request_rate", None, "Most requests it is sent in a second.", module_name=_ASKING
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Number of records in one request, or one call; default what it takes.",
    lower_bound=1,
    module_name=_ASKING,
)
_TIMEOUT = flags.DEFINE_float(
    "timeout", Limits().read_timeout, "Seconds that it may be silent.", module_name=_ASKING
)
# Without an endpoint these would be passed over in silence.
_OF_ENDPOINTS = ("cache", "token_file", "budget", "rate", "request_rate", "timeout", "retries")

# Seconds between two lines of progress, and between two looks at the stop signal.
_EVERY = 5.0
_LOOK = 0.1


class _Found(NamedTuple):
    """What the target answered to records, and to random points if there are any."""

    target: "Posteriors"
    random: "Posteriors | None"


def main(_: list[str]) -> int:
    """Audits one target."""
    from jleaks.blackbox.audit import audit
    from jleaks.blackbox.case import Case, check_attack, check_shadow
    from jleaks.blackbox.client import EndpointError
    from jleaks.blackbox.remarks import remarks
    from jleaks.files import replace_file
    from jleaks.report.bank_tables import audit_table
    from jleaks.report.run_pages import write_page
    from jleaks.rows import write_rows

    if own_audit.is_asked_for():
        folder = Path(_OUT.value)
        execution, log = start(make_execution()), Log(console(), folder=folder)
        own_audit.save(own_audit.find(log, execution, folder, _SEED.value), folder, log)
        return 0
    _check_flags()
    execution = start(make_execution())
    output = console()
    log = Log(output, folder=_OUT.value)
    recipe, values = make_attack_recipe(), _FIELDS.values()
    top, percentile = values["top"], values["percentile"]
    check_attack(recipe, top, percentile)
    shadow = _shadow()
    if shadow is not None:
        check_shadow(shadow, recipe)
    try:
        with StopSignal() as stop:
            found = _find(log, stop)
            if len(_SHADOW.value) > 1:
                own_audit.save(_compared(found.target, log), Path(_OUT.value), log)
                return 0
            case = Case(
                _TASK.value, found.target, shadow, _SHADOW_TASK.value, _SEED.value, found.random
            )
            rows = audit([case], recipe, top, percentile, execution, log.reporter, stop)
    except EndpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    said = remarks(case, rows)
    table, folder = audit_table(rows), Path(_OUT.value)
    output.print(table.to_rich(output))
    for line in said:
        log.line(line)
    table = audit_table(rows, said)
    log.line(f"wrote {write_rows(folder / 'rows.jsonl', rows, ())}")
    log.line(f"wrote {replace_file(folder / 'tables.md', table.to_markdown().encode())}")
    log.line(f"wrote {write_page(folder, public_command(), said)}")
    return 0


def _check_flags() -> None:
    from jleaks.blackbox.case import MIN_RANDOM_POINTS
    from jleaks.keys import seed_problem

    choices = ("target", "target_members", "target_url", "target_callable")
    given = [f for f in choices if flags.FLAGS[f].value]
    for whose in ("target", "shadow"):
        both = [f"{whose}_members", f"{whose}_nonmembers"]
        lacking = [name for name in both if not flags.FLAGS[name].value]
        if len(lacking) == 1:
            (there,) = set(both) - set(lacking)
            raise InputError(f"--{there} is given, but not --{lacking[0]}")
    if len(given) != 1:
        raise InputError(
            f"given are {', '.join(f'--{f}' for f in given) or 'none'} of --target, --target_members "
            "(with --target_nonmembers), --target_url and --target_callable, expected one of them"
        )
    if _SHADOW.value and _SHADOW_PAIR[0].value:
        raise InputError("--shadow and --shadow_members are given, expected one of them")
    asked = given[0] in ("target_url", "target_callable")
    if not asked and _BATCH.value is not None:
        raise InputError(f"--batch is given, but --{given[0]} has the answers")
    if asked and _RECORDS.value is None:
        raise InputError(f"--records names the records that --{given[0]} is asked about")
    if not asked and _RECORDS.value is not None:
        raise InputError(f"--records is given, but --{given[0]} has the answers")
    if not asked and _POINTS.value:
        raise InputError("--num_random_points is given, but a file cannot be asked: use --random")
    if _POINTS.value and _RANDOM.value is not None:
        raise InputError("--random and --num_random_points are given, expected one of them")
    if problem := seed_problem(_SEED.value, "--seed"):
        raise InputError(problem)
    if _POINTS.value:
        get_task(_TASK.value)
        if _POINTS.value < MIN_RANDOM_POINTS:
            raise InputError(
                f"--num_random_points is {_POINTS.value}, expected at least {MIN_RANDOM_POINTS}"
            )
    for name in _OF_ENDPOINTS if given[0] != "target_url" else ():
        if flags.FLAGS[name].present:
            raise InputError(f"--{name} is given, but there is no --target_url")


def _shadow() -> "Posteriors | None":
    """Reads the shadow's answers, if there are any."""
    from jleaks.blackbox import files

    members, nonmembers = (flag.value for flag in _SHADOW_PAIR)
    if members is not None and nonmembers is not None:
        return files.read_pair(members, nonmembers)
    return files.read(_SHADOW.value[0], "shadow") if len(_SHADOW.value) == 1 else None


def _compared(target: "Posteriors", log: Log) -> "Audit":
    """Audits a target beside several shadows that answered about the same records."""
    from jleaks.auditing.audit import audit
    from jleaks.blackbox import files

    if target.label is None or target.member is None:
        raise InputError(f"{target.name} needs label and member to be compared with shadows")
    shadows = []
    for path in _SHADOW.value:
        shadow = files.read(path, "shadow")
        if shadow.num_records != target.num_records or (
            shadow.label is not None and not np.array_equal(shadow.label, target.label)
        ):
            raise InputError(
                f"{path} is not about the records of {target.name}: shadows that are compared record by "
                "record answer about the same ones, in one order"
            )
        if shadow.member is None:
            raise InputError(
                f"{path} has no member: which of the records the shadow was trained on"
            )
        shadows.append((shadow.posteriors, shadow.member))
    return audit(
        labels=target.label,
        member=target.member,
        answers=target.posteriors,
        shadow_answers=shadows,
        seed=_SEED.value,
        tell=log.line,
    )


def _find(log: Log, stop: StopSignal) -> _Found:
    """Reads the target's answers, or asks it."""
    from jleaks.blackbox import files
    from jleaks.blackbox.answers import Answers
    from jleaks.blackbox.box import callable_box, load_callable
    from jleaks.blackbox.case import check_random

    random = None
    if _RANDOM.value is not None:
        random = files.read(_RANDOM.value, "target", headerless=True)
        check_random(random)
    members, nonmembers = (flag.value for flag in _TARGET_PAIR)
    if members is not None and nonmembers is not None:
        return _Found(files.read_pair(members, nonmembers), random)
    if _TARGET.value is not None:
        return _Found(files.read(_TARGET.value, "target"), random)
    assert _RECORDS.value is not None
    records = files.read_records(_RECORDS.value)
    if (path := _CALLABLE.value) is not None:
        return _ask(
            callable_box(load_callable(path), None, _BATCH.value, path), path, records, random
        )
    assert _URL.value is not None
    with (
        Answers(_CACHE.value or Path(_OUT.value) / "answers.sqlite") as answers,
        _endpoint(_URL.value, answers, log, stop) as box,
    ):
        # Before anything is paid for.
        records.check_classes(box.about.num_classes)
        before = box.num_sent
        found = _ask(box, box.url, records, random)
        log.line(f"{box.num_sent - before} records were sent to {box.url} now, {before} before")
        return found


def _endpoint(url: str, answers: "Answers", log: Log, stop: StopSignal) -> "HttpBox":
    """Returns the endpoint as the flags say it may be asked; a stop signal ends the asking."""
    from jleaks.blackbox.client import HttpBox

    limits = Limits(
        batch=_BATCH.value,
        read_timeout=_TIMEOUT.value,
        records_per_second=_RATE.value,
        requests_per_second=_REQUEST_RATE.value,
        **_LIMITS.values(),
    ).validate()
    headers = {}
    if _TOKEN.value is not None:
        try:
            token = Path(_TOKEN.value).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {_TOKEN.value}: {error}") from error
        if not token.isascii() or not token.isprintable() or not token:
            raise InputError(f"{_TOKEN.value} is not one line of printable ASCII")
        headers["Authorization"] = f"Bearer {token}"
    told = float("-inf")

    def look() -> None:
        if stop.received is not None:
            raise Preempted("stopped, all answers so far are kept")

    def report(text: str) -> None:
        nonlocal told
        look()
        if (now := time.monotonic()) - told >= _EVERY:
            told = now
            log.line(f"  {text}")

    def sleep(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            look()
            time.sleep(min(left, _LOOK))

    return HttpBox(url, limits, answers, headers=headers, report=report, clock=Clock(sleep=sleep))


def _ask(
    box: "CallableBox | HttpBox", name: str, records: "Records", random: "Posteriors | None"
) -> _Found:
    """Asks a black box about records and random points; writes what it answered to the records."""
    from jleaks.blackbox import files
    from jleaks.blackbox.posteriors import make_posteriors
    from jleaks.data.random_points import random_points

    queries, count = records.records, len(records.records)
    if _POINTS.value:
        points = random_points(get_task(_TASK.value), _SEED.value, queries.shape[1:], _POINTS.value)
        queries = np.concatenate([queries, points.astype(queries.dtype)])
    # All at once: what a budget cannot pay for as a whole is not begun.
    posteriors = box.answer(queries)
    path = Path(_OUT.value) / "posteriors.npz"
    target = make_posteriors(posteriors[:count], records.member, None, name, box.notes)
    # What was answered is kept, even if the labels turn out to be of another model.
    files.write(path, target)
    records.check_classes(target.num_classes)
    target = dataclasses.replace(
        target, label=records.label, notes=(*target.notes, *records.label_lines())
    )
    files.write(path, target)
    if _POINTS.value:
        random = make_posteriors(posteriors[count:], name=f"{name} on random points")
    return _Found(target, random)


if __name__ == "__main__":
    run(main, "python -m launch.audit", __doc__ or "")
