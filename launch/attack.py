"""Attacks every model of a bank with every attack: a bank of launch.bank, or a score file from elsewhere.

Writes, for each input, rows.jsonl (one row per attack and target, TPRs with intervals that cover the TPR at
the named FPR), summary.jsonl (means over targets with intervals over records), comparisons.jsonl (pairs of
attacks), audit.jsonl (bounds on epsilon, AUCs with intervals over records), results.csv, tables.md,
roc.npz, figures/roc.png and report.html, a page that needs no network.  Of a bank with canaries also
canaries.jsonl: what the attacks of --audit find among these, and the epsilon that it shows.  With --usage,
usage.jsonl: how well they tell which share of a data set was used.  Of a bank with a loss trace,
triage.jsonl: whether it finds the members whom they find, and alike.jsonl: whether it orders them alike.
`jleaks/attacks/score_files.py` documents score files: logits, posteriors or phi, membership, labels, as npz
or parquet.

Attacks of your own, functions of one record, are registered by a --plugin (`jleaks/attacks/per_record.py`,
`examples/own_attack.py`).

Example: python -m launch.attack --signals=checkpoints/bank/location/bank.npz
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from jleaks.activity import doing
from jleaks.attacks.options import NAMES, Options, published
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.rows import GUARANTEE
from jleaks.training.execution import Execution

from .app import SPEED, WHAT, WHERE, run, start
from .command_line import public_command
from .fields import Fields
from .log import Log, console

if TYPE_CHECKING:
    from jleaks.attacks.bank import Bank
    from jleaks.attacks.registry import Attack
    from jleaks.experiments.bank_results import Row

_SIGNALS = flags.DEFINE_list(
    "signals",
    None,
    "Files to attack: bank.npz of launch.bank, or score files (npz, parquet).",
    module_name=WHERE,
)
_OUT = flags.DEFINE_string(
    "out_dir", None, "Directory to write to; default beside each file.", module_name=WHERE
)
_ATTACKS = flags.DEFINE_list(
    "attacks",
    ["all"],
    f"Attacks to run: all, or some of {', '.join(NAMES)}, and those that a --plugin registers.",
    module_name=WHAT,
)
_REFERENCES = flags.DEFINE_integer(
    "num_references",
    None,
    "Number of references of each target; default all models but the target and its twin.",
    module_name=WHAT,
)
_OPTIONS = Fields(
    Options,
    ("gamma", "offline_a", "base_scale"),
    WHAT,
    unset={"offline_a": "chosen for each target by attacking a shadow"},
)
# A bank of our own brings its answers at its temperature; a score file's logits are read at this one.
_TEMPERATURE = Fields(BankPlan, ("temperature",), WHAT)
_COMPARE = flags.DEFINE_list(
    "compare",
    ["lira_online", "rmia_online", "bavaria", "lira_offline", "rmia_offline"],
    "Attacks to compare in pairs on the same targets.",
    module_name=WHAT,
)
_AUDIT = flags.DEFINE_list(
    "audit",
    ["lira_online"],
    "Attacks whose scores bound epsilon from below; empty for none.",
    module_name=WHAT,
)
_DELTA = flags.DEFINE_float(
    "delta", 1e-5, "Delta of the (epsilon, delta) audited.", module_name=WHAT
)
_USAGE = flags.DEFINE_list(
    "usage",
    [],
    "Shares of a data set that was used, from 0 to 1: it is tried how well the attacks of --audit tell "
    "them; empty for none.",
    module_name=WHAT,
)
_DEVICES = Fields(Execution, ("num_devices",), SPEED, unset={"num_devices": "all"})
_BLOCK = flags.DEFINE_integer(
    "records_per_block",
    None,
    "Number of records scored at a time; default all if they fit in memory.",
    lower_bound=1,
    module_name=SPEED,
)


def main(_: list[str]) -> int:
    """Attacks every file."""
    from jleaks.api.banks import attack
    from jleaks.attacks import score_files
    from jleaks.attacks.registry import ATTACKS, get_attacks
    from jleaks.experiments import bank_results
    from jleaks.experiments.bank_audits import audit
    from jleaks.experiments.bank_groups import group_rows
    from jleaks.experiments.triage import FINDERS, alike, scored, triage
    from jleaks.files import replace_file
    from jleaks.report.bank_tables import bank_tables
    from jleaks.report.record_tables import groups_table
    from jleaks.report.run_pages import write_page
    from jleaks.rows import OF_SUMMARY, write_csv, write_rows
    from jleaks.training.fleet import make_mesh
    from jleaks.training.reporter import provenance

    if not _SIGNALS.value:
        raise InputError("--signals names the files to attack")
    get_attacks(_ATTACKS.value)
    # In the order in which they are named: of a pair the first is compared with the second.
    compared = _named(_COMPARE.value, get_attacks)
    audited = _named(_AUDIT.value, get_attacks)
    shares = _shares()
    if not 0 <= _DELTA.value < 1:
        raise InputError(f"--delta is {_DELTA.value}, expected a number in [0, 1)")
    execution = start(Execution(**_DEVICES.values()).validate())
    mesh = make_mesh(execution.num_devices)
    output = console()
    log = Log(output)
    temperature = _TEMPERATURE.values()["temperature"]
    with doing("reading signals"):
        banks = {path: score_files.read(path, temperature) for path in _SIGNALS.value}
    if shares:
        from jleaks.experiments.data_usage import check

        for bank in banks.values():
            check(bank)
    for path, bank in banks.items():
        for note in bank.meta.get("notes", ()):
            log.line(note)
        options = _options(bank)
        try:
            with doing("attacking"):
                found = attack(
                    bank,
                    _ATTACKS.value,
                    num_references=_REFERENCES.value,
                    options=options,
                    execution=execution,
                    records_per_block=_BLOCK.value,
                    tell=functools.partial(_tell, log, path),
                )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        attacks, metrics, rows = found.attacks, found.metrics, found.as_rows
        log.line(
            f"{path}: {len(rows)} attacks evaluated in {found.seconds:.1f} s, compilation included"
        )
        about = {
            **dataclasses.asdict(options),
            "recipe": bank_results.recipe(bank),
            "notes": bank.meta.get("notes", []),
            **{
                name: bank.meta[name]
                for name in (*GUARANTEE, "boundary_queries")
                if name in bank.meta
            },
            "train_accuracy": _rounded(bank.accuracy()[0]),
            "test_accuracy": _rounded(bank.accuracy()[1]),
            "training_seconds": bank.meta.get("seconds", {}).get("training"),
            "evaluation_seconds": round(found.seconds, 3),
            **provenance(bank.meta.get("fingerprint", ""), execution, bank.format),
        }
        if own := ATTACKS.digests(*(one.name for one in attacks)):
            about["attack_files"] = own
        summary = found.summarised(about)
        folder = Path(_OUT.value or Path(path).parent)
        if _OUT.value and len(banks) > 1:
            folder /= str(bank.meta.get("task", Path(path).stem))
        run_names = {one.name for one in attacks}
        comparisons = bank_results.compare(
            rows, attacks, metrics, [name for name in compared if name in run_names]
        )
        bounded = [one for one in attacks if one.name in audited]
        audits, groups = [], []
        if bounded and bank.canary is not None:
            with doing("attacking canaries"):
                groups = group_rows(
                    bank, bounded, found.references, found.shadows, options, mesh=mesh
                )
        if bounded:
            with doing("bounding epsilon"):
                audits = audit(
                    *(bank, bounded, (found.references, found.shadows), options, _DELTA.value),
                    mesh=mesh,
                )
        found_usage = _used(bank, bounded, shares, options, functools.partial(_tell, log, path))
        judges = [
            one.name
            for one in bounded
            if one.references != "none" and {*FINDERS, one.name} <= run_names
        ]
        with doing("looking for the members at risk"):
            assigned = found.references, found.shadows
            given = scored(bank, judges, assigned, options, mesh) if judges else None
            risks, orders = (triage(given), alike(given)) if given else ([], [])
        tables = bank_tables(summary, comparisons, audits, found_usage, risks, orders)
        if groups:
            tables.insert(1, groups_table(groups))
        written = [
            write_rows(folder / "rows.jsonl", rows, ()),
            write_rows(folder / "summary.jsonl", summary, OF_SUMMARY),
            write_rows(folder / "comparisons.jsonl", comparisons, (), may_be_empty=True),
            write_rows(folder / "audit.jsonl", audits, (), may_be_empty=True),
            *([write_rows(folder / "canaries.jsonl", groups, ())] if groups else []),
            write_rows(folder / "usage.jsonl", found_usage, (), may_be_empty=True),
            write_rows(folder / "triage.jsonl", risks, (), may_be_empty=True),
            write_rows(folder / "alike.jsonl", orders, (), may_be_empty=True),
            write_csv(folder / "results.csv", rows, ()),
            replace_file(
                folder / "tables.md", "\n".join(table.to_markdown() for table in tables).encode()
            ),
            bank_results.write_roc(folder / "roc.npz", attacks, metrics),
            found.plot_roc(folder / "figures" / "roc.png"),
        ]
        written.append(write_page(folder, public_command()))
        for table in tables:
            output.print(table.to_rich(output))
        for file in written:
            log.line(f"wrote {file}")
    return 0


def _shares() -> list[float]:
    """Returns the shares of --usage."""
    try:
        found = [float(text) for text in _USAGE.value]
    except ValueError:
        found = [-1.0]
    if not all(0 <= share <= 1 for share in found):
        raise InputError(f"--usage is {','.join(_USAGE.value)}, expected numbers from 0 to 1")
    return found


def _used(
    bank: "Bank",
    attacks: Sequence["Attack"],
    shares: Sequence[float],
    options: Options,
    tell: Callable[[str], None],
) -> "list[Row]":
    """Returns how well attacks tell the shares, by those that can be run without a shadow."""
    from jleaks.attacks.across_halves import refusal
    from jleaks.experiments.data_usage import data_usage

    possible = []
    for attack in attacks if shares else ():
        if (why := refusal(attack, bank)) is None:
            possible.append(attack)
        else:
            tell(f"{attack.name} left out of --usage: {why}")
    if not possible:
        return []
    with doing("telling shares of data sets"):
        return data_usage(bank, possible, shares, options=options)


def _named(
    names: Sequence[str], get_attacks: Callable[[Sequence[str]], list["Attack"]]
) -> list[str]:
    """Returns the attacks that a flag names, each once, in its order; it may name none."""
    if "all" in names:
        return [attack.name for attack in get_attacks(names)]
    if names:
        get_attacks(names)
    return list(dict.fromkeys(names))


def _tell(log: Log, path: str, text: str) -> None:
    log.line(f"{path}: {text}")


def _options(bank: "Bank") -> Options:
    return dataclasses.replace(
        published(str(bank.meta.get("task", ""))),
        **_OPTIONS.values(),
    ).validate()


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


if __name__ == "__main__":
    run(main, "python -m launch.attack", __doc__ or "")
