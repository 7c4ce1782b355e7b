"""Trains a bank, M subjects on random halves, and asks every model about every record."""

import dataclasses
import time
from typing import Any

import numpy as np

from jleaks.attacks import bank as bank_lib
from jleaks.attacks.bank import Bank
from jleaks.attacks.quantile import prediction, quantile_models
from jleaks.attacks.signals import bank_signal_fn
from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, records
from jleaks.data.splits import Halves, halves
from jleaks.defences.defence import answering, get_defence
from jleaks.defences.dpsgd import accounted
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.engine import checked, reread, training
from jleaks.experiments.subjects import Subject
from jleaks.experiments.workdir import Workdir
from jleaks.keys import Role, identity_key
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.reporter import Reporter, provenance
from jleaks.training.trainer import Trainer


def train_bank(
    plan: BankPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    reporter: Reporter | None = None,
) -> Bank:
    """Trains a bank, or continues it, or reads it if it was finished.

    Args:
      plan: What defines the numbers.
      execution: How fast.
      workdir: Directory of this bank; the finished bank is its `bank.npz`.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      reporter: Where to tell what is going on.

    Raises:
      InputError: anything about the input, before any long work.
      Preempted: a stop signal arrived; the same call continues.
      DivergedError: a model's loss was not finite.
    """
    reporter = checked(plan, execution, reporter)
    work = Workdir(workdir, plan)
    outcome = work.outcome("bank.npz")
    told = f"{plan.task}: reading {outcome.path}"
    found = reread(outcome, bank_lib.load, _made_by, reporter, told)
    if found is not None:
        return found
    data, split, models = lay_out(plan, data_dir)
    seconds = {}
    with training(work, execution, lambda _: data, reporter) as (querier, stop):
        library = querier.library
        spec = querier.fleet_spec(models)
        if plan.null == "untrained":
            tick = time.monotonic()
            trainer = Trainer(spec, execution, reporter.progress, stop, reporter.line)
            state = trainer.initial()
            seconds["training"] = time.monotonic() - tick
        else:
            trainer, state = library.train(spec, [querier.name(model) for model in models])
            seconds["training"] = querier.cost(models).wall_seconds
        tick = time.monotonic()
        asked = np.concatenate([split.candidates, split.population])
        rows = np.broadcast_to(asked, (plan.num_models, len(asked)))
        keep = bank_signal_fn(plan.temperature, plan.perturbation())
        answers = trainer.query(
            state, rows, keep, answering=answering([model.defence for model in models])
        )
        for name in ("phi", "correct"):
            answers[name] = np.ascontiguousarray(np.moveaxis(answers[name], 2, 0))
        seconds["query"] = time.monotonic() - tick
        tick = time.monotonic()
        if plan.num_population >= plan.quantile.batch_size:
            phi = answers["phi"][0][:, plan.num_candidates :]
            regressions = quantile_models(
                data, split.population, phi, plan.seed, plan.quantile, execution
            )
            regression = Trainer(regressions, execution, reporter.progress, stop)
            answers |= regression.query(regression.run(), rows, prediction)
        seconds["quantiles"] = time.monotonic() - tick
    bank = Bank(
        member=_membership(plan, split, data.num_records),
        labels=data.labels[asked],
        num_classes=data.task.num_classes,
        population=np.arange(len(asked)) >= plan.num_candidates,
        twins=True,
        num_targets=None,
        meta=_meta(plan, execution, data, trainer, seconds)
        | accounted(models[0].defence, plan.recipe, plan.num_candidates // 2),
        **answers,
    )
    with outcome.writing() as path:
        bank.save(path)
    members, others = bank.accuracy()
    reporter.line(
        f"{plan.task}: {plan.num_models} models of {plan.num_candidates // 2} records in "
        f"{seconds['training']:.1f} s; accuracy {members:.3f} on members, {others:.3f} on "
        "non-members"
    )
    return bank


def _made_by(bank: Bank) -> list[dict[str, Any]]:
    return [{"fingerprint": bank.meta.get("fingerprint"), "format": bank.format}]


def lay_out(plan: BankPlan, data_dir: str | None) -> tuple[Dataset, Halves, list[Subject]]:
    """Returns a bank's data, who is a member of which model, and the models.

    Raises:
      InputError: the data was not prepared, or has too few records.
    """
    needed = plan.num_candidates + plan.num_population
    if plan.source == "prepared":
        found = num_records(plan.task, plan.source, data_dir)
        if found < needed:
            raise InputError(
                f"{plan.task}: {plan.num_candidates} candidates and {plan.num_population} population "
                f"records were asked for, the data has {found}"
            )
    data = records(plan.task, plan.source, data_dir, needed)
    sizes = plan.num_models, plan.num_candidates, plan.num_population
    split = halves(plan.task, plan.seed, data.num_records, *sizes)
    keys = [identity_key(plan.seed, plan.task, Role.BANK_MODEL, i) for i in range(plan.num_models)]
    defence = None if plan.defence is None else get_defence(plan.defence)
    if defence is not None:
        # Twins share the candidates: all train on equally many.
        defence = defence.tailored(plan.recipe, plan.num_candidates // 2)
    return (
        data,
        split,
        [
            Subject(
                name=f"model {i} of the bank of {plan.task}, seed {plan.seed}",
                task=plan.task,
                recipe=plan.recipe,
                members=split.candidates[member],
                others=split.candidates[~member],
                key_data=key_data,
                defence=defence,
                seed=plan.seed,
            )
            for i, (member, key_data) in enumerate(
                zip(split.member, stack_key_data(keys), strict=True)
            )
        ],
    )


def _membership(plan: BankPlan, split: Halves, total: int) -> np.ndarray:
    """Returns who trained on what, [M, N + P]; after a null draw, who is said to have."""
    member = split.member
    if plan.null == "shuffled":
        sizes = (plan.num_models, plan.num_candidates, plan.num_population)
        member = halves(plan.task, plan.seed, total, *sizes, role=Role.NULL).member
    return np.pad(member, ((0, 0), (0, plan.num_population)))


def _meta(
    plan: BankPlan, execution: Execution, data: Dataset, trainer: Trainer, seconds: dict[str, float]
) -> dict[str, Any]:
    return {
        "task": plan.task,
        "source": data.source,
        "num_records": data.num_records,
        "plan": plan.as_dict(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "packing": dataclasses.asdict(trainer.packing),
        **provenance(plan.fingerprint(), execution),
    }
