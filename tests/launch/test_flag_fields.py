"""Flags of fields: one source of name, type, choices, default and help."""

import dataclasses
from typing import Annotated, Literal

import pytest
from absl import flags

from jleaks.attacks import registry
from jleaks.attacks.options import NAMES, Options
from jleaks.attacks.registry import ATTACKS
from jleaks.errors import InputError
from jleaks.experiments.bank_plan import BankPlan
from jleaks.experiments.paper_plan import PaperPlan
from jleaks.experiments.plan import Plan
from jleaks.fields import Count, Range
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from launch.fields import Fields, meanings


@dataclasses.dataclass(frozen=True)
class _Toy:
    """Something with fields.

    Attributes:
      toy_count: Number of toys, which takes more
        than one line to tell.
      toy_size: Size of a toy.
      toy_kind: Kind of toy.
      toy_steps: Steps of a toy.
      toy_picks: Picks of a toy, some of 1 and 2.
    """

    toy_count: Count
    toy_size: Annotated[float, Range("positive", lambda x: x > 0)] = 0.5
    toy_kind: Literal["ball", "cube"] | None = None
    toy_steps: tuple[Count, ...] = (8,)
    toy_picks: tuple[Literal[1, 2], ...] = (1, 2)


@pytest.fixture
def toy(monkeypatch):
    """Returns a maker of the toy's fields under flags of their own, and those flags."""
    own = flags.FlagValues()
    for kind in ("enum", "float", "integer", "list"):
        define = getattr(flags, f"DEFINE_{kind}")
        patched = lambda *args, define=define, **how: define(*args, flag_values=own, **how)  # noqa: E731
        monkeypatch.setattr(flags, f"DEFINE_{kind}", patched)
    monkeypatch.setattr(
        "launch.fields._DEFINE", {int: flags.DEFINE_integer, float: flags.DEFINE_float}
    )
    names = [field.name for field in dataclasses.fields(_Toy)]

    def make(**how):
        return Fields(_Toy, names, "What", **how), own

    return make


def test_defaults_and_help_are_the_dataclass_s(toy):
    fields, own = toy(defaults={"toy_count": 3})
    own(["program"])
    assert dataclasses.asdict(_Toy(3)) | {"toy_kind": None} == {**fields.values(), "toy_kind": None}
    assert "toy_kind" not in fields.values()
    assert own["toy_count"].help == "Number of toys, which takes more than one line to tell."
    assert own["toy_kind"].help.endswith("Kind of toy.")


def test_given_values_have_the_types_of_the_fields(toy):
    fields, own = toy(prefix="x_", unset={"toy_steps": "none"})
    own(["program"])
    assert fields.values() == {"toy_size": 0.5, "toy_picks": (1, 2)}
    assert own["x_toy_steps"].help == "Steps of a toy.  Default: none."
    own(["program", "--x_toy_count=4", "--x_toy_kind=cube", "--x_toy_steps=1,2", "--x_toy_picks=2"])
    assert fields.values() == {
        "toy_count": 4, "toy_size": 0.5, "toy_kind": "cube", "toy_steps": (1, 2), "toy_picks": (2,),
    }  # fmt: skip
    with pytest.raises(flags.Error, match="toy_kind"):
        own(["program", "--x_toy_kind=rope"])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--toy_steps=8,b", "^--toy_steps is 8,b, expected whole numbers such as 1024,512$"),
        ("--toy_picks=1,3", "^--toy_picks is 1,3, expected some of 1, 2$"),
    ],
)
def test_lists_that_cannot_be_read_are_one_line(toy, flag, message):
    fields, own = toy()
    own(["program", flag])
    with pytest.raises(InputError, match=message):
        fields.values()


@pytest.mark.parametrize("kind", [Recipe, Plan, Execution, BankPlan, PaperPlan, Options])
def test_every_field_has_a_sentence_that_stands_alone(kind):
    said = meanings(kind)
    assert set(said) == {field.name for field in dataclasses.fields(kind)}
    for name, text in said.items():
        assert len(text) > 12, name
        assert text[0].isupper() or text[1] == ",", name
        assert text.endswith("."), name
        assert not text.startswith("Of "), name


def test_attacks_are_named_in_the_registry_s_order():
    assert tuple(ATTACKS)[: len(NAMES)] == NAMES
    entries = [attack.name for family in registry._FAMILIES for attack in family.ENTRIES]
    assert sorted(entries) == sorted(NAMES)
    assert all(ATTACKS[name].name == name for name in NAMES)
