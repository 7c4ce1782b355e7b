"""Does DP-SGD leak as much as is accounted, to one who sees every step, and no more?

python -m benchmarks.checks.white_box --out=results/defences/white_box.jsonl

Trains many models on the same records by DP-SGD at the noise whose accounted epsilon is a target, each with
a canary gradient (`jleaks.training.gradient_canary`) by a coin of its own, which is what two neighbouring
data sets are.  Of the models' scores, bounds on epsilon with 95%: over thresholds (Clopper-Pearson), and by
the mu of Gaussian differential privacy.  They may be above what is accounted in at most 5% of checks; the
nearer they are below, the less an error of training or accounting could hide.

Where every record takes part in every step, the mechanism is Gaussian, its score a sufficient statistic and
the bound by mu tight but for the number of models.  Where records are sampled, the sum of a score forgets
in which steps the canary may have taken part, and there is no mu: that bound is one on a Gaussian mechanism
that is as easy to tell.

Null: the models without the canary, under coins that are drawn anew.  Bounds above zero are wrong there, in
at most 5% of draws.  Their scores' deviation is held against noise times the root of the steps; the rest is
what other records' gradients have along the canary's.
"""

import dataclasses
import math
import time

import jax
import numpy as np
from jaxtyping import Bool, Float

from benchmarks import harness
from benchmarks.harness import DATA_DIR, OUT, Command, Flag, Layout, Row
from jleaks.data.dataset import Dataset
from jleaks.data.origin import Origin, num_records, records
from jleaks.data.tasks import Task, get_task
from jleaks.errors import InputError
from jleaks.keys import Role, identity_generator, identity_key
from jleaks.metrics.epsilon import DELTA, epsilon_over_thresholds
from jleaks.metrics.gaussian_dp import epsilon_of_mu, mu_over_thresholds
from jleaks.metrics.privacy_accounting import loss_epsilon, noise_for
from jleaks.training.execution import Execution
from jleaks.training.learner import Members, State
from jleaks.training.packing import make_learner
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.trainer import FleetSpec, Trainer
from launch.app import make_execution, start

COMMAND = Command(
    "benchmarks.checks.white_box",
    __doc__,
    ("task", "models", "members", "steps", "epsilons", "rates"),
    trains=True,
    task=Flag("Task of the records.", "location"),
    models=Flag("Of each fleet.", 2_000, 100),
    members=Flag("Records that all models train on.", 100, 1),
    hidden=Flag("Width of the MLP's hidden layer.", 16, 1),
    steps=Flag("Of training.", 20, 1),
    clip=Flag("Clipping norm.", 1.0, kind=float),
    epsilons=Flag("Accounted epsilons, inf for no noise.", ["1", "2", "4", "8", "inf"]),
    rates=Flag("A record's probabilities to take part in a step.", ["0.1", "1"]),
    draws=Flag("Coins drawn anew, for the null.", 200, 2),
    seed=Flag("Of models and coins.", 0, 0),
    data_dir=DATA_DIR,
    out=OUT,
)


LAYOUT = Layout(
    "Epsilon shown by a canary's gradient, beside what is accounted",
    "{models:,} models on {members} records of {task} ({source}), {steps} steps, clipping norm {clip:g}, "
    "delta {delta:g}; about half have the canary.  Measured: lower bounds with 95%, over thresholds and by "
    "mu of Gaussian differential privacy; (at most): where all scores of canaries are above all others.  "
    "Deviation of the scores without the canary, beside the root of the steps times the noise; of it, what "
    "other records contribute.  Null: how often bounds are above zero under coins that say nothing, of "
    "{draws} draws.  {cores} cores of {cpu}, commit {commit}.",
    [
        ("Rate", "{rate:.2g}"),
        ("Accounted\nepsilon", lambda r: "inf" if r["epsilon"] is None else f"{r['epsilon']:.2f}"),
        ("Noise", "{noise:.3f}"),
        ("Measured,\nthresholds", "{epsilon_thresholds:.2f} ({ceiling_thresholds:.2f})"),
        ("by mu", "{epsilon_of_mu:.2f} ({ceiling_of_mu:.2f})"),
        ("Deviation", "{deviation:.2f}"),
        ("expected", "{expected_deviation:.2f}"),
        ("others'", "{others_deviation:.2f}"),
        ("Canary's\nshift", "{shift:.2f}"),
        ("expected ", "{expected_shift:.2f}"),
        ("Null,\nthresholds", "{null_thresholds:.1%}"),
        ("by mu ", "{null_mu:.1%}"),
    ],
    num_text_columns=2,
    section="{rate}",
)  # fmt: skip


