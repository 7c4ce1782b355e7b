"""What is compiled for a device that is not there: fleets in training, their queries, the evaluator."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.accelerator.banks import synthetic_bank
from benchmarks.accelerator.roofline import step_counts
from jleaks.attacks import evaluate_bank
from jleaks.attacks.references import assign
from jleaks.attacks.registry import get_attacks
from jleaks.attacks.signals import bank_signal_fn
from jleaks.data.tasks import get_task
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.fields import Form, Precision
from jleaks.training import epoch, packing
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet
from jleaks.training.learner import Data, Learner, Members
from jleaks.training.recipe import ATTACK_RECIPE, RECIPES, Recipe

Shapes = Any
Row = dict[str, Any]

ATTACKS = (
    *("loss", "lira_offline", "rmia_offline", "attack_r"),
    *("lira_online", "rmia_online", "bavaria"),
)


class Compiled(NamedTuple):
    """A program for a device that is not there.

    Attributes:
      call: The program.
      about: What it is of, for its row.
      group: Models that a step of it advances on one device; 0 for a program that is no training.
    """

    call: jax.stages.Compiled
    about: Row
    group: int


class Target(NamedTuple):
    """Devices to compile for.

    Attributes:
      devices: All of one topology.
      memory: Bytes of one.
    """

    devices: Any
    memory: int

    @property
    def mesh(self) -> Mesh:
        """One dimension, as a fleet's."""
        return Mesh(np.array(self.devices), ("model",), axis_types=(AxisType.Auto,))


def _shape(shape: tuple[int, ...], dtype: Any, mesh: Mesh | None = None) -> Shapes:
    place = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


class FleetCase(NamedTuple):
    """A fleet whose training program is compiled, packed as jleaks would unless it says otherwise.

    Attributes:
      task: Whose records the models' are like.
      recipe: Of each model.
      num_models: On each device.
      num_members: Records of each training part.
      group: Models that advance together; None for jleaks' choice.
      form: Of convolutions; None for jleaks' choice.
      is_attack: Whether they are attack models, of three posteriors.
      asks: Whether the program is the query of a bank instead.
    """

    task: str
    recipe: Recipe
    num_models: int
    num_members: int = 10_000
    group: int | None = None
    form: Form | None = None
    is_attack: bool = False
    asks: bool = False

    def compiled(self, target: Target) -> Compiled:
        """Compiles it."""
        mesh, task = target.mesh, get_task(self.task)
        platform = target.devices[0].platform
        execution = Execution(
            models_per_vmap=self.group, convolution=self.form, models_per_call=self._per_call(mesh)
        )
        encoding = "posteriors" if self.is_attack else task.encoding
        classes = 2 if self.is_attack else task.num_classes
        learner = packing.make_learner(self.recipe, encoding, classes, execution, platform)
        record = (3,) if self.is_attack else task.feature_shape
        dtype = np.dtype(np.float32 if self.is_attack else task.feature_dtype)
        total = 2 * self.num_members
        data = Data(_shape((total, *record), dtype, mesh), _shape((total,), np.int32, mesh))
        count = self.num_models * mesh.size
        packed = packing.choose(
            learner, data, self.num_members, count, list(target.devices), execution, target.memory
        )
        group, per_call = packed.models_per_vmap, packed.models_per_call
        fleet = Fleet(learner, mesh, group)
        state = epoch.template(learner, data.features, self.num_members)
        one = Members(_shape((self.num_members,), np.int32), _shape((), np.int32))
        key_data = _shape((2,), np.uint32)
        pack = jax.tree.map(lambda a: _shape((per_call, *a.shape), a.dtype), (state, one, key_data))
        about = {
            "task": "attack models" if self.is_attack else self.task,
            "network": self.network,
            "precision": self.recipe.precision,
            "form": learner.form if self._convolves(learner) else None,
            "num_models": per_call,
            "group": group,
            "batch": self.recipe.batch_size,
            "packing": str(packed),
            "state_bytes": packed.state_bytes,
        }
        if self.asks:
            asked = _shape((per_call, total), np.int32)
            program = fleet.asking(data, pack[0], asked, bank_signal_fn(*_queries()), 500)
            return Compiled(program.call, about | {"what": "query"}, 0)
        program = fleet.prepare(data, *pack)
        stored = int(np.prod(record)) * dtype.itemsize
        try:
            counts = step_counts(self.recipe, record, stored, classes)._asdict()
        # Of residual networks nothing is counted.
        except InputError:
            counts = None
        return Compiled(program.call, about | {"what": "step", "least": counts}, group)

    @property
    def network(self) -> str:
        """Its name and widths."""
        sizes = self.recipe.hidden if self.recipe.model == "mlp" else ()
        return "-".join(map(str, (self.recipe.model, *sizes)))

    def _per_call(self, mesh: Mesh) -> int | None:
        return None if self.group is None else self.num_models * mesh.size

    @staticmethod
    def _convolves(learner: Learner) -> bool:
        return learner.network.images


