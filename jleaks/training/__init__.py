"""From a recipe to fleets of trained models: one step of one model up to many devices.

What defines numbers is a recipe, held to its annotations; what defines only speed an execution.

>>> from jleaks.training.recipe import RECIPES, Recipe
>>> RECIPES["ml_leaks"].recipe == Recipe()
True
>>> Recipe(epochs=0).problems("target")
['target epochs is 0, expected at least 1 and below 2^31']
"""
