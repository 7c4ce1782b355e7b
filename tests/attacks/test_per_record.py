"""Attacks of one's own: every statistic against a loop over records in float64, and bad functions."""

import jax
import jax.numpy as jnp
import naive_attacks as naive
import numpy as np
import pytest

from jleaks import registry
from jleaks.attacks import per_record
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import NonFiniteScoresError, evaluate, scores
from jleaks.attacks.per_record import attack_on
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS, get_attacks
from jleaks.attacks.requirements import missing
from jleaks.errors import InputError
from jleaks.training import fleet
from jleaks.training.fleet import make_mesh


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """What a test registers is forgotten behind it."""
    for name in ("_entries", "_origins"):
        monkeypatch.setattr(ATTACKS, name, dict(getattr(ATTACKS, name)))
    monkeypatch.setattr(registry, "_LOADED", {})


# Functions of one record that look at everything there is.
def own_alone(own):
    return own.phi + 2 * own.correct - own.entropy * own.maximum + own.label + own.log_p


def of_out(own, out):
    return own.mentr - out.mean("mentr") + out.max("maximum") - out.median() / (1 + out.std("phi"))


def of_both(inside, out):
    ratio = inside.mean("log_p") - out.min("phi_t") + inside.median("phi_t") - inside.std("log_p")
    return ratio + inside.min() - out.max("entropy") + 0.1 * inside.count - 0.01 * out.count


def of_lists(own, out, inside):
    values, there = out.values("phi")
    others, mine = inside.values("correct")
    spread = jnp.where(there, jnp.abs(values - own.phi), 0).sum() / jnp.maximum(out.count, 1)
    return spread + jnp.where(mine, others, 0).sum() + inside.mean("correct")


FUNCTIONS = (own_alone, of_out, of_both, of_lists)


class NaiveOwn:
    """One target's answer about one record, in float64."""

    def __init__(self, bank, target, record):
        for name in ("phi", "correct", "mentr", "maximum", "entropy", "phi_t"):
            setattr(self, name, signal(bank, name)[target, record])
        self.log_p = signal(bank, "log_p")[target, record]
        self.label = float(bank.labels[record])


class NaiveSide:
    """The references of one side of one record, in float64."""

    def __init__(self, bank, taken, side, record, refs):
        self._bank, self._record, self._refs = bank, record, refs
        # [R, N] which references are on this side of every record, for what stands for an empty one.
        self._all = taken & (bank.member[refs] == (side == "inside"))
        self._here = self._all[:, record]
        self.count = float(self._here.sum())

    def _values(self, name):
        return signal(self._bank, name)[self._refs]

    def _summary(self, fn, name):
        whole = self._values(name)
        if not self.count:
            return whole[self._all].mean()
        return fn(whole[self._here, self._record])

    def mean(self, name="phi"):
        return self._summary(np.mean, name)

    def median(self, name="phi"):
        return self._summary(np.median, name)

    def min(self, name="phi"):
        return self._summary(np.min, name)

    def max(self, name="phi"):
        return self._summary(np.max, name)

    def std(self, name="phi"):
        whole = self._values(name)
        if self.count < 2:
            return np.sqrt(max(whole[self._all].var(), 1e-4))
        return whole[self._here, self._record].std()

    def values(self, name="phi"):
        return self._values(name)[:, self._record], self._here


def signal(bank, name):
    if name == "log_p":
        return -np.logaddexp(0, -bank.phi[0].astype(np.float64))
    array = getattr(bank, name)
    return (array[0] if array.ndim == 3 else array).astype(np.float64)


def naive_scores(fn, bank, references, target):
    """Scores of one target, record by record."""
    refs = references.models[target]
    draw = references.draw
    taken = np.ones((len(refs), len(bank.labels)), bool)
    if draw is not None:
        for record in range(len(bank.labels)):
            for side, count in ((True, draw.inside), (False, draw.outside)):
                mine = [i for i, r in enumerate(refs) if bank.member[r, record] == side]
                mine.sort(key=lambda i, record=record: draw.rank[refs[i], record])
                taken[mine[count:], record] = False
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    found = []
    for record in range(len(bank.labels)):
        given = {}
        for name in names:
            if name == "own":
                given[name] = NaiveOwn(bank, target, record)
            else:
                given[name] = NaiveSide(bank, taken, name, record, refs)
        found.append(float(fn(**given)))
    return np.array(found)


def make_bank(rng, drawn=False, **changes) -> Bank:
    slow = naive.random_bank(rng, 8, 40, num_queries=1, **changes)
    fields = ("phi", "member", "labels", "num_classes", "population", "correct")
    fields += ("phi_t", "mentr", "maximum", "entropy")
    given = {name: getattr(slow, name) for name in fields}
    if drawn:
        # Every record in half of the models, which are no twins: how many references hold it tells.
        given["member"] = rng.random(slow.member.shape).argsort(0) < 4
    return Bank(**given)


@pytest.mark.parametrize("kind", ["twins", "one-sided records", "drawn"])
def test_scores_equal_a_loop_over_records(rng, kind):
    changes = {"all_in": 2, "all_out": 3} if kind == "one-sided records" else {}
    bank = make_bank(rng, kind == "drawn", **changes)
    twins = make_bank(rng) if changes else bank
    references, _ = assign(twins)
    assert (references.draw is not None) == (kind == "drawn")
    for fn in FUNCTIONS:
        attack_on(fn)
    found = scores(bank, get_attacks([fn.__name__ for fn in FUNCTIONS]), references)
    for fn in FUNCTIONS:
        for target in (0, 3, 7):
            np.testing.assert_allclose(
                found[fn.__name__][target],
                naive_scores(fn, bank, references, target),
                rtol=2e-4,
                atol=2e-4,
                err_msg=f"{fn.__name__}, target {target}",
            )


