"""Answers of subjects: of forests as they are kept, from posteriors, and what tells subjects apart."""

import dataclasses

import numpy as np
import pytest
from libraries import EXECUTION, open_library, rewritten

from jleaks.data.synthetic import synthetic
from jleaks.errors import InputError
from jleaks.experiments.answers import from_posteriors
from jleaks.experiments.library import fingerprint
from jleaks.experiments.querier import Querier
from jleaks.experiments.subjects import Subject
from jleaks.keys import Role, identity_key
from jleaks.models.forest import ForestRecipe
from jleaks.training.fleet import stack_key_data


def test_what_a_forest_answered_is_checked(tmp_path):
    data = synthetic("location", 300)
    querier = Querier(open_library(tmp_path), lambda _: data, EXECUTION)
    subject = Subject(
        "forest", "location", ForestRecipe(5), np.arange(100), np.arange(100, 200),
        stack_key_data([identity_key(0, "location", Role.SHADOW)])[0],
    )  # fmt: skip
    (answers,) = querier.query([subject])
    (path,) = (tmp_path / "answers").iterdir()
    content = path.read_bytes()
    (again,) = Querier(open_library(tmp_path), lambda _: data, EXECUTION).query([subject])
    np.testing.assert_array_equal(again.posteriors, answers.posteriors)

    def damage(arrays=None, **meta):
        path.write_bytes(content)
        rewritten(path, arrays, **meta)
        with pytest.raises(InputError, match="delete it to grow the forest again") as caught:
            querier.query([subject])
        return str(caught.value)

    assert "another fingerprint" in damage(fingerprint="x")
    assert "growing took None seconds" in damage(seconds=None)
    assert "growing took nan seconds" in damage(seconds=float("nan"))
    for change in (
        lambda a: {"posteriors": a["posteriors"][:50]},
        lambda a: {"posteriors": a["posteriors"] * np.nan},
        lambda a: {"posteriors": a["posteriors"].astype(float)},
        lambda a: {"posteriors": -a["posteriors"]},
        lambda a: {"more": a["posteriors"]},
    ):
        assert "it does not hold posteriors of shape (200, 30)" in damage(change)


def test_fingerprints_differ_with_every_part():
    rows = np.arange(5, dtype=np.int32)
    found = {
        fingerprint("a", {"x": 1}, rows),
        fingerprint("a", {"x": 2}, rows),
        fingerprint("b", {"x": 1}, rows),
        fingerprint("a", {"x": 1}, rows + 1),
        fingerprint("a", {"x": 1}, rows.astype(np.int64)),
        fingerprint("a", {"x": 1}, rows[:4]),
    }
    assert len(found) == 6
    assert fingerprint("a", {"x": 1}, rows) == fingerprint("a", {"x": 1}, rows.copy())


def test_answers_from_posteriors(rng):
    p = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    p[0] = [1, 0, 0, 0]
    labels = rng.integers(0, 4, 50)
    answers = from_posteriors(p, labels)
    assert answers.statistics[0].tolist() == [1.0, pytest.approx(np.std(p[0])), 0.0]
    i = 7
    assert answers.statistics[i, 2] == pytest.approx(sum(x * np.log(x) for x in p[i]), rel=1e-5)
    np.testing.assert_array_equal(answers.largest(2)[i], sorted(p[i])[:-3:-1])
    assert answers.accuracy(20)[0] == np.mean(p[:20].argmax(1) == labels[:20])
    few = dataclasses.replace(answers, top=answers.largest(2), posteriors=None)
    with pytest.raises(AssertionError):
        few.largest(3)
