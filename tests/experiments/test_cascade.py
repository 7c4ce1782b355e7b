"""A cascade end to end: shadows that have what is assumed, honest seconds, and no gain without memory."""

import dataclasses

import numpy as np
import pytest

from jleaks.errors import InputError
from jleaks.experiments import cascade as cascade_lib
from jleaks.experiments.bank import lay_out
from jleaks.experiments.cascade import cascade
from jleaks.experiments.cascade_plan import CascadePlan
from jleaks.report.cascade_table import cascade_table
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe

RECIPE = Recipe(hidden=(16,), epochs=15, batch_size=20, learning_rate=3e-3)
PLAN = CascadePlan(
    "location", 200, 20, num_targets=2, num_shadows=4, num_rounds=2, recipe=RECIPE,
    false_others=3, false_members=3, most_anchored=0.3, anchor_sides="both",
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade")
    asked, ask = [], cascade_lib.ask

    def noted(querier, models, *rest):
        asked.append(models)
        return ask(querier, models, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cascade_lib, "ask", noted)
        rows = cascade(PLAN, Execution(), str(folder), command="test")
    return folder, rows, asked


def test_every_round_stands_beside_as_many_plain_shadows(ran):
    _, rows, _ = ran
    assert [(r["round"], r["target"], r["conditioned"]) for r in rows] == [
        (n, t, kind) for n in (1, 2) for t in (0, 1) for kind in (True, False)
    ]
    first = [row for row in rows if row["round"] == 1]
    for conditioned, plain in zip(first[::2], first[1::2], strict=True):
        # Nothing is assumed yet: the same attack.
        assert conditioned["auc"] == plain["auc"]
        assert (conditioned["anchors_in"], conditioned["anchors_out"]) == (0, 0)
        assert conditioned["anchors_right"] is None
    second = [row for row in rows if row["round"] == 2 and row["conditioned"]]
    assert {row["num_shadows"] for row in second} == {8}
    for row in second:
        assert row["anchors_in"] + row["anchors_out"] > 0
        assert row["anchors_right"] > 0.7
        assert row["device_seconds"] > row["device_seconds_shared"] > 0
    assert cascade_table(rows).to_markdown().count("conditioned") == 1


def test_shadows_have_the_anchors_and_twins_share_the_rest(ran):
    _, rows, asked = ran
    plain, conditioned = asked
    assert (len(plain), len(conditioned)) == (2 + 2 + 8, 2 * (2 + 4))
    _, split = lay_out(PLAN.bank(), None)
    for t in range(2):
        mine = [np.isin(split.candidates, m.members) for m in conditioned[6 * t : 6 * t + 6]]
        inside, others = np.all(mine, axis=0), ~np.any(mine, axis=0)
        row = next(r for r in rows if r["round"] == 2 and r["target"] == t and r["conditioned"])
        assert (inside.sum(), others.sum()) == (row["anchors_in"], row["anchors_out"])
        truth = np.isin(split.candidates, plain[t].members)
        right = ((inside & truth).sum() + (others & ~truth).sum()) / (inside | others).sum()
        assert right == pytest.approx(row["anchors_right"])
        for one, other in zip(mine[::2], mine[1::2], strict=True):
            np.testing.assert_array_equal(one != other, ~inside & ~others)
        assert len({model.key_data.tobytes() for model in conditioned}) == 12


def test_a_finished_cascade_is_read_again_and_another_refused(ran):
    folder, rows, _ = ran
    assert cascade(PLAN, Execution(), str(folder)) == rows
    with pytest.raises(InputError, match="num_shadows: 4 -> 6"):
        cascade(dataclasses.replace(PLAN, num_shadows=6), Execution(), str(folder))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_targets", 3, "num_targets is 3, expected an even number"),
        ("num_shadows", 5, "num_shadows is 5, expected an even number"),
        ("most_anchored", 0.0, "most_anchored is 0"),
        ("num_candidates", 20, "batch_size is 20 but each model trains on only 10"),
    ],
)
def test_bad_plans_are_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PLAN, **{field: value}).validate()
