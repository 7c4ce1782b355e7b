"""Does a network of one's own train as fast as jleaks' own?  The same layers, in flax alone.

python -m benchmarks.scaling.own_networks --out=results/speed/own_networks.jsonl

The paper's MLP and CNN, and the same layers as a user writes them in flax.linen, who knows nothing of
jleaks, learn random records of one shape under XLA.  Both take turns (A B A B), their programs compiled
before; the seconds are those of training, by which every launcher counts.
"""

from typing import Any, NamedTuple

import flax.linen as nn

from benchmarks import harness
from benchmarks.fleets import fleet_spec, random_parts, random_records
from benchmarks.harness import OUT, Command, Flag, Layout, Row
from jleaks.data.tasks import get_task
from jleaks.models.own_network import register_network
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.progress import Progress
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import Trainer
from launch.app import use_all_cores

COMMAND = Command(
    "benchmarks.scaling.own_networks",
    __doc__,
    ("mlp_models", "cnn_models", "repetitions"),
    mlp_models=Flag("MLPs of either kind.", 32, 1),
    cnn_models=Flag("CNNs of either kind.", 4, 1),
    epochs=Flag("Epochs of a turn; CNNs train for a tenth of them.", 30, 10),
    repetitions=Flag("Turns of either network.", 5, 1),
    out=OUT,
)

_RECORDS = 1000
_XLA = Execution(kernels="xla")


class OwnMLP(nn.Module):
    """The paper's MLP, as anybody writes it."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Returns logits."""
        x = nn.tanh(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(x)


class OwnCNN(nn.Module):
    """The paper's CNN, as anybody writes it."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Returns logits."""
        for padding in ("SAME", "VALID"):
            x = nn.relu(nn.Conv(32, (5, 5), padding=padding)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.tanh(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(x)


class Case(NamedTuple):
    """One kind of network: jleaks' name of it, the user's, the task whose shape the records have."""

    built_in: str
    own: str
    task: str
    num_models: int
    epochs: int


class _Fleet(NamedTuple):
    """Compiled models, and what training them tells."""

    trainer: Trainer
    progress: list[Progress]

    def seconds(self) -> float:
        """Trains them; returns what a model's epoch took."""
        self.trainer.run()
        last = self.progress[-1]
        return last.seconds / last.total


def _fleet(case: Case, network: str) -> _Fleet:
    task, progress = get_task(case.task), list[Progress]()
    spec = fleet_spec(
        task,
        Recipe(network, epochs=case.epochs),
        random_records(task, 2 * _RECORDS),
        random_parts(case.num_models, _RECORDS, 2 * _RECORDS),
        _XLA,
    )
    fleet = _Fleet(Trainer(spec, _XLA, progress.append, StopSignal()), progress)
    fleet.seconds()
    return fleet


def _row(case: Case, before: Row) -> Row:
    fleets = {name: _fleet(case, name) for name in (case.built_in, case.own)}
    found = harness.take_turns(
        COMMAND.repetitions, list(fleets), lambda name, _: fleets[name].seconds()
    )
    ratios = [b / a for a, b in zip(found[case.built_in], found[case.own], strict=True)]
    return {
        "benchmark": "own_networks",
        "network": case.built_in,
        "task": case.task,
        "num_models": case.num_models,
        "epochs": case.epochs,
        "built_in_ms": harness.spread([1000 * s for s in found[case.built_in]]),
        "own_ms": harness.spread([1000 * s for s in found[case.own]]),
        "ratio": harness.spread(ratios),
        "turns": COMMAND.repetitions,
        **COMMAND.about(before, _XLA),
    }


LAYOUT = Layout(
    "Milliseconds of a model's epoch: jleaks' networks, and the same layers in flax alone",
    "Medians over {turns} turns (least-largest) under XLA on {cores} cores of {cpu}, commit {commit}.  "
    "Ratio: own over built-in, turn by turn.",
    [
        ("Network", "{network}"),
        ("Models", "{num_models}"),
        ("Built-in", harness.ranged("built_in_ms", ".2f")),
        ("Own", harness.ranged("own_ms", ".2f")),
        ("Ratio", harness.ranged("ratio", ".3f")),
    ],
)


def main() -> int:
    before = harness.machine()
    use_all_cores()
    register_network("OwnMLP", OwnMLP)
    register_network("OwnCNN", OwnCNN, images=True)
    cases = (
        Case("mlp", "OwnMLP", "purchase100", COMMAND.mlp_models, COMMAND.epochs),
        Case("cnn", "OwnCNN", "cifar10", COMMAND.cnn_models, COMMAND.epochs // 10),
    )
    rows = [_row(case, before) for case in cases]
    return COMMAND.finish(rows, LAYOUT.table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
