"""Trains a bank, M subjects on random halves, and asks every model about every record."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from jleaks.attacks import bank as bank_lib
from jleaks.attacks.bank import Bank
from jleaks.attacks.hop_skip_jump import asked, rounds
from jleaks.attacks.loss_trace import interquartile_range
from jleaks.attacks.quantile import prediction, quantile_models
from jleaks.attacks.signals import bank_signal_fn
from jleaks.data import canaries
from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, records
from jleaks.data.splits import Halves, halves
from jleaks.defences.defence import get_defence
from jleaks.defences.dpsgd import accounted
from jleaks.errors import DivergedError, InputError
from jleaks.experiments.bank_answers import BankAnswers
from jleaks.experiments.bank_plan import LEAST_MODELS, BankPlan
from jleaks.experiments.engine import checked, reread, training
from jleaks.experiments.library import models_per_fleet
from jleaks.experiments.subjects import Subject, Watch
from jleaks.experiments.workdir import Workdir
from jleaks.keys import Role, identity_key
from jleaks.training import processes
from jleaks.training.divergence import Divergence
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.preemption import Preempted
from jleaks.training.reporter import Reporter, provenance
from jleaks.training.trainer import Trainer

# Answers in memory at a time, and what a bank's file may have to be read into it.
_MOST_BYTES = 1 << 28


def train_bank(
    plan: BankPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    reporter: Reporter | None = None,
) -> Bank:
    """Trains a bank, or continues it, or reads it if it was finished.

    Models are trained and asked some at a time, and their answers go to the disk as they come: memory does
    not grow with the number of models, and a bank that would not fit comes back as maps of its file.

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
    bank = make_bank(plan, execution, workdir, data_dir, reporter)
    assert bank is not None, "of several processes, the first alone has the bank"
    return bank


