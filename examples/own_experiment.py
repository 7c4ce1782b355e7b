"""An experiment of one's own: rows, a table, a figure and intervals follow from its cases.

python -m launch.paper --plugin=examples/own_experiment.py --experiment=width --tasks=location --scale=smoke
"""

from jleaks.experiments.case import Case
from jleaks.experiments.experiment import experiment


@experiment("width", question="Does a wider target leak more to a shadow of the paper's width?")
def width(run):
    """The target's hidden layer against a shadow of 128 units."""
    for task, seed in run.draws():
        for hidden in (32, 128, 512):
            target = run.target(task, seed, hidden=(hidden,))
            yield Case("adversary 1", target, [run.shadow(task, seed)], {"hidden": hidden})
