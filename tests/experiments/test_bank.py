"""Banks end to end: training, resuming, null checks, score files from elsewhere, bad input."""

import json

import naive_attacks as naive
import numpy as np
import pytest
from conftest import ROUGH

from benchmarks.scaling.growth import collectives
from jleaks.attacks import bank as bank_lib
from jleaks.attacks import bank_arrays, score_files
from jleaks.attacks import evaluate_bank as evaluate_lib
from jleaks.attacks.bank import Bank
from jleaks.attacks.evaluate_bank import evaluate, scores
from jleaks.attacks.references import assign
from jleaks.attacks.registry import ATTACKS
from jleaks.attacks.requirements import missing
from jleaks.data.splits import halves
from jleaks.errors import InputError
from jleaks.experiments import bank_results
from jleaks.experiments.bank import train_bank
from jleaks.experiments.bank_audits import audit
from jleaks.experiments.bank_plan import BankPlan, default_sizes
from jleaks.report.bank_tables import records_table
from jleaks.training import fleet
from jleaks.training.execution import Execution
from jleaks.training.fleet import make_mesh
from jleaks.training.progress import Progress
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

RECIPE = Recipe(hidden=(32,), epochs=30, batch_size=20, learning_rate=3e-3)


def plan(**changes) -> BankPlan:
    fields = {"num_models": 16, "num_candidates": 400, "num_population": 60, "num_queries": 3}
    return BankPlan(task="location", recipe=RECIPE, **{**fields, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, Bank]:
    folder = str(tmp_path_factory.mktemp("bank"))
    return folder, train_bank(plan(), Execution(), folder)


def mean_auc(bank: Bank, *names: str) -> dict[str, float]:
    attacks = [ATTACKS[name] for name in names]
    found = evaluate(bank, attacks, *assign(bank), make_mesh(2))
    return dict(zip(names, np.asarray(found.auc).mean(1).tolist(), strict=True))


def test_every_record_is_in_half_of_the_models_and_twins_share_them():
    found = halves("location", 3, 500, 10, 300, 50)
    assert (found.member.sum(0) == 5).all()
    assert (found.member.sum(1) == 150).all()
    assert (found.member[0::2] != found.member[1::2]).all()
    assert len(np.unique(np.concatenate([found.candidates, found.population]))) == 350
    # Pairs are independent draws, and more models leave the first ones as they are.
    overlap = (found.member[0::2][:, None] & found.member[0::2]).sum(-1)[~np.eye(5, dtype=bool)]
    assert (np.abs(overlap - 75) < 30).all()
    more = halves("location", 3, 500, 14, 300, 50)
    np.testing.assert_array_equal(more.member[:10], found.member)


def test_references_leave_out_target_and_twin_and_are_nested():
    member = halves("location", 0, 100, 10, 100, 0).member
    bank = Bank(
        np.zeros((1, 10, 100), np.float32),
        member,
        np.zeros(100, np.int32),
        2,
        np.zeros(100, bool),
        twins=True,
    )
    whole, shadows = assign(bank)
    assert whole.models.shape == (10, 8)
    assert shadows is not None
    for target in range(10):
        mine, others = set(whole.models[target]), set(shadows.models[target])
        assert mine == set(range(10)) - {target, target ^ 1}
        shadow = int(shadows.targets[target])
        assert shadow in mine
        assert others == mine - {shadow, shadow ^ 1}
        # The count of references that hold a record says nothing of the target.
        for count in (2, 4, 8):
            few = assign(bank, count)[0].models[target]
            assert set(few) <= mine
            assert (member[few].sum(0) == count // 2).all()
    assert assign(bank, 2)[1].models.shape == (10, 0)
    with pytest.raises(
        InputError, match="9 references were asked for; a bank of 10 models has up to 8"
    ):
        assign(bank, 9)


def test_a_bank_is_trained_on_its_members_and_attacked_better_with_references(trained):
    _, bank = trained
    members, others = bank.accuracy()
    assert members > 0.95
    assert members > others + 0.1
    assert bank.phi.shape == (3, 16, 460)
    assert bank.population.sum() == 60
    found = mean_auc(bank, "loss", "lira_online", "rmia_online")
    assert found["lira_online"] > found["loss"] > 0.55
    assert found["rmia_online"] > found["loss"]


def test_a_finished_bank_is_read_again_and_another_plan_refused(trained):
    folder, bank = trained
    again = train_bank(plan(), Execution(), folder)
    np.testing.assert_array_equal(again.phi, bank.phi)
    with pytest.raises(InputError, match=r"num_models: 16 -> 18"):
        train_bank(plan(num_models=18), Execution(), folder)


def test_training_seconds_count_interrupted_processes(tmp_path):
    told = []

    def crash(p: Progress) -> None:
        told.append(p.seconds)
        if len(told) == 3:
            raise KeyboardInterrupt

    few = plan(num_models=4, num_population=0)
    by_epoch = Execution(chunk_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        train_bank(few, by_epoch, str(tmp_path), reporter=Reporter(progress=crash))
    (path,) = (tmp_path / "fleets").glob("*.seconds.json")
    content = path.read_text()
    path.write_text("{}")
    with pytest.raises(InputError, match=r"seconds.json is damaged"):
        train_bank(few, Execution(), str(tmp_path))
    path.write_text(content)
    again = []
    bank = train_bank(
        few,
        Execution(),
        str(tmp_path),
        reporter=Reporter(progress=lambda p: again.append(p.seconds)),
    )
    assert bank.meta["seconds"]["training"] >= told[-1] + again[-1]
    assert not list((tmp_path / "fleets").iterdir())


def test_a_model_s_answers_do_not_depend_on_how_many_models_there_are(trained, tmp_path):
    _, bank = trained
    fewer = train_bank(
        plan(num_models=6), Execution(models_per_call=3, num_devices=1), str(tmp_path)
    )
    np.testing.assert_array_equal(fewer.member, bank.member[:6])
    np.testing.assert_allclose(fewer.phi, bank.phi[:, :6], rtol=0.02, atol=0.02)


def test_perturbed_queries_answer_less_confidently(trained):
    _, bank = trained
    means = bank.phi[:, bank.member].mean(1)
    assert means[0] > means[1] > means[2]


@pytest.mark.parametrize("null", ["shuffled", "untrained"])
def test_on_a_null_bank_every_attack_fails(null, tmp_path):
    bank = train_bank(plan(null=null, loss_trace=4), Execution(), str(tmp_path))
    attacks = [attack for attack in ATTACKS.values() if missing(attack, bank) is None]
    found = np.asarray(evaluate(bank, attacks, *assign(bank), make_mesh(2)).auc).mean(1)
    # 8 independent pairs of targets of 200 members and 200 others each: the standard error of the
    # mean AUC is below 0.029 / sqrt(8) = 0.0103.
    assert np.abs(found - 0.5).max() < 4.5 * 0.0103, dict(
        zip([a.name for a in attacks], found, strict=True)
    )


def test_random_answers_give_auc_one_half_whatever_the_number_of_references(rng):
    names = ("calibrated", "lira_online_record", "bavaria", "rmia_offline", "attack_r")
    attacks = [ATTACKS[name] for name in names]
    found = []
    for _ in range(30):
        slow = naive.random_bank(rng, 6, 120, num_queries=1, null=True)
        bank = Bank(
            slow.phi, slow.member, slow.labels, slow.num_classes, slow.population,
            phi_t=slow.phi_t, twins=True,
        )  # fmt: skip
        found.append(np.asarray(evaluate(bank, attacks, *assign(bank), make_mesh(2)).auc).mean(1))
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(mean - 0.5) < 4.5 * error).all(), dict(zip(names, mean, strict=True))


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_score_file_gives_what_the_bank_gives(rng, tmp_path, suffix):
    slow = naive.random_bank(rng, 6, 50, num_queries=2, num_population=10)
    path = tmp_path / f"scores{suffix}"
    if suffix == ".npz":
        np.savez(
            path,
            logits=slow.logits,
            member=slow.member.astype(np.uint8),
            labels=slow.labels,
            population=slow.population,
        )
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        query, model, record = (i.ravel() for i in np.indices(slow.phi.shape))
        columns = {
            "query": query,
            "model": model,
            "record": record,
            "label": slow.labels[record],
            "member": slow.member[model, record],
            "population": slow.population[record],
            "phi": slow.phi.ravel(),
        }
        parquet.write_table(pyarrow.table(columns), path)
    bank = score_files.read(path)
    assert bank.twins
    np.testing.assert_allclose(bank.phi, slow.phi, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(bank.member, slow.member)
    if suffix == ".npz":
        for name in ("phi_t", "mentr", "maximum", "entropy", "correct"):
            np.testing.assert_allclose(
                getattr(bank, name), getattr(slow, name), rtol=1e-3, atol=1e-5, err_msg=name
            )
    assert missing(ATTACKS["lira_online_queries"], bank) is None


def test_damaged_or_unfit_score_files_are_one_clear_line(rng, tmp_path):
    slow = naive.random_bank(rng, 4, 20, num_queries=1)
    good = {"phi": slow.phi[0], "member": slow.member, "labels": slow.labels}

    def refuses(message: str, **changes) -> None:
        path = tmp_path / "scores.npz"
        arrays = {k: v for k, v in {**good, **changes}.items() if v is not None}
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message) as caught:
            score_files.read(path)
        assert "\n" not in str(caught.value)

    nan = good["phi"].copy()
    nan[1, 2] = np.nan
    refuses("no phi or logits", phi=None)
    refuses("no member", member=None)
    refuses("phi has 1 values that are not finite", phi=nan)
    refuses(r"phi has shape|member has shape", phi=good["phi"][:, :-1])
    refuses(r"model \d, record \d+ has member 2, expected 0 or 1", member=slow.member * 2)
    refuses("record 0 has label .*, expected a whole number", labels=slow.labels + 0.5)
    refuses("model 0 has no non-members", member=np.ones_like(slow.member))
    refuses("a population record is a member", population=np.ones(20, bool))
    refuses("logits have shape", logits=np.zeros((4, 19, 4), np.float32))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "scores.csv").write_text("")
    for name, message in {
        "broken.npz": "is damaged",
        "absent.npz": "does not exist",
        "scores.csv": "neither .npz nor .parquet",
    }.items():
        with pytest.raises(InputError, match=message):
            score_files.read(tmp_path / name)


def test_a_bank_s_file_is_checked(trained, tmp_path):
    _, bank = trained
    bank.save(tmp_path / "bank.npz")
    again = bank_lib.load(tmp_path / "bank.npz")
    assert again.meta == bank.meta
    assert score_files.read(tmp_path / "bank.npz").twins
    (tmp_path / "cut.npz").write_bytes((tmp_path / "bank.npz").read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        bank_lib.load(tmp_path / "cut.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_models": 5}, "num_models is 5, expected an even number"),
        ({"num_candidates": 401}, "num_candidates is 401"),
        ({"num_candidates": 30}, "batch_size is 20 but each model trains on only 15"),
        ({"num_population": -1}, "num_population is -1"),
        ({"num_queries": 0}, "num_queries is 0"),
        ({"noise": 0.0}, "noise is 0.0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_bad_plans_name_the_problem(changes, message):
    with pytest.raises(InputError, match=message):
        plan(**changes).validate()


def test_default_sizes_hold_out_a_sixth():
    assert default_sizes(60_000) == (50_000, 10_000)
    assert default_sizes(5_010) == (4_174, 835)


def test_rows_and_summary_agree_with_the_metrics(trained):
    _, bank = trained
    attacks = [ATTACKS[name] for name in ("loss", "lira_online")]
    references, shadows = assign(bank)
    metrics = evaluate(bank, attacks, references, shadows, make_mesh(1))
    rows = bank_results.attack_rows(bank, attacks, metrics, references)
    assert len(rows) == 2 * 16
    for row in rows:
        assert row["tpr_low_0.01"] <= row["tpr_at_fpr_0.01"] <= row["tpr_high_0.01"]
        assert row["fpr_realised_0.01"] <= 0.01
    summary = bank_results.summarise(rows, attacks, metrics)
    found = scores(bank, attacks, references, shadows)["lira_online"][0][~bank.population]
    expected = naive.auc(found, bank.member[0][~bank.population])
    assert rows[16]["auc"] == pytest.approx(expected, abs=1e-5)
    assert summary[1]["auc"]["mean"] == pytest.approx(
        np.mean([r["auc"] for r in rows[16:]]), rel=1e-4
    )
    json.dumps(summary, allow_nan=False)


@pytest.fixture
def answers(rng) -> Bank:
    """A bank of random answers with several queries and records held out."""
    slow = naive.random_bank(rng, 8, 90, num_queries=3, num_population=10)
    return Bank(
        *(slow.phi, slow.member, slow.labels, slow.num_classes, slow.population),
        correct=slow.correct,
        phi_t=slow.phi_t,
        mentr=slow.mentr,
        twins=True,
    )


@pytest.mark.parametrize(
    ("names", "num_records"),
    [
        (("loss",), 400),
        (("lira_online", "rmia_online"), 400),
        (("lira_online_queries", "bavaria", "class_thresholds"), 1600),
    ],
)
def test_evaluating_takes_no_more_memory_than_is_set_aside(rng, names, num_records):
    slow = naive.random_bank(rng, 32, num_records, num_queries=3)
    fields = ("phi", "member", "labels", "num_classes", "population", "correct", "phi_t", "mentr")
    bank = Bank(**{name: getattr(slow, name) for name in fields}, twins=True)
    kinds = tuple(ATTACKS[name] for name in names)
    mesh = make_mesh(2)
    references, shadows = assign(bank)
    program = evaluate_lib.lowered(bank, kinds, references, shadows, mesh)
    found = program.compile(compiler_options=ROUGH).memory_analysis()
    arrays = bank_arrays.bank_arrays(bank, kinds, (references, shadows))
    taken = mesh.size * (found.temp_size_in_bytes + found.argument_size_in_bytes)
    allowed = bank_arrays.bytes_per_record(arrays, kinds, bank.num_models, mesh) * num_records
    # Linear in the records, and no larger than what decides whether a bank fits.
    assert 0.05 * allowed < taken < allowed


def test_nothing_passes_between_devices(answers):
    attacks = [
        ATTACKS[name] for name in ("lira_online", "bavaria", "informia_online", "class_thresholds")
    ]
    program = evaluate_lib.lowered(answers, attacks, *assign(answers), make_mesh(4))
    program = program.compile(compiler_options=ROUGH)
    # Host devices that wait for each other may wait for ever: XLA runs both on the same few threads.
    assert "num_partitions=4" in program.as_text()
    assert not collectives(program.as_text())


def test_a_bank_that_does_not_fit_is_evaluated_in_blocks(answers, monkeypatch):
    attacks = [ATTACKS["rmia_offline"]]
    references, shadows = assign(answers)
    whole = evaluate(answers, attacks, references, shadows, make_mesh(2))
    arrays = bank_arrays.bank_arrays(answers, attacks, (references, shadows))
    # On two devices, of which 0.4 is taken: enough for 20 of 90 records.
    per_record = bank_arrays.bytes_per_record(arrays, attacks, 8, make_mesh(2))
    monkeypatch.setattr(bank_arrays, "device_memory", lambda _: 25 * per_record)
    before = fleet.TRACES["score block"]
    parts = evaluate(answers, attacks, references, shadows, make_mesh(2))
    assert fleet.TRACES["score block"] > before
    np.testing.assert_allclose(parts.auc, whole.auc, atol=1e-3)


@pytest.mark.parametrize("num_targets", [2, 4])
def test_targets_that_do_not_fit_together_are_attacked_some_at_a_time(
    answers, monkeypatch, num_targets
):
    attacks = [ATTACKS[name] for name in ("rmia_offline", "class_thresholds", "lira_online")]
    references, shadows = assign(answers)
    args = answers, attacks, references, shadows
    whole = evaluate(*args, make_mesh(2))
    arrays = bank_arrays.bank_arrays(answers, attacks, (references, shadows))
    # As on other devices, which attack as many at a time as fit.
    monkeypatch.setattr(bank_arrays, "of_cpu", lambda _: False)
    enough = bank_arrays.bytes_per_record(arrays, attacks, num_targets, make_mesh(2)) * 90
    monkeypatch.setattr(bank_arrays, "device_memory", lambda _: enough / 2 / 0.4 + 1)
    before = fleet.TRACES["evaluate bank"], fleet.TRACES["score block"]
    parts = evaluate(*args, make_mesh(2))
    after = fleet.TRACES["evaluate bank"], fleet.TRACES["score block"]
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)
    for name in whole._fields:
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize(("targets", "expected"), [(4, 4), (5, 6), (7, 4), (16, 4), (1, 2)])
def test_targets_are_attacked_by_halves_where_not_all_fit(answers, monkeypatch, targets, expected):
    arrays = bank_arrays.bank_arrays(answers, [ATTACKS["loss"]], assign(answers))
    mesh = make_mesh(2)
    # On a CPU one a device, whatever fits.
    assert bank_arrays.targets_at_once(arrays, [ATTACKS["loss"]], targets, mesh) == 2
    monkeypatch.setattr(bank_arrays, "of_cpu", lambda _: False)
    # For six targets, three a device.
    enough = bank_arrays.bytes_per_record(arrays, [ATTACKS["loss"]], 6, mesh) * 90
    monkeypatch.setattr(bank_arrays, "device_memory", lambda _: enough / 2 / 0.4 + 1)
    assert bank_arrays.targets_at_once(arrays, [ATTACKS["loss"]], targets, mesh) == expected


def test_scores_are_the_same_for_some_targets_at_a_time(answers, monkeypatch):
    attacks = [ATTACKS[name] for name in ("lira_online", "rmia_online", "attack_p")]
    args = answers, attacks, *assign(answers)
    whole = scores(*args)
    # Three of the targets at a time, which their number is no multiple of.
    monkeypatch.setattr(evaluate_lib, "targets_at_once", lambda *_: 3)
    parts = scores(*args)
    for name, rows in whole.items():
        assert rows.shape == parts[name].shape == answers.member.shape
        np.testing.assert_allclose(parts[name], rows, rtol=1e-5, atol=1e-6, err_msg=name)


def test_summaries_say_how_the_models_were_trained(trained):
    _, bank = trained
    found = bank_results.recipe(bank)
    assert found is not None
    assert (found["model"], found["hidden"], found["epochs"]) == ("mlp", [32], 30)
    assert found["optimizer"] == "adam"
    bare = Bank(bank.phi, bank.member, bank.labels, bank.num_classes, bank.population)
    assert bank_results.recipe(bare) is None


def test_audits_have_bounds_and_intervals_over_records(answers):
    attacks = [ATTACKS["loss"]]
    found = audit(answers, attacks)
    assert [r["target"] for r in found] == list(range(8))
    aucs = np.asarray(evaluate(answers, attacks, *assign(answers), make_mesh(1)).auc)[0]
    for r in found:
        assert r["auc"]["mean"] == pytest.approx(aucs[r["target"]], abs=1e-5)
        assert r["auc"]["low"] < r["auc"]["mean"] < r["auc"]["high"]
        assert 0 <= r["epsilon_one_run"] < 10
        assert r["num_members"] + r["num_nonmembers"] == 80
    rows = records_table(found).rows
    assert [row[1].text for row in rows] == ["least", "median", "largest"]
    assert float(rows[0][3].text) == pytest.approx(aucs.min(), abs=1e-4)