def make_bank(
    plan: BankPlan,
    execution: Execution,
    workdir: str,
    data_dir: str | None = None,
    reporter: Reporter | None = None,
) -> Bank | None:
    """The same (see `train_bank`) by one or several processes, of which the others get None."""
    reporter = checked(plan, execution, reporter)
    work = Workdir(workdir, plan)
    outcome = work.outcome("bank.npz")
    told = f"{plan.task}: reading {outcome.path}"
    found = reread(outcome, _read, _made_by, reporter, told) if processes.is_first() else None
    if processes.first(lambda: found is not None):
        return found
    data, split = lay_out(plan, data_dir)
    asked = np.concatenate([split.candidates, split.population])
    keep = bank_signal_fn(plan.temperature, plan.perturbation(), plan.boundary)
    with training(work, execution, lambda _: data, reporter) as (querier, stop):
        dtype = np.float16 if plan.answers == "float16" else np.float32
        kept = BankAnswers(work.path / "answers", plan.fingerprint(), plan.num_models, dtype)
        spec = querier.fleet_spec(subjects(plan, split, range(2)))
        per_fleet = models_per_fleet(spec, plan.num_models)
        # The fleets in which the library would train them all: models held in memory at a time.
        for first in range(0, plan.num_models, per_fleet):
            numbers = range(first, min(first + per_fleet, plan.num_models))
            if numbers.stop <= kept.num_done:
                continue
            models = subjects(plan, split, numbers)
            seconds = {}
            if plan.null == "untrained":
                tick = time.monotonic()
                spec = querier.fleet_spec(models)
                trainer = Trainer(spec, execution, reporter.progress, stop, reporter.line)
                state = trainer.initial()
                seconds["training"] = time.monotonic() - tick
            else:
                trainer, state = querier.train(models)
                seconds["training"] = querier.cost(models).wall_seconds
            kept.packing = dataclasses.asdict(trainer.packing)
            if kept.num_done > first:
                # An earlier process noted the seconds of this fleet.
                seconds = {}
            at_once = _models_asked_at_once(plan, trainer.packing.models_per_call)
            for start in range(kept.num_done, numbers.stop, at_once):
                part = slice(start - first, min(start + at_once, numbers.stop) - first)
                rows = np.broadcast_to(asked, (part.stop - part.start, len(asked)))
                tick = time.monotonic()
                whole = state._replace(trace={})
                some = jax.tree.map(lambda leaf, part=part: leaf[part], whole)
                defended = querier.answering(models[part], trainer, some)
                answers = trainer.query(some, rows, keep, answering=defended)
                for name in ("phi", "correct"):
                    answers[name] = np.ascontiguousarray(np.moveaxis(answers[name], 2, 0))
                if plan.loss_trace:
                    answers["loss_iqr"] = interquartile_range(state.trace["loss"][part])
                seconds["query"] = time.monotonic() - tick
                tick = time.monotonic()
                if plan.num_population >= plan.quantile.batch_size:
                    phi = answers["phi"][0][:, plan.num_candidates :]
                    # What a marked regression predicts would be taken for a quantile.
                    strict = dataclasses.replace(execution, on_divergence="stop")
                    regressions = quantile_models(
                        data, split.population, phi, plan.seed, plan.quantile, strict, start
                    )
                    regression = Trainer(regressions, strict, reporter.progress, stop)
                    answers |= regression.query(regression.run(), rows, prediction)
                seconds["quantiles"] = time.monotonic() - tick
                kept.add(answers, seconds)
                seconds = {}
                if kept.num_done < plan.num_models and stop.agreed():
                    raise Preempted(f"{plan.task}: stopped after {kept.num_done} models answered")
        everyone = subjects(plan, split, range(plan.num_models))
        diverged = querier.library.diverged(map(querier.name, everyone))
        chosen = _whole_pairs(plan, everyone, diverged)
    if not processes.is_first():
        return None
    with outcome.writing() as path:
        kept.save(
            path,
            {
                "member": _membership(plan, split, data.num_records)[chosen],
                **of_records(plan, data, split),
            },
            {
                **_meta(plan, execution, data, kept),
                **accounted(subjects(plan, split, [0])[0].defence, plan.recipe, plan.num_members),
                "num_classes": data.task.num_classes,
                "twins": not plan.num_targets,
                **({"notes": _left_out(diverged)} if diverged else {}),
            },
            chosen,
        )
    kept.delete()
    bank = _read(outcome.path)
    members, others = bank.accuracy()
    reporter.line(
        f"{plan.task}: {bank.num_models} models of {plan.num_members} records in "
        f"{kept.seconds['training']:.1f} s; accuracy {members:.3f} on members, {others:.3f} on "
        "non-members"
    )
    return bank


def _whole_pairs(
    plan: BankPlan, models: Sequence[Subject], diverged: Sequence[Divergence]
) -> Bool[np.ndarray, "models"]:
    """Returns which models the bank's file has: all but those that diverged and their twins.

    Without its twin a model would unbalance the others' references: each record is in one of the two.

    Raises:
      DivergedError: too few are left.
    """
    names = {one.name for one in diverged}
    whole = np.array([model.name not in names for model in models]).reshape(-1, 2).all(1)
    if 2 * whole.sum() < LEAST_MODELS:
        raise DivergedError(
            f"{plan.task}: of {plan.num_models} models {2 * whole.sum()} are left without those that "
            f"diverged and their twins, expected at least {LEAST_MODELS}; lower the learning rate"
        )
    return np.repeat(whole, 2)


def _left_out(diverged: Sequence[Divergence]) -> list[str]:
    """Returns what readers of a bank are told of the models that it lacks."""
    return [f"left out with their twins: {'; '.join(map(str, diverged))}"]


