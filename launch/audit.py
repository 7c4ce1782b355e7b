"""Audits a model: who was it trained on?  Your own, with shadows of its kind; or a black box's answers.

Your own model: --data has its records, labels and membership, and --network, or --fit and --predict, say
how its kind is trained.  Shadow models are trained, every attack that they allow is run, and report.html
says what it means.  If the released model answers over HTTP, --endpoint is asked about the records.

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
`jleaks/blackbox/files.py` documents the files, `jleaks/blackbox/protocol.py` how endpoints are asked.

Writes rows.jsonl and tables.md, and posteriors.npz if the target was asked: that file can be the --target
or --shadow of the next audit.  Answers of an endpoint are kept in --cache: interrupted anywhere, the same
command continues, and no record is asked about twice.

Example: python -m launch.audit --data=records.npz --fit=train.py:fit --predict=train.py:predict
Example: python -m launch.audit --target=target.npz --shadow=shadow.npz --out_dir=checkpoints/audit
"""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.plan import Plan
from jleaks.training.preemption import StopSignal

from . import asking, own_audit
from .app import FAILED, WHAT, WHERE, define_execution, make_execution, run, start
from .attack_recipe import make_attack_recipe
from .command_line import public_command
from .fields import Fields
from .log import Log, console

if TYPE_CHECKING:
    from rich.console import Console

    from jleaks.auditing.result import Audit
    from jleaks.blackbox.posteriors import Posteriors, Records
    from jleaks.training.execution import Execution

