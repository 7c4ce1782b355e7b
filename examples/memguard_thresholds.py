"""An attack and an experiment of one's own: does MemGuard stop attack networks, and leave thresholds?

python -m launch.paper --plugin=examples/memguard_thresholds.py --experiment=memguard --tasks=location

MemGuard (Jia et al. 2019) was evaluated by attack networks.  Song & Mittal (2021) compare the modified
entropy of an answer with a threshold of its class, which a shadow model teaches, and find that it keeps
working.  The attackers here: the paper's network (adversary 1), such thresholds, and whether the answer is
right at all, which MemGuard never changes; with a shadow that lacks the defence, or has it.
"""

import jax.numpy as jnp
import numpy as np

from jleaks.attacks.baseline import class_thresholds
from jleaks.attacks.signals import modified_entropy
from jleaks.data.tasks import get_task
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import CASE_ATTACKS, Attack, CaseAttack
from jleaks.experiments.experiment import experiment
from jleaks.experiments.subjects import truth

BUDGETS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)


def by_class_thresholds(job, cases, answered, _):
    """Scores: the modified entropy, less the threshold that the shadow teaches of the record's class."""

    def entropy(subject, answers):
        labels = jnp.asarray(job.querier.datasets(subject.task).labels[subject.rows])
        logits = jnp.log(jnp.maximum(answers.whole(), jnp.finfo(jnp.float32).tiny))
        return modified_entropy(logits, labels), labels

    found = []
    for case in cases:
        target, (shadow,) = answered.target(job, case), answered.shadows(job, case)
        theirs, labels = entropy(case.shadows[0], shadow)
        member, everyone = jnp.asarray(truth(case.shadows[0])), jnp.ones(len(labels), bool)
        num_classes = get_task(case.target.task).num_classes
        cuts = class_thresholds(theirs, labels, member, everyone, num_classes)
        scores, labels = entropy(case.target, target)
        above = np.asarray(scores - cuts[labels])
        found.append([Attack(case, target, (shadow,), above, 0.0)])
    return found


def by_correctness(job, cases, answered, _):
    """Scores: one for a right answer (Yeom et al. 2018)."""
    targets = [answered.target(job, case) for case in cases]
    return [
        [Attack(case, target, (), target.correct.astype(float), 0.5)]
        for case, target in zip(cases, targets, strict=True)
    ]


for attack in (
    CaseAttack(
        "class thresholds", "Class thresholds", by_class_thresholds, shadows="own task",
        labels=True, posteriors="all",
    ),
    CaseAttack("correctness", "Correctness", by_correctness, labels=True),
):  # fmt: skip
    CASE_ATTACKS.register(attack.name, attack)


@experiment(
    "memguard",
    question="Does MemGuard stop attack networks, and leave thresholds?",
    varies=("budget", "attacker"),
)
def memguard(run):
    """Budgets of distortion, from none to the authors' largest."""
    for task, seed in run.draws():
        plain = run.shadow(task, seed)
        for budget in BUDGETS:
            target = run.target(task, seed, defence=("memguard", budget))
            guarded = run.shadow(task, seed, defence=("memguard", budget))
            for attacker, shadow in (("naive", plain), ("aware", guarded)):
                varies = {"budget": budget, "attacker": attacker}
                yield Case("adversary 1", target, [shadow], varies)
                yield Case("class thresholds", target, [shadow], varies)
            yield Case("correctness", target, varies={"budget": budget, "attacker": "naive"})
