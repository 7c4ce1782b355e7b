"""Recipes by name: the paper's, and those of the later literature; and those of attack models."""

from typing import NamedTuple

from jleaks.plan import ATTACK_RECIPE, Model, Recipe


class Preset(NamedTuple):
    """A recipe of targets, shadows and references, or of attack models.

    Attributes:
      recipe: How each model is trained.
      model: Its network, or None for each task's own in the paper.
      about: What it is, for people.
    """

    recipe: Recipe
    model: Model | None
    about: str


def _image(model: Model, about: str) -> Preset:
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

# Of the attack models of adversaries 1 and 2; `benchmarks/attack_recipes.py` compares them.
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