def _queries() -> tuple[Any, ...]:
    plan = BankPlan("purchase100", 256, 50_000, 10_000, num_queries=1)
    return plan.temperature, plan.perturbation()


class BankCase(NamedTuple):
    """A bank's evaluator, compiled.

    Attributes:
      num_models: M, in pairs of twins.
      num_records: N.
    """

    num_models: int
    num_records: int

    def compiled(self, target: Target) -> Compiled:
        """Compiles it."""
        bank = synthetic_bank(self.num_models, self.num_records)
        references, shadows = assign(bank)
        attacks = get_attacks(list(ATTACKS))
        program = evaluate_bank.lowered(bank, attacks, references, shadows, target.mesh)
        about = {
            "what": "evaluator",
            "task": "bank",
            "network": f"{len(attacks)} attacks",
            "num_models": self.num_models,
            "num_records": self.num_records,
        }
        return Compiled(program.compile(), about, 0)


Case = FleetCase | BankCase


def _images(model: str, count: int, group: int | None, form: Form | None = None) -> FleetCase:
    recipe = Recipe("cnn") if model == "cnn" else RECIPES[model].recipe
    recipe = dataclasses.replace(recipe, precision="tensorfloat32")
    return FleetCase("cifar10", recipe, count, 10_000, group, form)


def _mlp(precision: Precision, count: int = 256, group: int | None = None) -> FleetCase:
    return FleetCase("purchase100", Recipe(precision=precision), count, group=group)


def _wide(**changes: Any) -> FleetCase:
    recipe = dataclasses.replace(RECIPES["wide"].recipe, precision="tensorfloat32")
    return FleetCase("purchase100", recipe, 256, 25_000)._replace(**changes)


_ATTACK = FleetCase("purchase100", ATTACK_RECIPE, 256, is_attack=True)
_BANK = functools.partial(BankCase, 256, 50_000)

# By platform, then by the name that --cases takes.
CASES: dict[str, dict[str, Callable[[], Case]]] = {
    "cuda": {
        "mlp": lambda: _mlp("float32"),
        "mlp_tf32": lambda: _mlp("tensorfloat32"),
        "mlp_bf16": lambda: _mlp("bfloat16"),
        "wide": _wide,
        "attack": lambda: _ATTACK,
        "cnn": lambda: _images("cnn", 32, None),
        "cnn_grouped": lambda: _images("cnn", 32, 32, "native"),
        "cnn_native": lambda: _images("cnn", 32, 1, "native"),
        "cnn_im2col": lambda: _images("cnn", 32, 32, "im2col"),
        "cnn_products": lambda: _images("cnn", 32, 32, "products"),
        "cnn_rows": lambda: _images("cnn", 32, 32, "rows"),
        "wrn28_2": lambda: _images("wrn28_2", 4, None),
        "wrn28_2_grouped": lambda: _images("wrn28_2", 4, 4),
        "resnet18": lambda: _images("resnet18", 4, None),
        "resnet18_grouped": lambda: _images("resnet18", 4, 4),
        "query": lambda: _wide(asks=True),
        "evaluator": _BANK,
    },
    "tpu": {
        "mlp": lambda: _mlp("float32", 256),
        "mlp_256": lambda: _mlp("float32", 256, 256),
        "mlp_bf16": lambda: _mlp("bfloat16", 256),
        "mlp_tf32": lambda: _mlp("tensorfloat32", 256),
        "wide": _wide,
        "attack": lambda: _ATTACK,
        "cnn": lambda: _images("cnn", 16, None),
        "cnn_grouped": lambda: _images("cnn", 16, 16),
        "wrn28_2": lambda: _images("wrn28_2", 2, None),
        "resnet18": lambda: _images("resnet18", 2, None),
        "query": lambda: _wide(asks=True),
        "evaluator": _BANK,
    },
}