def read_epsilon(text: str) -> float:
    """Reads an epsilon; InputError where it is not above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise InputError(f"--epsilons names {text}, expected numbers above 0, or inf")
    return value


def read_batch(text: str, members: int, steps: int) -> int:
    """Reads a rate; returns how many records it is of so many, on average.

    Raises:
      InputError: it is not in (0, 1], no whole number of records, or epochs of it have not so many steps.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    batch = round(rate * members) if 0 < rate <= 1 else 0
    if not batch or not math.isclose(batch, rate * members):
        raise InputError(
            f"--rates names {text}, expected numbers in (0, 1] that are whole records of {members}"
        )
    if steps % (members // batch):
        raise InputError(
            f"--steps is {steps}, expected a multiple of an epoch's {members // batch} at rate {text}"
        )
    return batch


def coins(seed: int, fleet: int, count: int) -> Bool[np.ndarray, "models"]:
    """Returns which models of a fleet have the canary: a fair coin each."""
    return identity_generator(seed, "white box", Role.CANARIES, fleet).random(count) < 0.5


def trained(
    spec: FleetSpec,
    noise: float,
    clip: float,
    rate: float,
    inserted: Bool[np.ndarray, "models"],
    execution: Execution,
) -> State:
    """Trains a fleet by DP-SGD; the models at `inserted` have the canary, the others look for it, too.

    Args:
      spec: The fleet, without privacy.
      noise: Multiplier.
      clip: Clipping norm.
      rate: Probability of a record in one step.
      inserted: Which models have the canary.
      execution: How fast.
    """
    privacy = np.tile(np.array([noise, clip, rate], np.float32), (spec.num_models, 1))
    members = spec.members._replace(privacy=privacy, canary=inserted.astype(np.float32))
    with StopSignal() as stop:
        return Trainer(
            dataclasses.replace(spec, members=members), execution, lambda _: None, stop
        ).run()


def null_shares(
    scores: Float[np.ndarray, "models"], delta: float, draws: int, seed: int
) -> tuple[float, float]:
    """Returns how often bounds on epsilon, over thresholds and by mu, are above zero under random coins.

    Args:
      scores: Of models of which none has the canary.
      delta: Of the bounds.
      draws: How often coins are drawn.
      seed: Of the coins.
    """
    rng, found = np.random.default_rng([seed, len(scores)]), np.zeros(2)
    for _ in range(draws):
        coin = rng.random(len(scores)) < 0.5
        found += [
            epsilon_over_thresholds(scores, coin, delta).epsilon > 0,
            mu_over_thresholds(scores, coin, delta).mu > 0,
        ]
    first, second = found / draws
    return float(first), float(second)


def measured(
    state: State, inserted: Bool[np.ndarray, "models"], draws: int, delta: float = DELTA
) -> Row:
    """Returns what the scores of a trained fleet show.

    Fields: `inserted`, how many have the canary; `epsilon_thresholds` with `ceiling_thresholds`, `mu`,
    `epsilon_of_mu` with `ceiling_of_mu`, lower bounds and the largest that so many models could give;
    `shift`, by which scores of models with the canary are larger on average; of models without it
    `deviation`, `noise_deviation`, `others_deviation`, of scores and their two parts, and
    `null_thresholds`, `null_mu`, see `null_shares`.

    Args:
      state: Of the fleet.
      inserted: Which models have the canary.
      draws: Coins drawn for the null.
      delta: Of the bounds.
    """
    scores, others = (np.asarray(state.trace[k], np.float64) for k in ("canary", "others"))
    audit = epsilon_over_thresholds(scores, inserted, delta)
    gaussian = mu_over_thresholds(scores, inserted, delta)
    without = scores[~inserted]
    by_thresholds, by_mu = null_shares(without, delta, draws, 0)
    return {
        "inserted": int(inserted.sum()),
        "epsilon_thresholds": audit.epsilon,
        "ceiling_thresholds": audit.ceiling,
        "mu": gaussian.mu,
        "epsilon_of_mu": gaussian.epsilon,
        "ceiling_of_mu": epsilon_of_mu(gaussian.ceiling, delta),
        "shift": float(scores[inserted].mean() - without.mean()),
        "deviation": float(without.std(ddof=1)),
        "noise_deviation": float((without - others[~inserted]).std(ddof=1)),
        "others_deviation": float(others[~inserted].std(ddof=1)),
        "null_thresholds": by_thresholds,
        "null_mu": by_mu,
    }


def fleet(task: Task, data: Dataset, batch: int, number: int, execution: Execution) -> FleetSpec:
    """Returns models that train on the same records.

    Args:
      task: Of the records.
      data: Its records, all of which every model trains on.
      batch: Records of a step, on average.
      number: Of the fleet: no two share noise.
      execution: How fast.
    """
    count, members = COMMAND.models, len(data.labels)
    recipe = Recipe("mlp", (COMMAND.hidden,), COMMAND.steps // (members // batch), batch)
    key = identity_key(COMMAND.seed, task.name, Role.BANK_MODEL, number)
    return FleetSpec(
        name=task.name,
        names=[f"model {i} of {task.name}" for i in range(count)],
        learner=make_learner(recipe, task.encoding, task.num_classes, execution),
        features=data.features,
        labels=data.labels,
        members=Members(
            np.tile(np.arange(members, dtype=np.int32), (count, 1)),
            np.full(count, members, np.int32),
        ),
        key_data=np.asarray(jax.random.key_data(jax.random.split(key, count))),
    )


def main() -> int:
    members, steps, clip = COMMAND.members, COMMAND.steps, COMMAND.clip
    if not clip > 0:
        raise InputError(f"--clip is {clip:g}, expected a number above 0")
    targets = [read_epsilon(text) for text in COMMAND.epsilons]
    batches = [read_batch(text, members, steps) for text in COMMAND.rates]
    if not (targets and batches):
        raise InputError("--epsilons and --rates name nothing")
    task = get_task(COMMAND.task)
    origin: Origin = "prepared" if COMMAND.data_dir else "synthetic"
    if (total := num_records(task.name, origin, COMMAND.data_dir)) < members:
        raise InputError(f"--members is {members}, {task.name} has {total}")
    execution, before = start(make_execution()), harness.machine()
    data = records(task.name, origin, COMMAND.data_dir, members)
    data = dataclasses.replace(data, features=data.features[:members], labels=data.labels[:members])
    about = COMMAND.about(before, execution)
    rows: list[Row] = []
    for batch in batches:
        rate = float(np.float32(batch / members))
        for target in targets:
            tick, number = time.monotonic(), len(rows)
            noise = 0.0 if math.isinf(target) else noise_for(target, rate, steps, DELTA)
            # Up to the next float32, so that the target holds for what is run.
            noise = noise and float(np.nextafter(np.float32(noise), np.float32(np.inf)))
            inserted = coins(COMMAND.seed, number, COMMAND.models)
            spec = fleet(task, data, batch, number, execution)
            state = trained(spec, noise, clip, rate, inserted, execution)
            epsilon = loss_epsilon(noise, rate, steps, DELTA)
            rows.append(
                {
                    "benchmark": "white_box",
                    "task": task.name,
                    "source": data.source,
                    "models": COMMAND.models,
                    "members": members,
                    "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
                    "steps": steps,
                    "epsilon": epsilon if math.isfinite(epsilon) else None,
                    "delta": DELTA,
                    "noise": noise,
                    "clip": clip,
                    "rate": rate,
                    **measured(state, inserted, COMMAND.draws),
                    "expected_shift": steps * rate,
                    "expected_deviation": noise * math.sqrt(steps),
                    "draws": COMMAND.draws,
                    "seed": COMMAND.seed,
                    "seconds": round(time.monotonic() - tick, 1),
                    **about,
                }
            )
            print(f"rate {rate:g}, epsilon {target:g}: {rows[-1]['seconds']} s", flush=True)
    return COMMAND.finish(rows, LAYOUT.table(rows))


if __name__ == "__main__":
    COMMAND.run(main)
