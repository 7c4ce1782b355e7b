"""Banks of defended models: LiRA, RMIA and labels alone beside the paper's adversaries.

For each defence and strength one bank, in which every model is attacked in turn: by who knows of the
defence, with the others of the bank, and by who does not, with those of the undefended bank.  Models are
trained on as many records as the targets of the other attacks, so that accuracies and what DP-SGD
guarantees are comparable.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jleaks.activity import doing
from jleaks.attacks.against import against
from jleaks.attacks.bank import Bank
from jleaks.attacks.options import published
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.attacks.signals import bank_signal_fn
from jleaks.data.tasks import get_task
from jleaks.defences.defence import get_defence
from jleaks.experiments import bank as banks
from jleaks.experiments.bank_groups import group_rows
from jleaks.experiments.bank_plan import BankPlan, default_sizes
from jleaks.experiments.context import Context, model_kind
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import guarantee
from jleaks.metrics.bank_metrics import FPRS

# Online forms, and labels under the bank's queries alone.
ATTACKS = ("lira_online", "rmia_online", "label_boundary")

# What it holds is checked when it is written.
Row = dict[str, Any]


def bank_rows(
    run: Context,
    experiment: str,
    defences: Sequence[str],
    num_models: int,
    canaries: str | None,
) -> list[Row]:
    """Returns the rows of attacks on banks of every task: of undefended models, then of defended ones.

    Args:
      run: The run.
      experiment: Name in rows.
      defences: Each "NAME:STRENGTH".  Models that are several have no bank.
      num_models: M of each bank.
      canaries: What is planted among their candidates; None for nothing.
    """
    rows: list[Row] = []
    single = [given for given in defences if get_defence(given).composite is None]
    for task in dict.fromkeys(task for task, _ in run.draws()):
        undefended: Bank | None = None
        for given in (None, *single):
            plan = bank_plan(run, task, num_models, canaries, given)
            with doing(f"a bank of {given or 'undefended models'} of {task}"):
                bank, about = _trained(run, plan)
                about["experiment"] = experiment
                name, _, strength = (given or "none").partition(":")
                for attacker, found in _found(bank, undefended):
                    run.querier.library.stop.check(f"attacked a bank of {task}")
                    variant = {"defence": name, "strength": strength, "attacker": attacker}
                    rows += [_row(row, about, variant) for row in found]
            undefended = undefended or bank
    return rows


def bank_plan(
    run: Context, task: str, num_models: int, canaries: str | None, defence: str | None
) -> BankPlan:
    """Returns the plan of a bank whose models train on as many records as a task's targets.

    Raises:
      InputError: there can be no such bank.
    """
    size = run.layout.sizes[task]
    half = run.plan.quarter(get_task(task), size)
    return BankPlan(
        task=task,
        num_models=num_models,
        num_candidates=2 * half,
        num_population=min(size - 2 * half, default_sizes(size)[1]),
        source=run.plan.source,
        recipe=run.plan.recipe(get_task(task)),
        defence=defence,
        canaries=canaries,
    ).validate()


def _trained(run: Context, plan: BankPlan) -> tuple[Bank, Row]:
    """Returns a bank, whose models are kept in the run's library, and what all its rows say."""
    data, split = banks.cut(plan, run.querier.datasets(plan.task))
    querier = Querier(run.querier.library, lambda _: data, run.execution)
    models = banks.subjects(plan, split, range(plan.num_models))
    asked = np.concatenate([split.candidates, split.population])
    answers = querier.signals(models, asked, bank_signal_fn(plan.temperature, plan.perturbation()))
    answers |= {name: np.moveaxis(answers[name], 2, 0) for name in ("phi", "correct")}
    arrays: dict[str, Any] = {**answers, **banks.of_records(plan, data, split)}
    known = guarantee(models[0])
    bank = Bank(
        **arrays,
        member=np.pad(split.member, ((0, 0), (0, plan.num_population))),
        num_classes=data.task.num_classes,
        twins=True,
        meta={"task": plan.task, "source": data.source, "plan": plan.as_dict(), **known},
    )
    train, test = bank.accuracy()
    return bank, {
        **dict.fromkeys(
            ("shadow_task", "adversary", "precision", "recall", "accuracy", "threshold")
        ),
        **{f"fpr_realised_{fpr}": None for fpr in FPRS},
        "train_accuracy": train,
        "test_accuracy": test,
        "num_classes": data.task.num_classes,
        "model": model_kind(models[0]),
        "scale": run.plan.scale,
        **run.about,
    }


def _found(bank: Bank, undefended: Bank | None) -> Iterator[tuple[str, list[Row]]]:
    """Yields what attackers find, by whether they know of the defence; undefended models have none."""
    options = published(bank.meta["task"])
    attacks = get_attacks(ATTACKS)
    alone = [attack for attack in attacks if attack.references == "none"]
    compared = [attack for attack in attacks if attack.references != "none"]
    own = bank, *assign(bank)
    if undefended is None:
        runs = [("naive", attacks, own)]
    else:
        beside = against(bank, undefended)
        runs = [("naive", compared, beside), ("naive", alone, own), ("aware", compared, own)]
    for attacker, kinds, (attacked, references, shadows) in runs:
        yield attacker, group_rows(attacked, kinds, references, shadows, options)


def _row(found: Row, about: Row, variant: dict[str, str]) -> Row:
    records = found.pop("records")
    row = {**about, **found, "variant": {**variant, "records": records}}
    # Of the targets' bank: another's models may be references.
    row["num_models"] = found["num_targets"]
    if found["num_references"]:
        row["shadow_task"] = found["task"]
    return row
