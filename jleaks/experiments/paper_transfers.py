"""E10 to E15: shadows of other tasks, and none at all (Salem et al. 2019, sections V and VI)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jleaks.data.tasks import get_task
from jleaks.experiments.case import Case
from jleaks.experiments.experiment import Claim, experiment
from jleaks.experiments.paper_shadows import ACCESS, one_shadow

if TYPE_CHECKING:
    from jleaks.experiments.context import Context


def transfers(
    run: "Context", targets: Sequence[str], shadows: Sequence[str], **fields: Any
) -> Iterator[Case]:
    """Every shadow task against every target task, for the seeds that both have.

    Where the two are one task this is adversary 1.
    """
    for target, seed in run.draws(targets):
        for shadow in shadows:
            if shadow not in run.plan.tasks or seed >= run.plan.num_seeds(shadow):
                continue
            attack = "adversary 1" if shadow == target else "adversary 2"
            yield Case(attack, run.target(target, seed), (run.shadow(shadow, seed),), **fields)


def unaided(run: "Context", **fields: Any) -> Iterator[Case]:
    """Adversary 3 on the undefended targets of all draws."""
    for task, seed in run.draws():
        yield Case("adversary 3", run.target(task, seed), **fields)


@experiment(
    "E10",
    alias="transfer",
    title="Data transferring",
    question="Does an attack model learned on a shadow of one task work on the targets of another?",
    claims=(
        Claim("precision/recall, News to CIFAR-100", "0.94/0.93", "S"),
        Claim("precision, Face to CIFAR-10", "0.75", "S"),
    ),
)
def transfer(run: "Context") -> Iterator[Case]:
    """Adversary 2 with every shadow task on every target task."""
    return transfers(run, run.plan.tasks, run.plan.tasks)


def preferred(run: "Context", names: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
    """Returns the named tasks, in place of those that the plan lacks others of many classes."""
    others = [task for task in run.plan.tasks if task not in besides]
    named = [task for task in names if task in others]
    spare = [task for task in others if task not in named]
    spare.sort(key=lambda task: -get_task(task).num_classes)
    return (named + spare)[: len(names)]


def _embedded(run: "Context") -> list[str]:
    return preferred(run, ("cifar100", "news"))


def _points(run: "Context", folder: Path) -> None:
    """Leaves points.npz: the top posteriors of two tasks in one plane."""
    import numpy as np

    from jleaks import npz
    from jleaks.keys import Role, identity_generator
    from jleaks.metrics.embedding import PERPLEXITY, embed, sample

    groups, labels = {}, {}
    for task in _embedded(run):
        target = run.target(task, 0)
        (answers,) = run.querier.query([target], top=run.plan.top)
        largest, count = answers.largest(run.plan.top), len(target.members)
        for side, rows in (("member", largest[:count]), ("non-member", largest[count:])):
            groups[f"{task} {side}"] = rows
            labels[f"{task} {side}"] = task, side == "member"
    generator = identity_generator(0, "embedding", Role.SPLIT)
    smallest = min(len(rows) for rows in groups.values())
    points, names = sample(generator, groups, min(run.plan.num_embedded, smallest))
    npz.save(
        folder / "points.npz",
        {
            # Few points have few neighbours.
            "embedding": embed(points, 0, min(PERPLEXITY, (len(points) - 1) / 4)),
            "task": np.array([labels[n][0] for n in names]),
            "member": np.array([labels[n][1] for n in names]),
        },
    )


@experiment(
    "E11",
    alias="tsne",
    title="Why attacks transfer",
    question="Do the members of two tasks look alike in their three largest posteriors?",
    claims=(Claim("", "one boundary parts members and non-members of both sets", "m"),),
    files=_points,
)
def tsne(run: "Context") -> Iterator[Case]:
    """The transfers between the two tasks that the plane shows."""
    return transfers(run, _embedded(run), _embedded(run))


@experiment(
    "E12",
    alias="transfer_api",
    title="Data transferring behind a prediction API",
    question="Does data transferring work when the target can only be asked over the network?",
    varies=("access",),
)
def transfer_api(run: "Context") -> Iterator[Case]:
    """Adversary 2 on targets behind an endpoint; the shadow is the attacker's own."""
    targets = preferred(run, ("location", "purchase100"))
    shadows = preferred(run, ("face", "news"), besides=targets) or targets
    for access in ACCESS:
        yield from transfers(run, targets, shadows, access=access, varies={"access": access})


@experiment(
    "E13",
    alias="statistics",
    title="Adversary 3: which statistic",
    question="Which statistic of the posteriors tells members best without any training?",
    claims=(Claim("", "the maximum is best or equal to the best", "m"),),
    varies=("statistic",),
)
def statistics(run: "Context") -> Iterator[Case]:
    """Adversary 3 with each statistic."""
    return unaided(run)


def _densities(run: "Context", folder: Path) -> None:
    """Leaves densities.npz: how random points, members and others are distributed."""
    from jleaks import npz
    from jleaks.experiments.cases import random_statistics

    first = [run.target(task, seed) for task, seed in run.draws() if seed == 0]
    answers = run.querier.query(first, top=1)
    arrays = {}
    for target, found, random in zip(first, answers, random_statistics(run, first), strict=True):
        count = len(target.members)
        arrays[f"{target.task}/random"] = random[:, 0]
        arrays[f"{target.task}/member"] = found.statistics[:count, 0]
        arrays[f"{target.task}/nonmember"] = found.statistics[count:, 0]
    npz.save(folder / "densities.npz", arrays)


@experiment(
    "E14",
    alias="threshold",
    title="Adversary 3: the threshold",
    question="Which share of random points, asked without labels, gives a good threshold?",
    claims=(Claim("", "the top 10% of random points (t = 10) work everywhere", "m"),),
    varies=("percentile",),
    table="series",
    files=_densities,
)
def threshold(run: "Context") -> Iterator[Case]:
    """Adversary 3's percentile."""
    for task, seed in run.draws():
        for t in run.plan.percentiles:
            yield Case(
                "adversary 3",
                run.target(task, seed),
                varies={"percentile": t},
                percentile=t,
                statistics=("maximum",),
            )


@experiment(
    "E15",
    alias="adversaries",
    title="The three adversaries side by side",
    question="What does each assumption that an adversary gives up cost?",
    claims=(Claim("", "adversary 3 loses some precision", "S"),),
)
def adversaries(run: "Context") -> Iterator[Case]:
    """Adversary 1, adversary 2 with one shadow task, adversary 3 with the maximum.

    Adversary 2's shadow is fixed beforehand: News, from which the paper's headline transfer comes, and
    CIFAR-100 for News itself (the first other task where those were not chosen).
    """
    yield from one_shadow(run)
    for task in run.plan.tasks:
        others = [t for t in ("news", "cifar100", *run.plan.tasks) if t != task]
        chosen = [t for t in others if t in run.plan.tasks]
        yield from transfers(run, (task,), chosen[:1])
    yield from unaided(run, statistics=("maximum",))
