"""Where does the time of a training step go, with XLA's kernels and with jleaks' own?

python -m benchmarks.scaling.step_profile --out=results/speed/profile.jsonl

Each part of a step is timed alone, many times in a loop on every device at once, then the whole step of a
real fleet.  The rest is what no part has: dispatch, and memory that other parts pushed out of the caches.
Gradients are the time of a layer with its gradients less that of the layer; where they are one kernel with
Adam, that kernel's.  XLA and jleaks take turns.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import harness
from benchmarks.fleets import fleet_spec, random_parts, random_records
from benchmarks.harness import OUT, Command, Flag, Layout, Row
from benchmarks.training.workload import NETWORKS
from jleaks.models import networks
from jleaks.models.kernels import Descend
from jleaks.report.table import Table
from jleaks.training import epoch as epoch_lib
from jleaks.training import optimizer
from jleaks.training.execution import Execution
from jleaks.training.fleet import Fleet, make_mesh
from jleaks.training.fleet import spread as spread_models
from jleaks.training.learner import Data, Learner, Members, State
from jleaks.training.placement import put_models
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec
from launch.app import start

# Records that a model trains on; CNNs' whole steps are timed on few, their epochs are long.
_MEMBERS, _FEW = 10_000, 500

COMMAND = Command(
    "benchmarks.scaling.step_profile",
    __doc__,
    ("repetitions", "seconds"),
    networks=Flag("Fleets.", list(NETWORKS)),
    repetitions=Flag("Turns of XLA and jleaks.", 5, 1),
    seconds=Flag("Length of one measurement.", 0.2, 0.01),
    out=OUT,
)

WHOLE, REST = "whole step", "rest"
# Ends the name of a layer's gradients that are one kernel with the optimiser.
FUSED = ", gradients and Adam"
TITLES = {"xla": "XLA", "host": "host kernels"}

Part = Callable[..., Any]


def make_fleet(network: str, num_models: int, size: int, execution: Execution) -> FleetSpec:
    """Returns models of a network, each on so many random records of twice `_MEMBERS`."""
    task, total = NETWORKS[network].describe(), 2 * _MEMBERS
    parts = random_parts(num_models, size, total)
    recipe = Recipe(task.model, (128,), 50)
    return fleet_spec(task, recipe, random_records(task, total), parts, execution)


def make_parts(learner: Learner, data: Data, state: State) -> dict[str, tuple[Part, Any]]:
    """Returns what a step consists of: by name a function of turn and inputs, and inputs.

    A name that ends with "+" is a layer with its gradients.
    """
    batch = learner.recipe.batch_size
    rows, labels = jnp.arange(batch, dtype=jnp.int32), jnp.asarray(data.labels[:batch])
    how = learner.module.how

    def order(i: Any, key: Any) -> Any:
        whole = Members(jnp.arange(_MEMBERS), jnp.int32(_MEMBERS))
        return epoch_lib.shuffled(learner, whole, jax.random.wrap_key_data(key), i)

    def gather(i: Any, order: Any, records: Any) -> Any:
        drawn = lax.dynamic_slice(order, (i % (_MEMBERS // batch) * batch,), (batch,))
        return _encoded(learner, state, records, drawn)

    positions = jnp.asarray(np.random.default_rng(1).permutation(2 * _MEMBERS)[:_MEMBERS])
    parts: dict[str, tuple[Part, Any]] = {
        "order": (order, (jax.random.key_data(jax.random.key(0)),)),
        "gather and encode": (gather, (positions.astype(jnp.int32), jnp.asarray(data.features))),
    }
    inputs = _encoded(learner, state, jnp.asarray(data.features), rows)
    params, first, x = state.params, True, inputs
    if learner.recipe.model == "cnn":
        for i, padding in enumerate(("SAME", "VALID")):
            module = networks.Conv(32, padding, how)
            x = _add_layer(parts, f"convolution {i + 1}", module, params[f"Conv_{i}"], x, first)
            first = False
        params, x = params["MLP_0"], x.reshape(batch, -1)
    adam = optimizer.HostAdam(learner.recipe, state.opt_state, jnp.float32(1), jnp.bool_(True))
    moments = adam.split(state.params)
    for i, width in enumerate((128, learner.num_classes)):
        name, layer = f"dense {i + 1}", f"Dense_{i}"
        module = networks.Dense(width, "tanh" if i == 0 else None, how)
        y = _add_layer(parts, name, module, params[layer], x, first)
        if learner.descend:
            del parts[f"{name} +"]
            _add_descent(parts, name, learner.descend, moments[layer], x, y, adam, i == 0, first)
        x, first = y, False
    entropy = learner.kernels.cross_entropy
    parts["cross-entropy"] = (
        lambda _, logits, labels: jax.value_and_grad(lambda z: entropy(z, labels).mean())(logits),
        (x, labels),
    )
    if learner.descend:
        return parts

    def update_all(_: Any, grads: Any, opt_state: Any, params: Any) -> Any:
        model, one = (grads, opt_state, params), (jnp.float32(1), jnp.bool_(True))
        params, opt_state = optimizer.update(learner.recipe, learner.kernels.adam, *model, *one)
        return grads, opt_state, params

    grads = jax.tree.map(jnp.ones_like, state.params)
    parts["Adam"] = update_all, (grads, state.opt_state, state.params)
    return parts


def _encoded(learner: Learner, state: State, features: jax.Array, rows: jax.Array) -> jax.Array:
    records = learner.kernels.gather(features, rows, not learner.reads_bytes)
    return records if learner.reads_bytes else learner.encode(state, records)


def _add_layer(
    parts: dict[str, tuple[Part, Any]], name: str, module: Any, params: Any, x: Any, first: bool
) -> jax.Array:
    """Adds a layer, and the layer with its gradients (of its inputs unless it is the first)."""

    def forward(params: Any, x: Any) -> Any:
        return module.apply({"params": params}, x)

    def gradients(params: Any, x: Any) -> Any:
        if first:
            y, back = jax.vjp(lambda p: forward(p, x), params)
        else:
            y, back = jax.vjp(forward, params, x)
        return y, back(y)

    y = forward(params, x)
    parts[name] = lambda _, x, params: forward(params, x), (x, params)
    parts[f"{name} +"] = lambda _, x, params: gradients(params, x), (x, params)
    return y


def _add_descent(
    parts: dict[str, tuple[Part, Any]],
    name: str,
    descend: Descend,
    layer: Any,
    x: Any,
    y: Any,
    adam: optimizer.HostAdam,
    tanh: bool,
    first: bool,
) -> None:
    """Adds a layer's gradients with Adam's step."""

    def step(_: Any, x: Any, y: Any, dy: Any, scalars: Any, layer: Any) -> Any:
        how = adam.how._replace(scalars=scalars)
        layer, _ = descend(layer, x, y, dy, how, adam.decay, tanh, first)
        return x, y, dy, scalars, layer

    parts[f"{name}{FUSED}"] = step, (x, y, jnp.ones_like(y) / 100, adam.how.scalars, layer)


class Timed:
    """One part, compiled to run any number of times in a loop on every device.

    A part whose result looks like its inputs works in place: the result is the next turn's input, and
    its last array is what must be computed.
    """

    def __init__(self, part: Part, args: Any, mesh: Any):
        """Compiles the loop.

        Args:
          part: Of the turn and of its inputs.
          args: Inputs of one model.
          mesh: The devices, all of which run the part at once.
        """
        copies = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * mesh.size), args)
        result = jax.eval_shape(lambda *args: part(jnp.int32(0), *args), *args)
        in_place = str(result) == str(jax.eval_shape(lambda *args: args, *args))
        self._args = put_models(copies, mesh)[0]

        def loop(args: Any, times: jax.Array) -> jax.Array:
            def again(i: Any, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
                args, touched = carry
                if in_place:
                    return part(i, *args), touched
                # The next turn's first input depends on this one's result: nothing can be left out.
                leaves, tree = jax.tree.flatten(args)
                at = (0,) * leaves[0].ndim
                leaves[0] = leaves[0].at[at].add((touched * 1e-30).astype(leaves[0].dtype))
                args = jax.tree.unflatten(tree, leaves)
                # Without the barrier XLA would compute the one number that is looked at.
                result = jax.tree.leaves(lax.optimization_barrier(part(i, *args)))
                found = [leaf.ravel()[0].astype(jnp.float32) for leaf in result]
                return args, jnp.stack(found).sum()

            own = jax.tree.map(lambda leaf: leaf[0], args)
            own, touched = lax.fori_loop(0, times, again, (own, jnp.float32(0)))
            return (touched + jax.tree.leaves(own)[-1].ravel()[0].astype(jnp.float32))[None]

        self._program = spread_models("profile", loop, mesh, ("models", "shared"))
        self._times = 1
        while (seconds := self.seconds()) * self._times < COMMAND.seconds:
            self._times = max(2 * self._times, int(COMMAND.seconds / max(seconds, 1e-7)))

    def seconds(self) -> float:
        """Returns the time of one turn."""
        began = time.perf_counter()
        jax.block_until_ready(self._program(self._args, np.int32(self._times)))
        return (time.perf_counter() - began) / self._times


def _whole(network: str, execution: Execution, mesh: Any) -> Callable[[], float]:
    """Returns a function that trains a fleet and returns seconds per step of one device."""
    size = _FEW if NETWORKS[network].describe().model == "cnn" else _MEMBERS
    spec = make_fleet(network, 4 * mesh.size, size, execution)
    learner, members, key_data = spec.learner, spec.members, spec.key_data
    fleet = Fleet(learner, mesh)
    placed = fleet.put_data(spec.features, spec.labels)
    pack = fleet.load(fleet.init(placed, members, key_data), members, key_data)
    pack.fit(placed, 0, 1)
    steps = 4 * (size // learner.recipe.batch_size)
    epoch = iter(range(1, learner.recipe.epochs))

    def seconds() -> float:
        at = next(epoch)
        began = time.perf_counter()
        pack.fit(placed, at, at + 1)
        return (time.perf_counter() - began) / steps

    return seconds


def split(found: dict[str, float], steps_per_epoch: float) -> dict[str, float]:
    """Turns measured seconds into those of a step's parts, gradients and rest apart.

    Args:
      found: Seconds of every part and of the whole step; parts with "+" include gradients.
      steps_per_epoch: Between two orders.
    """
    parts: dict[str, float] = {}
    for name, seconds in found.items():
        if name == WHOLE:
            continue
        if name == "order":
            parts[name] = seconds / steps_per_epoch
        elif name.endswith(" +"):
            layer = name.removesuffix(" +")
            parts[f"{layer}, gradients"] = seconds - found[layer]
        else:
            parts[name] = seconds
    parts[REST] = found[WHOLE] - sum(parts.values())
    return {**parts, WHOLE: found[WHOLE]}


def _measure(network: str, executions: dict[str, Execution], mesh: Any) -> dict[str, Any]:
    """Returns by kernels and part the microseconds over all turns."""
    timed: dict[str, dict[str, Callable[[], float]]] = {}
    for name, execution in executions.items():
        spec = make_fleet(network, 1, _MEMBERS, execution)
        data, fleet = Data(spec.features, spec.labels), Fleet(spec.learner, make_mesh(1))
        state = fleet.init(fleet.put_data(spec.features, spec.labels), spec.members, spec.key_data)
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), state)
        parts = make_parts(spec.learner, data, one)
        timed[name] = {part: Timed(fn, args, mesh).seconds for part, (fn, args) in parts.items()}
        timed[name][WHOLE] = _whole(network, execution, mesh)

    def turn(name: str, _: int) -> dict[str, float]:
        return split({part: fn() for part, fn in timed[name].items()}, _MEMBERS / 100)

    found = harness.take_turns(COMMAND.repetitions, timed, turn)
    return {
        name: {
            part: harness.spread([seconds[part] * 1e6 for seconds in turns], 1) for part in turns[0]
        }
        for name, turns in found.items()
    }


def profile_table(network: str, rows: list[Row]) -> Table:
    """Returns the parts of a network's step, a column for each kind of kernels."""
    found = dict.fromkeys(part for r in rows for part in r["microseconds"])
    parts = [{"part": part} for part in found if not part.endswith(FUSED)]
    layout = Layout(
        "One training step of {network} on one core, microseconds",
        "Medians over {turns} turns on {cores} cores of {cpu}, both at work.  Gradients: of weights, and "
        "of inputs but in the first layer.  Rest: dispatch, and memory that other parts pushed out of the "
        "caches.  XLA compiles some parts otherwise alone than within a step, where it fuses them: there "
        "parts do not add up, and the rest is not shown.  *: with Adam.",
        [
            ("Part", "{part}"),
            *((TITLES[r["kernels"]], lambda line, r=r: _shown(r, line["part"])) for r in rows),
        ],
    )
    table = layout.table(parts, **{**rows[0], "network": network})
    return dataclasses.replace(table, section_ends=frozenset({len(parts) - 3}))


def _shown(row: Row, part: str) -> str:
    if part == REST and row["kernels"] == "xla":
        return "-"
    fused = part.replace(", gradients", FUSED)
    microseconds = row["microseconds"]
    if part not in microseconds and fused not in microseconds:
        return "-"
    mark = "" if part in microseconds else "*"
    return f"{microseconds.get(part, microseconds.get(fused))['median']:,.1f}{mark}"


def main() -> int:
    networks_named = COMMAND.names("networks", list(NETWORKS))
    before, execution = harness.machine(), start(Execution())
    executions = {"xla": Execution(kernels="xla")}
    if execution.kernels == "host":
        executions["host"] = execution
    mesh = make_mesh()
    for network in networks_named:
        rows: list[Row] = [
            {
                "benchmark": "profile",
                "network": network,
                "microseconds": parts,
                "turns": COMMAND.repetitions,
                **COMMAND.about(before, executions[name]),
            }
            for name, parts in _measure(network, executions, mesh).items()
        ]
        COMMAND.finish(rows, profile_table(network, rows))
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