def _models_asked_at_once(plan: BankPlan, models_per_call: int) -> int:
    """Returns how many models' answers are held in memory: whole packs."""
    records = plan.num_candidates + plan.num_population
    each = records * (5 * plan.num_queries + 20)
    return max(1, _MOST_BYTES // each // models_per_call) * models_per_call


def _read(path: Path) -> Bank:
    """Reads a bank, into memory if it is not too large."""
    return bank_lib.load(path, on_disk=path.stat().st_size > _MOST_BYTES)


def _made_by(bank: Bank) -> list[dict[str, Any]]:
    return [{"fingerprint": bank.meta.get("fingerprint"), "format": bank.format}]


def lay_out(plan: BankPlan, data_dir: str | None) -> tuple[Dataset, Halves]:
    """Returns a bank's data, its canaries included, and who is a member of which model.

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
    return cut(plan, records(plan.task, plan.source, data_dir, needed))


def cut(plan: BankPlan, data: Dataset) -> tuple[Dataset, Halves]:
    """Plants a bank's canaries in its data, and draws who is a member of which model.

    Raises:
      InputError: the data has too few records.
    """
    sizes = plan.num_models, plan.num_candidates, plan.num_population
    split = halves(plan.task, plan.seed, data.num_records, *sizes, num_targets=plan.num_targets)
    if plan.canaries is not None:
        data = canaries.planted(data, split.candidates, plan.canaries, plan.seed)
    return data, split


def of_records(plan: BankPlan, data: Dataset, split: Halves) -> dict[str, np.ndarray]:
    """Returns a bank's arrays that are known before anything is trained: labels, population, canaries."""
    asked = np.concatenate([split.candidates, split.population])
    found = {
        "labels": data.labels[asked],
        "population": np.arange(len(asked)) >= plan.num_candidates,
    }
    if plan.canaries is not None:
        numbers = canaries.numbered(plan.canaries, plan.task, plan.seed, plan.num_candidates)
        found["canary"] = np.pad(numbers, (0, plan.num_population))
    if split.target_part is not None:
        found["target_part"] = np.pad(split.target_part, (0, plan.num_population))
    return found


def subjects(plan: BankPlan, split: Halves, numbers: Sequence[int]) -> list[Subject]:
    """Returns some of a bank's models by their numbers."""
    defence = None if plan.defence is None else get_defence(plan.defence)
    if defence is not None:
        # Twins share the candidates: all train on equally many.
        defence = defence.tailored(plan.recipe, plan.num_members)
    keys = [identity_key(plan.seed, plan.task, Role.BANK_MODEL, i) for i in numbers]
    asked = np.concatenate([split.candidates, split.population])
    watch = Watch(asked, plan.loss_trace) if plan.loss_trace else None
    reference = split.population if defence is not None and defence.held_back else None
    return [
        Subject(
            name=f"model {i} of the bank of {plan.task}, seed {plan.seed}",
            task=plan.task,
            recipe=plan.recipe,
            members=split.candidates[split.member[i]],
            others=split.candidates[~split.member[i]],
            key_data=key_data,
            defence=defence,
            seed=plan.seed,
            watch=watch,
            reference=reference,
        )
        for i, key_data in zip(numbers, stack_key_data(keys), strict=True)
    ]


def _membership(plan: BankPlan, split: Halves, total: int) -> np.ndarray:
    """Returns who trained on what, [M, N + P]; after a null draw, who is said to have."""
    member = split.member
    if plan.null == "shuffled":
        sizes = (plan.num_models, plan.num_candidates, plan.num_population)
        member = halves(
            plan.task, plan.seed, total, *sizes, role=Role.NULL, num_targets=plan.num_targets
        ).member
    return np.pad(member, ((0, 0), (0, plan.num_population)))


def _meta(
    plan: BankPlan,
    execution: Execution,
    data: Dataset,
    kept: BankAnswers,
) -> dict[str, Any]:
    return {
        "task": plan.task,
        "source": data.source,
        "num_records": data.num_records,
        **({"boundary_queries": asked(rounds(plan.boundary))} if plan.boundary else {}),
        "plan": plan.as_dict(),
        "seconds": {name: round(value, 3) for name, value in kept.seconds.items()},
        "packing": kept.packing,
        **provenance(plan.fingerprint(), execution),
    }
