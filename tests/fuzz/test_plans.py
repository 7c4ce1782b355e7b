"""Any plan: what cannot be run is one line, what can keeps its promises."""

import dataclasses
import math

import numpy as np
import pytest
from fuzz.lines import one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from jleaks.data.splits import halves, quarters, shadow_part
from jleaks.experiments import plan as plans
from jleaks.experiments import sweep
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.plan import Plan
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

# Few sizes: each is compiled once.
_SIZES = st.sampled_from([40, 101, 400])
_SEEDS = st.integers(0, 2**32 - 1)
_TASKS = st.sampled_from(["location", "adult", "mnist"])


@given(_TASKS, _SEEDS, _SIZES, st.data())
def test_quarters_are_disjoint_and_equally_large(task, seed, size, data):
    quarter = data.draw(st.sampled_from([1, 10, size // 4]))
    found = quarters(task, seed, size, quarter)
    parts = [found.target_train, found.target_out, found.shadow_train, found.shadow_out]
    assert {len(part) for part in parts} == {quarter}
    together = np.concatenate(parts)
    assert len(np.unique(together)) == 4 * quarter
    assert (together >= 0).all()
    assert (together < size).all()
    inside, outside = shadow_part(found, task, seed, data.draw(st.integers(0, 1000)))
    half = np.sort(np.concatenate([found.shadow_train, found.shadow_out]))
    np.testing.assert_array_equal(np.sort(np.concatenate([inside, outside])), half)


@given(_TASKS, _SEEDS, st.integers(1, 4), st.sampled_from([(20, 7), (40, 0)]))
def test_twins_share_all_candidates_between_them(task, seed, pairs, sizes):
    candidates, population = sizes
    found = halves(task, seed, 101, 2 * pairs, candidates, population)
    assert (found.member.sum(1) == candidates // 2).all()
    np.testing.assert_array_equal(found.member[0::2], ~found.member[1::2])
    assert len(np.unique(np.concatenate([found.candidates, found.population]))) == sum(sizes)


_VALUE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "location", "mlp", "dropout:0.5", "true", "1"])
    | st.lists(st.integers() | st.text(max_size=3), max_size=3).map(tuple)
)


def anything(kind, **always):
    """Values of any kind for some fields of a plan."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in always]
    return st.dictionaries(st.sampled_from(names), _VALUE, max_size=3).map(
        lambda d: {**always, **d}
    )


@pytest.mark.parametrize(
    ("kind", "always"),
    [
        pytest.param(Plan, {"tasks": ("location",), "seeds": (1,)}, id="sweep"),
        pytest.param(
            BankPlan,
            {"task": "location", "num_models": 4, "num_candidates": 200, "num_population": 60},
            id="bank",
        ),
        pytest.param(Recipe, {}, id="recipe"),
        pytest.param(Execution, {}, id="execution"),
    ],
)
def test_a_plan_of_anything_is_a_plan_or_one_line(kind, always):
    @given(anything(kind, **always))
    def made(values):
        found = None
        with one_line():
            plan = kind(**values)
            plan.problems("target") if kind is Recipe else plan.validate()
            found = plan
        if isinstance(found, (Plan, BankPlan)):
            assert kind(**values).fingerprint() == found.fingerprint()

    made()


_RECIPES = st.builds(
    Recipe,
    hidden=st.just((8,)),
    epochs=st.sampled_from([1, 2]),
    batch_size=st.just(10),
    learning_rate=st.floats(1e-5, 0.1),
    l2=st.floats(1e-9, 1e-2),
    activation=st.sampled_from(["tanh", "relu"]),
)
_PLANS = st.builds(
    Plan,
    tasks=st.just(("location",)),
    seeds=st.sampled_from([(1,), (2,)]),
    target=_RECIPES,
    attack=st.just(Recipe("mlp", (8,), 2, 10, 1e-2, 1e-6)),
    top=st.integers(1, 30),
    num_random_points=st.just(20),
    percentile=st.floats(0.1, 99.9),
    adversaries=st.sampled_from([(1,), (3,), (1, 3)]),
    membership=st.sampled_from(["true", "shuffled"]),
    defence=st.sampled_from([None, "dropout:0.3,0.1", "temperature:4", "rounding:2", "top_k:2"]),
)


@pytest.fixture
def small(monkeypatch):
    """Parts of 40 records."""
    monkeypatch.setattr(plans, "MIN_QUARTER", 40)


@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_a_plan_that_can_be_run_keeps_its_promises(tmp_path_factory):
    # A run compiles and trains.
    few = max(4, settings.default.max_examples // 60)

    @settings(max_examples=few)
    @given(_PLANS)
    def kept(plan):
        plan = dataclasses.replace(plan, scale=0.001).validate()
        rows = sweep.run(plan, Execution(kernels="xla"), tmp_path_factory.mktemp("plan"))
        (seeds,) = plan.seeds
        expected = [
            (s, a)
            for s in range(seeds)
            for a in plan.adversaries
            for _ in range(1 if a == 1 else 3)
        ]
        assert sorted((row["seed"], row["adversary"]) for row in rows) == sorted(expected)
        for row in rows:
            assert row["num_members"] == row["num_nonmembers"] == 40
            numbers = [value for value in row.values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers))
            assert 0 <= row["auc"] <= 1
            assert 0 <= row["train_accuracy"] <= 1

    kept()