def test_what_it_looks_at_is_read_from_the_function():
    for fn in FUNCTIONS:
        # A function stays what it was.
        assert attack_on(fn) is fn
    alone, out, both, lists = (ATTACKS[fn.__name__] for fn in FUNCTIONS)
    assert alone.signals == ("correct", "entropy", "maximum")
    assert [a.references for a in (alone, out, both, lists)] == [
        *("none", "out", "in and out", "in and out")
    ]
    assert both.title == "Of both"
    assert all(attack.labels for attack in (alone, out, both, lists))

    @attack_on(name="sure", title="Surest", source="nobody")
    def surest(own):
        return own.maximum

    found = ATTACKS["sure"]
    assert (found.title, found.source, found.labels) == ("Surest", "nobody", False)
    assert ATTACKS.digests("sure", "loss") == {"sure": ATTACKS.origin("of_out").digest}


def test_it_runs_beside_the_others_in_one_call_and_in_blocks_alike(rng):
    bank = make_bank(rng, num_population=6)
    for fn in (of_out, of_lists):
        attack_on(fn)
    attacks = get_attacks(["loss", "of_out", "of_lists"])
    references, shadows = assign(bank)
    before = fleet.TRACES["evaluate bank"]
    whole = evaluate(bank, attacks, references, shadows, make_mesh(2))
    assert fleet.TRACES["evaluate bank"] == before + 1
    # A threshold from a shadow, as the others have.
    assert np.isfinite(whole.threshold).all()
    parts = evaluate(bank, attacks, references, shadows, make_mesh(2), records_per_block=16)
    for name in whole._fields:
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), rtol=1e-3, atol=1e-3, err_msg=name
        )


def test_a_target_s_membership_reaches_no_score(rng):
    bank = make_bank(rng)
    references, _ = assign(bank)
    changed = bank.member.copy()
    changed[2] = changed[2][::-1]
    other = Bank(**{**vars(bank), "member": changed})
    for fn in (of_both, of_lists):
        attack_on(fn)
    attacks = get_attacks(["of_both", "of_lists"])
    before, after = (scores(b, attacks, references) for b in (bank, other))
    for name in before:
        np.testing.assert_array_equal(before[name][2], after[name][2], err_msg=name)


def returns_two(own):
    return jnp.stack([own.phi, own.phi])


def returns_nothing(own):
    own.phi + 1


def branches(own):
    return own.phi if own.phi > 0 else 0.0


def looks_elsewhere(own):
    return own.fi


def summarises_elsewhere(own, out):
    return own.phi - out.mean("fi")


def takes_another(own, others):
    return own.phi - others.mean()


def is_constant(own):
    return 0 * jnp.float32(own is not None)


def loss(own):
    return own.phi


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (returns_two, "attack 'returns_two' returns float32 of shape (2,) for one record, expected one"),
        (returns_nothing, "attack 'returns_nothing' returns NoneType for one record, expected one number"),
        (branches, "attack 'branches' cannot be computed for one record: TracerBoolConversionError: "),
        (looks_elsewhere, "attack 'looks_elsewhere' looks at own.fi; there are phi, log_p, correct"),
        (summarises_elsewhere, "attack 'summarises_elsewhere' looks at 'fi' of references; there are phi"),
        (takes_another, "attack 'takes_another' is a function of own, others; expected some of own"),
        (is_constant, "attack 'is_constant' looks at nothing of the record"),
        (loss, "attack 'loss' is jleaks's already"),
    ],
)  # fmt: skip
def test_a_bad_function_is_refused_in_one_line_when_it_is_registered(fn, words):
    with pytest.raises(InputError) as error:
        attack_on(fn)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)
    with pytest.raises(
        InputError, match="says that it needs 'none', but its arguments are own, out"
    ):
        attack_on(needs="none")(of_out)


def test_registering_starts_no_backend(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a backend was asked for")

    monkeypatch.setattr(jax, "devices", refuse)
    monkeypatch.setattr("jax._src.xla_bridge.backends", refuse)
    attack_on(of_lists)


def test_a_missing_signal_and_scores_that_are_not_finite_name_the_attack(rng):
    bank = make_bank(rng)
    attack_on(of_out)

    @attack_on
    def reciprocal(own, out):
        return 1 / (own.phi - out.median())

    bare = Bank(bank.phi, bank.member, bank.labels, bank.num_classes, bank.population)
    assert missing(ATTACKS["of_out"], bare) == "the bank has no mentr and no maximum"
    references, shadows = assign(bank)
    with pytest.raises(InputError, match="of_out cannot be run: the bank has no mentr"):
        evaluate(bare, [ATTACKS["of_out"]], references, shadows, make_mesh(1))
    phi = bank.phi.copy()
    phi[0, :, 11] = 1.5
    tied = Bank(**{**vars(bank), "phi": phi})
    message = r"^reciprocal has \d+ scores that are not finite on 8 targets \(first: target 0, record 11\)$"
    with pytest.raises(NonFiniteScoresError, match=message):
        scores(tied, [ATTACKS["reciprocal"]], references)
    with pytest.raises(NonFiniteScoresError, match=message):
        evaluate(tied, get_attacks(["reciprocal"]), references, None, make_mesh(2))


def test_every_signal_of_a_bank_can_be_looked_at():
    stored = set(Bank.__dataclass_fields__) - {
        *("member", "labels", "num_classes", "population", "twins", "num_targets", "canary"),
        *("target_part", "meta"),
    }
    assert set(per_record.SIGNALS) == stored | {"log_p"}
    documented = {line.split(":")[0].strip() for line in per_record.Own.__doc__.splitlines()}
    assert set(per_record.SIGNALS) <= documented
