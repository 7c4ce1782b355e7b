"""Fingerprints: neutral fields change nothing, and what was published comes out again."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.library import Library
from jleaks.experiments.paper_plan import make_plan
from jleaks.experiments.plan import Plan
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import SubjectLayout
from jleaks.fingerprint import FORMAT, fingerprint, stated
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.execution import Execution
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import ATTACK_RECIPE, Recipe
from jleaks.training.reporter import Reporter

_INNER = Recipe(epochs=7)


@dataclasses.dataclass(frozen=True)
class Old:
    width: int = 3
    inner: Recipe = _INNER


@dataclasses.dataclass(frozen=True)
class New:
    width: int = 3
    inner: Recipe = _INNER
    added: str = "none"


def test_a_field_at_its_default_is_left_out():
    assert stated(Old()) == {}
    assert stated(Old(inner=Recipe(epochs=8))) == {"inner": {"epochs": 8}}
    assert fingerprint(Old(4)) == fingerprint(New(4))
    assert fingerprint(New(4)) != fingerprint(New(4, added="some"))
    assert fingerprint(Old(inner=Recipe())) != fingerprint(Old())


def test_every_part_counts():
    a = np.arange(6, dtype=np.int32)
    found = [
        fingerprint(a),
        fingerprint(a.reshape(2, 3)),
        fingerprint(a.astype(np.int64)),
        fingerprint(a + 1),
        fingerprint(),
        fingerprint([]),
        fingerprint("x", 1),
        fingerprint(["x", 1]),
        fingerprint({"x": 1}),
    ]
    assert len(set(found)) == len(found)


# plan -> fingerprint.  A line that changes means that results committed under it are no longer found: raise
# FORMAT in jleaks/fingerprint.py if numbers changed, and mend the code if they did not.
TABLE = {
    "main": (Plan(("adult", "location"), (5, 2), "prepared"), "fd563ef85ffce101"),
    "main, other recipe": (
        Plan(("news",), (1,), target=Recipe(hidden=(64, 32), l2=0)),
        "2072d590b90fa613",
    ),
    "bank": (BankPlan("location", 128, 4174, 835, source="prepared"), "bffcd3304f0180cc"),
    "bank, wide": (
        BankPlan("mnist", 8, 400, 100, recipe=Recipe("cnn", epochs=3, optimizer="sgd")),
        "ce0254ee39f91202",
    ),
    "paper": (make_plan("paper", ("location",), "prepared"), "940a6d2df7955693"),
    "smoke": (make_plan("smoke"), "5f3c05839e2a48f4"),
}


@pytest.mark.parametrize("name", TABLE)
def test_fingerprints_do_not_move(name):
    plan, expected = TABLE[name]
    assert plan.fingerprint() == expected


# Defaults are left out of fingerprints: one that changes changes numbers under the same fingerprint.  Raise
# FORMAT with it, then write the new value into the file.  New fields may be added to it.
def test_defaults_do_not_move():
    defaults = {
        "recipe": Recipe(),
        "attack": ATTACK_RECIPE,
        "forest": ForestRecipe(),
        "plan": Plan((), ()),
        "bank": BankPlan("location", 2, 2, 0),
        "paper": make_plan("paper"),
    }
    stored = json.loads((Path(__file__).parents[1] / "defaults.json").read_text())
    assert stored["format"] == FORMAT
    for name, value in defaults.items():
        now = json.loads(json.dumps(dataclasses.asdict(value)))
        moved = {
            field: now.get(field) for field, old in stored[name].items() if now.get(field) != old
        }
        assert not moved, f"{name}: raise FORMAT"


def test_one_model_has_one_fingerprint_whatever_attacks_it(tmp_path):
    """The main job's and the experiments' targets and shadows are the same models of any library."""

    def names(plan, seed=1):
        data = synthetic("location", 5010)
        library = Library(tmp_path, Execution(), Reporter(), StopSignal())
        querier, layout = (
            Querier(library, lambda _: data, Execution()),
            SubjectLayout(plan, {"location": 5010}),
        )
        subjects = layout.target("location", seed), layout.shadow("location", seed)
        return [querier.name(subject) for subject in subjects]

    plan = Plan(("adult", "location"), (5, 2))
    # As committed: a library's models are found by these.
    assert names(plan) == ["7e22a709911cd69647890e3d", "7cd9b1213198414557ecbb3f"]
    other = dataclasses.replace(
        plan, attack=Recipe(epochs=3), top=1, tasks=("location",), seeds=(2,)
    )
    assert names(other) == names(plan) == names(make_plan("paper", ("location",)))
    assert not set(names(plan)) & set(names(plan, 0))
    longer = dataclasses.replace(plan, target=Recipe(epochs=51))
    assert not set(names(plan)) & set(names(longer))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40, 10**30, 0.5, True])
def test_seeds_are_never_taken_modulo(seed):
    with pytest.raises(InputError, match="expected a whole number from 0 to 4294967295"):
        identity_key(seed, "location", Role.SPLIT)


def test_the_largest_seed_is_its_own():
    words = [
        tuple(np.asarray(jax.random.key_data(identity_key(s, "location", Role.SPLIT))))
        for s in (0, 1, 2**32 - 1, 2**31)
    ]
    assert len(set(words)) == 4


def test_keys_do_not_follow_jax_settings():
    usual = np.asarray(jax.random.key_data(identity_key(7, "adult", Role.TARGET)))
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(
            np.asarray(jax.random.key_data(identity_key(7, "adult", Role.TARGET))), usual
        )