define_execution()

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
_DEFENCE = flags.DEFINE_string(
    "defence",
    None,
    'Defence that is put before what was answered, "NAME:STRENGTH", such as "top_k:1": the attacker\'s '
    "shadows answer behind it, too.",
    module_name=WHAT,
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


class _Found(NamedTuple):
    """What the target answered to records, and to random points if there are any."""

    target: "Posteriors"
    random: "Posteriors | None"


def main(_: list[str]) -> int:
    """Audits one target."""
    from jleaks.blackbox.transport import EndpointError

    if own_audit.is_asked_for():
        _check_own()
    else:
        _check_flags()
    execution, output = start(make_execution()), console()
    folder = Path(_OUT.value)
    log = Log(output, folder=folder)
    try:
        with StopSignal() as stop:
            if own_audit.is_asked_for():
                found = own_audit.find(log, execution, folder, _SEED.value, stop)
                own_audit.save(found, folder, log)
            elif len(_SHADOW.value) > 1:
                own_audit.save(_compared(_find(log, stop).target, log), folder, log)
            else:
                _attack(execution, output, log, folder, stop)
    except EndpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


def _attack(
    execution: "Execution", output: "Console", log: Log, folder: Path, stop: StopSignal
) -> None:
    """Runs the adversaries, and the attacks on labels, on the target; writes what they found."""
    from jleaks.auditing.adversaries import Attacker, attack_answers
    from jleaks.auditing.remarks import remarks
    from jleaks.files import replace_file
    from jleaks.report.bank_tables import audit_table
    from jleaks.report.run_pages import write_page
    from jleaks.rows import write_rows

    attacker = Attacker(
        _shadow(), None, _TASK.value, _SHADOW_TASK.value, _SEED.value, make_attack_recipe(),
        **_FIELDS.values(),
    )  # fmt: skip
    if _RANDOM.value is not None:
        from jleaks.blackbox import files

        random = files.read(_RANDOM.value, "target", headerless=True)
        attacker = attacker._replace(random=_behind(random))
    # Before anything is asked.
    attacker.check()
    found = _find(log, stop)
    attacker = attacker._replace(random=found.random or attacker.random)
    rows = attack_answers(found.target, attacker, execution, log.reporter, stop)
    said = remarks(found.target, attacker, rows)
    output.print(audit_table(rows).to_rich(output))
    for line in said:
        log.line(line)
    table = audit_table(rows, said)
    log.line(f"wrote {write_rows(folder / 'rows.jsonl', rows, ())}")
    log.line(f"wrote {replace_file(folder / 'tables.md', table.to_markdown().encode())}")
    log.line(f"wrote {write_page(folder, public_command(), said)}")


def _check_own() -> None:
    """Refuses flags that say something of a black box where the target is one's own."""
    if flags.FLAGS["budget"].present and not (asking.URL.value or asking.CALLABLE.value):
        raise InputError(
            "--budget is of records that an endpoint is sent; of shadow models say --shadow_budget"
        )
    asking.is_asked_for()
    for name in ("target", "target_members", "records", "random", "shadow", "shadow_members"):
        if flags.FLAGS[name].value:
            raise InputError(f"--{name} is given with --data, which has records and membership")
    if _DEFENCE.value is not None:
        raise InputError(
            "--defence is put before what a black box answered; a model of your own answers behind its "
            "own: let --predict do it, so that shadows answer alike"
        )


def _check_flags() -> None:
    from jleaks.auditing.adversaries import MIN_RANDOM_POINTS
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
    asked = asking.is_asked_for()
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
    if _DEFENCE.value is not None:
        from jleaks.blackbox.posteriors import of_answers

        # Before anything is asked.
        if of_answers(_DEFENCE.value).learns_of_answers and len(_SHADOW.value) > 1:
            raise InputError(
                f"--defence={_DEFENCE.value} holds some records of each file back for the defender, and "
                f"{len(_SHADOW.value)} --shadow are compared record by record: give one"
            )
    if _POINTS.value:
        get_task(_TASK.value)
        if _POINTS.value < MIN_RANDOM_POINTS:
            raise InputError(
                f"--num_random_points is {_POINTS.value}, expected at least {MIN_RANDOM_POINTS}"
            )


def _shadow() -> "Posteriors | None":
    """Reads the shadow's answers, if there are any."""
    from jleaks.blackbox import files

    members, nonmembers = (flag.value for flag in _SHADOW_PAIR)
    if members is not None and nonmembers is not None:
        return _behind(files.read_pair(members, nonmembers))
    return _behind(files.read(_SHADOW.value[0], "shadow")) if len(_SHADOW.value) == 1 else None


def _behind(given: "Posteriors") -> "Posteriors":
    """Returns what would have been answered behind --defence."""
    if _DEFENCE.value is None:
        return given
    from jleaks.blackbox.posteriors import defended, of_answers

    return defended(given, of_answers(_DEFENCE.value))


def _compared(target: "Posteriors", log: Log) -> "Audit":
    """Audits a target beside several shadows that answered about the same records."""
    from jleaks.auditing.audit import audit
    from jleaks.blackbox import files

    if target.label is None or target.member is None:
        raise InputError(f"{target.name} needs label and member to be compared with shadows")
    shadows = []
    for path in _SHADOW.value:
        shadow = _behind(files.read(path, "shadow"))
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

    members, nonmembers = (flag.value for flag in _TARGET_PAIR)
    if members is not None and nonmembers is not None:
        return _Found(_behind(files.read_pair(members, nonmembers)), None)
    if _TARGET.value is not None:
        return _Found(_behind(files.read(_TARGET.value, "target")), None)
    assert _RECORDS.value is not None
    found = _ask(files.read_records(_RECORDS.value), log, stop)
    # What was answered is kept as it was answered.
    return _Found(_behind(found.target), None if found.random is None else _behind(found.random))


def _ask(records: "Records", log: Log, stop: StopSignal) -> _Found:
    """Asks the target about records and random points; writes what it answered to the records."""
    from jleaks.blackbox import files
    from jleaks.blackbox.posteriors import make_posteriors
    from jleaks.data.random_points import random_points

    queries, count, folder = records.records, len(records.records), Path(_OUT.value)
    if _POINTS.value:
        points = random_points(get_task(_TASK.value), _SEED.value, queries.shape[1:], _POINTS.value)
        queries = np.concatenate([queries, points.astype(queries.dtype)])
    # All at once: what a budget cannot pay for as a whole is not begun.
    posteriors, usable, box = asking.asked(queries, folder, log, stop, records.check_classes)
    kept, path = usable[:count], folder / "posteriors.npz"
    if not kept.any():
        raise InputError(f"{box.name} has no usable answer about any of the {count} records")
    target = make_posteriors(
        posteriors[:count][kept], records.member[kept], None, box.name, box.notes
    )
    # What was answered is kept, even if the labels turn out to be of another model.
    files.write(path, target)
    records.check_classes(target.num_classes)
    label = None if records.label is None else records.label[kept]
    target = dataclasses.replace(target, label=label, notes=(*target.notes, *records.label_lines()))
    files.write(path, target)
    random = None
    if _POINTS.value and usable[count:].any():
        answered = posteriors[count:][usable[count:]]
        random = make_posteriors(answered, name=f"{box.name} on random points")
    return _Found(target, random)


if __name__ == "__main__":
    run(main, "python -m launch.audit", __doc__ or "")
