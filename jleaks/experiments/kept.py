"""One trained model of a run or a bank, from its work directory and its library."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from jleaks.data.dataset import Dataset
from jleaks.data.origin import num_records, records
from jleaks.data.tasks import get_task
from jleaks.defences.defence import get_defence
from jleaks.errors import InputError
from jleaks.experiments.answering import of_one
from jleaks.experiments.bank import lay_out, subjects
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.library import Library
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.plan import Plan
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject, SubjectLayout
from jleaks.fingerprint import FORMAT
from jleaks.keys import seed_problem
from jleaks.training import epoch, packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Answering
from jleaks.training.learner import Learner, State
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

ModelRole = Literal["target", "shadow", "model"]


@dataclasses.dataclass(frozen=True, eq=False)
class Kept:
    """A trained model and its part of the data.

    Attributes:
      learner: Encodes records and answers logits.
      state: Of this one model, on the host.
      data: The task's dataset.
      members: [q] positions in `data` of the records it was trained on.
      nonmembers: [q] positions of as many that it was not.
      fingerprint: Of everything that defines the model's answers.
      answering: What happens to its answers where it is defended; None for nothing.
    """

    learner: Learner
    state: State
    data: Dataset
    members: np.ndarray
    nonmembers: np.ndarray
    fingerprint: str
    answering: Answering | None = None


def kept_model(
    workdir: str,
    task_name: str,
    seed: int,
    role: ModelRole,
    data_dir: str | None = None,
    models_dir: str | None = None,
    index: int = 0,
    defence: str | None = None,
) -> Kept:
    """Reads one model of launch.sweep, launch.paper or launch.bank.

    Args:
      workdir: Directory of the run.
      task_name: One of its tasks.
      seed: One of the task's seeds.
      role: "target" or "shadow" of that seed; "model" of a bank.
      data_dir: Where prepared datasets are; needed unless the plan is synthetic.
      models_dir: Where the run keeps its models; None for `workdir` itself.
      index: Which of the seed's shadows, of which 0 is the main job's; or which of a bank's models.
      defence: Of the answers of a model that has none, "NAME:STRENGTH"; None for none.

    Raises:
      InputError: there is no such model, it is not trained to its end, or the data is another one.
    """
    if problem := seed_problem(seed):
        raise InputError(problem)
    if role not in get_args(ModelRole):
        raise InputError(f"role is {role}, expected one of {', '.join(get_args(ModelRole))}")
    plan = _read_plan(workdir)
    task = get_task(task_name)
    folder = Path(models_dir or workdir)
    if isinstance(plan, BankPlan):
        _check(workdir, [plan.task], task.name, seed, [plan.seed], role, ["model"])
        _check_index(index, plan.num_models)
        data, split = lay_out(plan, data_dir)
        subject: AnySubject = subjects(plan, split, range(index, index + 1))[0]
    else:
        seeds = range(plan.num_seeds(task.name)) if task.name in plan.tasks else ()
        _check(workdir, plan.tasks, task.name, seed, seeds, role, ["target", "shadow"])
        _check_index(index, 1 if role == "target" else None)
        size = plan.size(task, num_records(task.name, plan.source, data_dir))
        data = records(task.name, plan.source, data_dir, size)
        layout = SubjectLayout(plan, {task.name: size})
        subject = (
            layout.target(task.name, seed, defence=plan.defence)
            if role == "target"
            else layout.shadow(task.name, seed, index, defence=plan.shadow_defence)
        )
    if not isinstance(subject, Subject) or not isinstance(subject.recipe, Recipe):
        raise InputError(f"the {subject.name} is no single network; only networks are read")
    if defence is not None:
        subject = _answering_by(subject, defence)
    if not (folder / "models").is_dir():
        raise InputError(
            f"{folder} has no trained models: say where they are with --models_dir, or run the command of "
            f"{workdir} (an earlier version kept them elsewhere: delete its results first)"
        )
    execution = Execution()
    learner = packing.make_learner(subject.recipe, task.encoding, task.num_classes, execution)
    library = Library(folder, execution, Reporter(), StopSignal())
    querier = Querier(library, lambda _: data, execution)
    name = querier.name(subject)
    if library.find(name) is None:
        raise InputError(
            f"the {subject.name} is not among the trained models of {folder}; finish {workdir} first"
        )
    if diverged := library.diverged([name]):
        raise InputError(f"{diverged[0]}; a model that diverged answers nothing: choose another")
    state = library.load([name], epoch.template(learner, data.features))
    one = jax.tree.map(lambda leaf: leaf[0], state)
    return Kept(
        learner,
        one,
        data,
        subject.members,
        subject.others,
        fingerprint=querier.identity(subject),
        answering=of_one(subject, learner, one, data, querier.learned),
    )


def _answering_by(subject: Subject, given: str) -> Subject:
    """Returns an undefended model with a defence of its answers.

    Raises:
      InputError: it has a defence, or this one is of training.
    """
    if subject.defence is not None:
        raise InputError(
            f"the {subject.name} has a defence, {subject.defence}; expected a model without one for {given}"
        )
    found = get_defence(given)
    if not found.of_answers_alone:
        raise InputError(
            f"{given} changes training or trains other models first, expected a defence of answers alone; "
            f"a run with --defence={given} trains a model that can be served"
        )
    return dataclasses.replace(subject, defence=found)


def _check(
    workdir: str,
    tasks: Sequence[str],
    task: str,
    seed: int,
    seeds: Sequence[int],
    role: str,
    roles: Sequence[str],
) -> None:
    """Checks that a run has a model.

    Raises:
      InputError: it has no such task, seed or role.
    """
    if task not in tasks:
        raise InputError(f"{workdir} has no {task}; it has {', '.join(tasks)}")
    if seed not in seeds:
        named = f"{seeds[0]}..{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        raise InputError(f"seed is {seed}; {task} in {workdir} has {named}")
    if role not in roles:
        raise InputError(f"role is {role}; {workdir} has {' and '.join(roles)}")


def _check_index(index: int, count: int | None) -> None:
    """Checks that there is a model of this index among `count`, None for any number."""
    if index < 0 or (count is not None and index >= count):
        most = "from 0" if count is None else f"0..{count - 1}"
        raise InputError(f"index is {index}, expected {most}")


def _read_plan(workdir: str) -> Plan | PaperPlan | BankPlan:
    path = Path(workdir) / "plan.json"
    if not path.exists():
        raise InputError(f"{workdir} is not the work directory of a run: it has no plan.json")
    try:
        record = json.loads(path.read_bytes())
        fields: dict[str, Any] = record["plan"]
        if (found := fields.pop("format")) != FORMAT:
            raise InputError(f"{path} has format {found}, expected {FORMAT}")
        for name, value in fields.items():
            if isinstance(value, dict):
                fields[name] = Recipe(**{**value, "hidden": tuple(value["hidden"])})
            elif isinstance(value, list):
                fields[name] = tuple(value)
        # Each has a field that the others lack.
        of_bank, of_paper = "num_models" in fields, "share" in fields
        kind = BankPlan if of_bank else PaperPlan if of_paper else Plan
        plan: Plan | PaperPlan | BankPlan = kind(**fields)
        if plan.validate().fingerprint() != record["fingerprint"]:
            raise InputError(
                f"{path} has the fingerprint {record['fingerprint']!r:.40}, its plan {plan.fingerprint()}: "
                "it, or a file of your own that it names, was changed after the run; "
                "choose another --workdir, or run its command again"
            )
        return plan
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not the plan of launch.sweep, launch.paper or launch.bank: {error}"
        ) from error
