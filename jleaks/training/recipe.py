"""How one model is trained: recipes of the paper, of later literature, and of attack models."""

import dataclasses
from typing import Literal, NamedTuple

from jleaks.data.tasks import Task
from jleaks.fields import (
    Activation,
    Augmentation,
    Count,
    Level,
    Penalty,
    Positive,
    Precision,
    Ratio,
    problems,
)
from jleaks.models.registry import NETWORKS, NetworkName, for_any_records


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one model is trained (defaults: Salem et al. 2019, section IV-A and released code).

    Attributes:
      model: Network that is trained (see `jleaks.models.networks`): "mlp" or "logistic"; of images also
        "cnn" (the paper's), "resnet18" or "wrn28_2"; or one of your own that was registered (see
        `jleaks.models.own_network`).
      hidden: Widths of the MLP's hidden layers; other networks ignore them.
      epochs: Number of passes over the training part.
      batch_size: Number of records in a step; an epoch drops the incomplete last batch, as the released
        code does.
      learning_rate: Learning rate of the optimiser at the first step.
      l2: Penalty on the sum of squared weights (biases and batch normalisation excluded), part of the
        loss.  A weight decay of d, added to the gradient as PyTorch's SGD does, is l2 = d / 2.
      precision: Format of the operands of matrix products and convolutions, in training and queries; their
        sums, and everything else, are float32.  "float32"; "tensorfloat32" or "bfloat16", to which
        operands are rounded wherever it runs (see `jleaks.models.convolution`); or "default", the
        backend's own: float32 on CPUs, TF32 on recent GPUs.
      optimizer: Rule that makes updates of gradients: "adam", or "sgd" with `momentum`.
      momentum: Momentum of SGD; Adam ignores it.
      schedule: Course of the learning rate: "constant", or "cosine", which falls to zero over the model's
        own steps.
      loss: Loss that is minimised: "cross entropy" of the classes; or "quantile", the pinball loss of one
        output at level `quantile` on each model's own answers (Koenker & Bassett 1978); or
        "imitation", of a model that learns another's log posteriors, its soft labels, beside the classes.
      quantile: Level of the quantile loss.
      augmentation: Moves that are drawn at random for each image of a training batch (see
        `jleaks.data.augmentation`).
      activation: Activation of the MLP's hidden layers and of the CNN's fully connected one: "tanh" (the
        paper's) or "relu"; other networks ignore it.
    """

    model: NetworkName = "mlp"
    hidden: tuple[Count, ...] = (128,)
    epochs: Count = 50
    batch_size: Count = 100
    learning_rate: Positive = 1e-3
    l2: Penalty = 1e-7
    precision: Precision = "float32"
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Ratio = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    loss: Literal["cross entropy", "quantile", "imitation"] = "cross entropy"
    quantile: Level = 0.99
    augmentation: Augmentation = "none"
    activation: Activation = "tanh"

    def problems(self, what: str) -> list[str]:
        """Returns one sentence per value that cannot be trained with."""
        return problems(self, what)

    def misfits(self, task: Task) -> list[str]:
        """Returns one sentence per value that a task's records cannot be trained with."""
        found = []
        network = NETWORKS.find(self.model)
        if self.loss != "cross entropy":
            found.append(
                f"loss is {self.loss}, but {task.name} has classes: expected cross entropy"
            )
        if "precision" not in network.obeys and self.precision not in ("float32", "default"):
            found.append(
                f"precision is {self.precision}, but the products of {self.model} are its own: expected "
                "float32 or default"
            )
        if not task.has_images:
            if network.images:
                found.append(
                    f"model is {self.model}, but {task.name} has no images: expected "
                    f"{for_any_records()}"
                )
            if self.augmentation != "none":
                found.append(
                    f"augmentation is {self.augmentation}, but {task.name} has no images: expected none"
                )
        elif not task.mirrored and self.augmentation == "flips and crops":
            found.append(
                f"augmentation is {self.augmentation}, but mirrored images of {task.name} are none of "
                f"its kind: expected crops or none for {task.name}"
            )
        return found


# Of attack models.  As the paper describes them (64 hidden units; released code: Adam 1e-2, batch 10, 50
# epochs, L2 1e-6), but ReLU in place of tanh and a rate that falls to zero: at a constant rate what an
# attack model says at its 0.5 cut depends on where the last step lies (docs/attack_recipes.md; others by
# name: `recipes.ATTACK_RECIPES`).
ATTACK_RECIPE = Recipe("mlp", (64,), 50, 10, 1e-2, 1e-6, schedule="cosine", activation="relu")


class Preset(NamedTuple):
    """A recipe of targets, shadows and references, or of attack models.

    Attributes:
      recipe: How each model is trained.
      model: Its network, or None for each task's own in the paper.
      about: What it is, for people.
    """

    recipe: Recipe
    model: str | None
    about: str


def _image(model: str, about: str) -> Preset:
    """SGD as residual networks are trained in the membership-inference literature."""
    recipe = Recipe(
        model,
        epochs=100,
        batch_size=256,
        learning_rate=0.1,
        # Weight decay 5e-4.
        l2=2.5e-4,
        optimizer="sgd",
        momentum=0.9,
        schedule="cosine",
        augmentation="flips and crops",
    )
    return Preset(recipe, model, about)


RECIPES: dict[str, Preset] = {
    "ml_leaks": Preset(Recipe(), None, "Salem et al. 2019: each task's MLP or CNN, Adam"),
    "wide": Preset(
        Recipe(
            "mlp",
            hidden=(1024, 512),
            epochs=100,
            batch_size=128,
            learning_rate=0.01,
            # Weight decay 5e-4.
            l2=2.5e-4,
            optimizer="sgd",
            momentum=0.9,
            schedule="cosine",
        ),
        "mlp",
        "the literature's MLP 1024-512, SGD, 100 epochs",
    ),
    "wrn28_2": _image("wrn28_2", "WideResNet-28-2, SGD, flips and crops, 100 epochs"),
    "resnet18": _image("resnet18", "ResNet-18 for CIFAR, trained likewise"),
}

# Of the attack models of adversaries 1 and 2; `benchmarks/checks/attack_recipes.py` compares them.
ATTACK_RECIPES: dict[str, Preset] = {
    "stable": Preset(
        ATTACK_RECIPE,
        ATTACK_RECIPE.model,
        "64 ReLU, Adam, learning rate falling to zero: what it says at 0.5 hardly depends on its key",
    ),
    "ml_leaks": Preset(
        Recipe("mlp", (64,), 50, 10, 1e-2, 1e-6),
        "mlp",
        "Salem et al. 2019 as described: 64 hidden units, here tanh, Adam at a constant rate",
    ),
    "released": Preset(
        # Hidden units are those of the MLPs that an experiment compares with.
        Recipe("logistic", (64,), 50, 10, 1e-2, 1e-6),
        "logistic",
        "the authors' released code: a single softmax layer, logistic regression, otherwise likewise",
    ),
}
