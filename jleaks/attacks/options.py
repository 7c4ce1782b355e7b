"""What attacks on a bank are called, and their parameters: what can be told without JAX."""

import dataclasses

from jleaks.errors import refuse
from jleaks.fields import Fraction, Positive, problems

# jleaks' own, in the order in which `jleaks.attacks.registry` has them, rows and tables show them.
NAMES = (
    "correctness", "maximum", "entropy", "confidence", "loss", "modified_entropy",
    "class_thresholds", "attack_p", "label_only", "label_boundary", "hop_skip_jump", "quantile",
    "lt_iqr", "attack_r", "attack_r_logit", "attack_r_share", "calibrated", "rapid", "lira_offline",
    "lira_offline_record", "lira_offline_global", "lira_offline_two_sided", "lira_offline_queries",
    "rmia_offline", "informia_offline", "base_offline", "base_offline_tempered", "bavaria_offline",
    "pmia_all", "pmia_class", "lira_online", "lira_online_record", "lira_online_global",
    "lira_online_queries", "rmia_online", "informia_online", "base_online", "base_online_tempered",
    "bavaria", "bavaria_gaussian",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Parameters of attacks.

    Attributes:
      gamma: RMIA's gamma, the ratio of likelihoods from which on one record dominates another.
      offline_a: RMIA offline's a, from 0 to 1; None to choose it for each target by attacking a shadow, as
        the authors' code does.
      published_a: RMIA offline's a where there is no shadow to choose it by (Zarifzadeh et al. 2024: 0.3
        on CIFAR-10, 0.6 on CIFAR-100, 0.2 on Purchase).
      base_scale: Factor of the OUT references' mean in BASE offline at the bank's temperature (0.33 in
        LeakPro, which comes from the authors' group).
    """

    gamma: Positive = 2.0
    offline_a: Fraction | None = None
    published_a: Fraction = 0.3
    base_scale: Fraction = 0.33

    def validate(self) -> "Options":
        """Checks the values.

        Raises:
          InputError: names every value that cannot be used.
        """
        refuse(problems(self))
        return self


# RMIA offline's a, as published: what stands for it where no shadow can choose it.
OFFLINE_A = {
    "cifar10": 0.3,
    "cifar100": 0.6,
    "purchase2": 0.2,
    "purchase10": 0.2,
    "purchase20": 0.2,
    "purchase50": 0.2,
    "purchase100": 0.2,
}


def published(task: str) -> Options:
    """Returns the options of a task's attacks as published."""
    return Options(published_a=OFFLINE_A.get(task, Options().published_a))
