"""SELENA: who is held out, labels against a loop, nothing trained twice, bad input; soft labels."""

import dataclasses

import numpy as np
import pytest

from jleaks.data.synthetic import synthetic
from jleaks.defences.defence import Defence, defence, get_defence
from jleaks.defences.preliminary import Preliminary, Told
from jleaks.defences.selena import held_out_means
from jleaks.errors import InputError
from jleaks.experiments.library import Library
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject, defended
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.execution import Execution
from jleaks.training.fleet import stack_key_data
from jleaks.training.preemption import StopSignal
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter
from tests.fleets import assert_close, fleet_spec, trained

EXECUTION = Execution(models_per_vmap=1)
RECIPE = Recipe(hidden=(8,), epochs=3, batch_size=20)
DATA = synthetic("location", 300)


def keys(count):
    return stack_key_data([identity_key(i, "location", Role.TARGET) for i in range(count)])


def subjects(given, sizes=(100, 80), recipe=RECIPE):
    return [
        dataclasses.replace(
            Subject(
                f"model {i}", "location", recipe, np.arange(n), np.arange(n, n + 100), key, seed=i
            ),
            defence=given and get_defence(given),
        )
        for i, (n, key) in enumerate(zip(sizes, keys(len(sizes)), strict=True))
    ]


def querier(folder):
    library = Library(folder, EXECUTION, Reporter(), StopSignal())
    return Querier(library, lambda _: DATA, EXECUTION)


def test_every_record_is_held_out_from_as_many():
    cut = get_defence("selena:7,3").preliminary.cut
    trained_on = cut(np.zeros(500, np.int32), keys(1)[0])
    assert trained_on.shape == (7, 500)
    assert ((~trained_on).sum(0) == 3).all()
    # 500 draws of 3 of 7: each network is held out 214 times, give or take 11.
    assert (np.abs((~trained_on).sum(1) - 500 * 3 / 7) < 45).all()
    assert (cut(np.zeros(500, np.int32), keys(2)[1]) != trained_on).any()


def test_labels_are_means_of_those_that_did_not_see_the_record(rng):
    p = rng.dirichlet(np.ones(4), (5, 9)).astype(np.float32)
    seen = rng.random((5, 9)) < 0.5
    seen[0] = False
    found = held_out_means(Told(p, seen, np.zeros(9, np.int32), keys(1)[0]))
    for record in range(9):
        rows = [p[a, record] for a in range(5) if not seen[a, record]]
        np.testing.assert_allclose(found[record], np.mean(rows, axis=0), rtol=1e-5)


def test_soft_labels_of_one_class_are_that_class():
    plain = fleet_spec("mlp", 2)
    hot = np.eye(4, dtype=np.float32)[plain.labels[plain.members.indices]]
    soft = dataclasses.replace(plain, members=plain.members._replace(soft_labels=hot))
    even = dataclasses.replace(
        plain, members=plain.members._replace(soft_labels=np.full_like(hot, 0.25))
    )
    expected = trained(plain, models_per_vmap=1)
    found, flat = trained(soft, models_per_vmap=1), trained(even, models_per_vmap=1)
    assert_close(found.params, expected.params)
    # What is learned of labels that say nothing is the loss of a posterior that says nothing.
    assert (np.asarray(flat.losses)[:, -1] > np.log(4) - 0.01).all()


def test_blocks_do_not_change_soft_labels(rng):
    plain = fleet_spec("mlp", 2)
    labels = rng.dirichlet(np.ones(4), plain.members.indices.shape).astype(np.float32)
    whole = dataclasses.replace(plain, members=plain.members._replace(soft_labels=labels))
    blocks = dataclasses.replace(
        whole, learner=dataclasses.replace(whole.learner, records_per_block=5)
    )
    assert_close(
        trained(blocks, models_per_vmap=1).params, trained(whole, models_per_vmap=1).params
    )


def test_a_fleet_is_distilled_from_its_networks(tmp_path):
    """What training is given is the mean of the answers of networks that are trained here one by one."""
    given = subjects("selena:4,2")
    asked = querier(tmp_path / "a")
    found = asked.query(given)
    assert asked.library.num_trained == 2 * (4 + 1)
    name = asked.name(given[0])
    assert name != asked.name(subjects(None)[0])
    assert name != asked.name(subjects("selena:4,1")[0])
    # Nothing is trained twice, also in another process.
    again = querier(tmp_path / "a")
    for one, other in zip(again.query(given), found, strict=True):
        np.testing.assert_array_equal(one.whole(), other.whole())
    assert again.library.num_trained == 0
    # The networks' cost is the model's.
    alone = again.library.cost(name).wall_seconds
    assert again.cost(given[:1]).wall_seconds > alone

    other = querier(tmp_path / "b")
    for subject, expected in zip(given, found, strict=True):
        told = next(other._told([subject]))
        assert told.posteriors.shape == (4, len(subject.members), 30)
        soft = np.zeros((1, len(subject.members), 30), np.float32)
        for record in range(len(subject.members)):
            outside = ~told.trained[:, record]
            soft[0, record] = told.posteriors[outside, record].mean(0)
        spec = other.fleet_spec([subject])
        spec = dataclasses.replace(spec, members=spec.members._replace(soft_labels=soft))
        trainer, state = other.library.train(spec, [f"by hand {subject.seed}"])
        from jleaks.attacks.signals import posterior_signals

        rows = subject.rows[None]
        mine = trainer.query(state, rows, posterior_signals)["posteriors"][0]
        np.testing.assert_allclose(mine, expected.whole(), atol=2e-4)


def test_networks_need_whole_batches(tmp_path):
    with pytest.raises(
        InputError, match=r"trains networks on parts of the 30 members of the model 0"
    ):
        querier(tmp_path).query(subjects("selena:10,9", sizes=(30,)))


def test_forests_are_refused():
    forest = subjects(None, recipe=ForestRecipe(5))[0]
    with pytest.raises(InputError, match="forest; selena:4,2 defends networks alone"):
        defended(forest, "selena:4,2", forest.key_data)


@pytest.mark.parametrize("text", ["selena:25", "selena:10,10", "selena:10,0", "selena:5.5,2"])
def test_bad_strengths_are_one_line(text):
    with pytest.raises(InputError, match=r"SELENA's strength is .*such as selena:25,10"):
        get_defence(text)


@pytest.mark.parametrize(
    "given", [{}, {"labels": held_out_means, "learn": len, "numbers": len}, {"learn": len}]
)
def test_networks_are_for_one_thing(given):
    with pytest.raises(InputError, match="either labels, or learn and numbers"):
        Preliminary(lambda *_: np.ones(3), **given)


def test_a_user_s_own_says_who_trains_on_what(tmp_path):
    from jleaks.defences.defence import DEFENCES

    entries, origins = dict(DEFENCES._entries), dict(DEFENCES._origins)
    try:

        @defence("odd")
        def odd(_):
            return Defence(preliminary=Preliminary(lambda *_: np.ones(3), labels=held_out_means))

        @defence("both")
        def both(_):
            first = Preliminary(lambda *_: np.ones(3), labels=held_out_means)
            return dataclasses.replace(get_defence("stacking:1"), preliminary=first)

        with pytest.raises(InputError, match="both is several models and trains others first"):
            get_defence("both:1")
        with pytest.raises(InputError, match=r"odd:1 says who trains on what by float64 of \(3,\)"):
            querier(tmp_path).query(subjects("odd:1"))
    finally:
        DEFENCES._entries, DEFENCES._origins = entries, origins
