"""An own experiment, end to end: its rows are those of cases by hand, and never shown as another's."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jleaks import registry
from jleaks.errors import InputError
from jleaks.experiments import engine
from jleaks.experiments.case import Case
from jleaks.experiments.case_attacks import CASE_ATTACKS, Attack, CaseAttack
from jleaks.experiments.cases import attacked
from jleaks.experiments.designs import Design, Figure
from jleaks.experiments.experiment import EXPERIMENTS, Experiment, experiment, resolve
from jleaks.experiments.paper_plan import make_plan
from jleaks.report.report import report_experiment
from jleaks.training.execution import Execution
from jleaks.training.recipe import Recipe
from jleaks.training.reporter import Reporter

PLUGIN = Path(__file__).parents[2] / "examples" / "own_experiment.py"
EXECUTION = Execution(models_per_vmap=1)
PLAN = make_plan(
    "smoke",
    ("location",),
    num_seeds=2,
    changes={
        "target": Recipe(hidden=(16,), epochs=2),
        "attack": Recipe("mlp", (8,), 2, 50, 1e-2),
        "num_random_points": 50,
        "epochs": (1, 2),
    },
)


@pytest.fixture(autouse=True)
def _registries():
    """Leaves registries as they were."""
    kept = [(r, dict(r._entries), dict(r._origins)) for r in (EXPERIMENTS, CASE_ATTACKS)]
    yield
    for one, entries, origins in kept:
        one._entries, one._origins = entries, origins


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Where the tests' models are kept, trained once."""
    return str(tmp_path_factory.mktemp("models"))


def run(names, workdir, models, plan=PLAN):
    lines = []
    reporter = Reporter(line=lines.append)
    return engine.run(plan, names, EXECUTION, str(workdir), None, models, "", reporter), lines


def loaded(tmp_path):
    """Loads the example, narrower, from a file that can be edited."""
    path = tmp_path / "own.py"
    path.write_text(PLUGIN.read_text().replace("(32, 128, 512)", "(4, 16)"))
    registry.load(str(path))
    return path


METRICS = ("auc", "accuracy", "precision", "recall", "train_loss", "test_accuracy")


def test_rows_table_and_figure_follow_from_cases(tmp_path, models):
    loaded(tmp_path)
    assert resolve(["width", "shadows"]) == ["E6", "width"]
    found, _ = run(["width"], tmp_path / "run", models)
    rows = found["width"]
    assert [r["variant"]["hidden"] for r in rows] == [4, 16, 4, 16]
    assert {r["experiment"] for r in rows} == {"width"}
    digest = EXPERIMENTS.digests("width")["width"]
    assert all(r["plugins"] == {"experiment width": digest} for r in rows)
    with engine.opened(PLAN, EXECUTION, tmp_path / "hand", models_dir=models) as job:
        network = job.layout.network("location")
        by_hand = [
            Case(
                "adversary 1",
                job.layout.target("location", seed, dataclasses.replace(network, hidden=(width,))),
                [job.layout.shadow("location", seed)],
                {"hidden": width},
                top=3,
            )
            for seed in (0, 1)
            for width in (4, 16)
        ]
        expected = attacked(job, "width", by_hand)
        assert job.querier.library.num_trained == 0
    for row, other in zip(rows, expected, strict=True):
        assert [row[name] for name in METRICS] == [other[name] for name in METRICS]
    # Two widths are two models.
    assert rows[0]["train_loss"] != rows[1]["train_loss"]
    folder = tmp_path / "run" / "width"
    paths = report_experiment("width", rows, folder)
    assert [path.name for path in paths] == ["table.md", "figure.png"]
    text = (folder / "table.md").read_text()
    assert text.startswith("# width. width\n\nDoes a wider target leak more")
    assert "| Hidden |" in text
    assert "±" in text
    assert "AUC" in text.split("**Here.**")[1].splitlines()[0]


def test_an_edited_file_never_shows_its_former_rows(tmp_path, models):
    path = loaded(tmp_path)
    rows, _ = run(["width"], tmp_path / "run", models)
    again, lines = run(["width"], tmp_path / "run", models)
    assert lines == ["width: finished before"]
    assert again == json.loads(json.dumps(rows))
    path.write_text(path.read_text().replace("(4, 16)", "(4, 8)"))
    registry.load(str(path))
    with pytest.raises(InputError, match=r"another experiment width \(its file was edited\); dele"):
        run(["width"], tmp_path / "run", models)
    shutil.rmtree(tmp_path / "run" / "width")
    found, _ = run(["width"], tmp_path / "run", models)
    assert [r["variant"]["hidden"] for r in found["width"]] == [4, 8, 4, 8]


def own(cases, name="own", **fields):
    return EXPERIMENTS.register(name, Experiment(name, "", name, "Why?", cases, **fields))


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (lambda _: [], "own has no case on location"),
        (lambda _: [3], "an experiment gave 3 for a case"),
        (lambda run: [Case("adversary 1", run.target("location", 0))], "are of no task, expected"),
        (lambda run: [Case("adversary 4", run.target("location", 0))], "unknown case attack"),
        (
            lambda run: [
                Case("adversary 3", run.target("location", 0), [run.shadow("location", 0)])
            ],
            "it has 1 shadows, expected none",
        ),
        (
            lambda run: [
                Case("adversary 3", run.target("location", 0, defence="stacking:1"), access="http")
            ],
            "the stacking target model of location, seed 0 is not a network; only networks are",
        ),
        (lambda run: [run.target("location", 0, width=3)], "with width, expected some of model"),
        (lambda run: [run.target("location", 0, epochs=0)], "epochs is 0, expected at least 1"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_run_is_one_line_before_training(cases, message, tmp_path):
    own(cases)
    with pytest.raises(InputError, match=message):
        run(["own"], tmp_path, None)
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("models", {}, "a run's models lie there"),
        ("shadows", {}, "'shadows' is a name of E6 already"),
        ("mine", {"alias": "shadows"}, "'shadows' is a name of E6 already"),
        ("mine", {"alias": "E6"}, "'E6' is a name of E6 already"),
        ("mine", {"table": "series"}, "a series needs varies"),
        ("E6", {}, "experiment 'E6' is jleaks's already"),
        ("all", {}, "and not 'all'"),
    ],
)
def test_names_that_are_taken(name, fields, message):
    with pytest.raises(InputError, match=message):
        experiment(name, question="Why?", **fields)(lambda _: [])


def test_the_papers_list_of_tasks_hides_nothing(tmp_path, models):
    """E3 was made for two other tasks: it runs on those chosen, and says so."""
    found, lines = run(["E3"], tmp_path, models)
    assert lines[0] == (
        "E3: made for cifar100, purchase100, of which none was chosen; run on location"
    )
    assert {(r["task"], r["variant"]["epochs"]) for r in found["E3"]} == {
        ("location", 1),
        ("location", 2),
    }


def test_tasks_that_an_experiment_was_not_made_for_are_named(tmp_path, models):
    plan = make_plan(
        "smoke",
        ("adult", "location"),
        num_seeds=1,
        changes={"target": PLAN.target, "attack": PLAN.attack, "tops": (1,)},
    )
    found, lines = run(["E5"], tmp_path, models, plan)
    assert "E5: made for cifar100, location, news, purchase100; not run on adult" in lines
    assert {row["task"] for row in found["E5"]} == {"location"}


def test_an_own_case_attack(tmp_path, models):
    """Whoever is right is called a member: no shadow, no threshold to learn."""

    def by_correctness(job, cases, answered, _):
        found = []
        for case in cases:
            target = answered.target(job, case)
            found.append([Attack(case, target, (), target.correct.astype(float), 0.5)])
        return found

    CASE_ATTACKS.register("gap", CaseAttack("gap", "Gap", by_correctness, labels=True))
    own(lambda run: [Case("gap", run.target(*draw)) for draw in run.draws()])
    rows = run(["own"], tmp_path, models)[0]["own"]
    for row in rows:
        train, test = row["train_accuracy"], row["test_accuracy"]
        assert row["accuracy"] == pytest.approx((1 + train - test) / 2, abs=1e-6)
        assert row["plugins"].keys() == {"experiment own", "case attack gap"}
    paths = report_experiment("own", rows, tmp_path / "own")
    assert "Gap" in paths[0].read_text()


def test_an_own_design(tmp_path, models):
    """What is compared, and the figure, are the design's."""

    def widths(run):
        for task, seed in run.draws():
            for hidden in (4, 16):
                target = run.target(task, seed, hidden=(hidden,))
                yield Case("adversary 1", target, [run.shadow(task, seed)], {"hidden": hidden})

    figure = Figure("curves", along="hidden", xlabel="Hidden units", file="widths.png")
    design = Design(entries=("hidden",), heading="width", reference=4, figures=(figure,))
    experiment("own", question="Why?", varies=("hidden",), design=design)(widths)
    rows = run(["own"], tmp_path, models)[0]["own"]
    paths = report_experiment("own", rows, tmp_path / "own")
    assert [path.name for path in paths] == ["table.md", "widths.png"]
    text = paths[0].read_text()
    assert "own: differences by width, each minus 4" in text
    first, second = (
        np.mean([r["auc"] for r in rows if r["variant"]["hidden"] == n]) for n in (4, 16)
    )
    (line,) = (line for line in text.splitlines() if line.startswith("| AUC | Location"))
    assert f"{second - first:+.3f}" in line


def test_from_the_command_line(launch, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(PLUGIN.read_text().replace("(32, 128, 512)", "(4, 16)"))
    flags = (
        *("--tasks=location", "--num_seeds=1", "--attack_epochs=1", "--kernels=xla"),
        f"--workdir={tmp_path / 'run'}",
    )
    unknown = launch("launch.paper", "--experiment=width", *flags)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: unknown experiment 'width'; allowed: all, E1,")
    done = launch("launch.paper", "--experiment=width", f"--plugin={path}", *flags)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "width" / "figure.png").exists()
    assert (tmp_path / "run" / "width" / "table.md").exists()


def test_thresholds_against_memguard(tmp_path, models):
    """No budget changes nothing, no budget changes who is right, and thresholds are the attack's own."""
    path = tmp_path / "guard.py"
    text = (PLUGIN.parent / "memguard_thresholds.py").read_text()
    path.write_text(text.replace("(0.0, 0.1, 0.3, 0.5, 0.7, 1.0)", "(0.0, 2.0)"))
    registry.load(str(path))
    # Two further networks train on halves.
    target = dataclasses.replace(PLAN.target, batch_size=10)
    plan = dataclasses.replace(PLAN, target=target)
    rows = run(["memguard"], tmp_path / "run", models, plan)[0]["memguard"]

    def found(attack, attacker, budget):
        return [
            r
            for r in rows
            if (r["attack"], r["variant"]) == (attack, {"budget": budget, "attacker": attacker})
        ]

    for attack in ("attack model", "class thresholds"):
        naive, aware = (found(attack, who, 0.0) for who in ("naive", "aware"))
        assert [r["auc"] for r in naive] == [r["auc"] for r in aware]
    for row in found("correctness", "naive", 0.0) + found("correctness", "naive", 2.0):
        gap = row["train_accuracy"] - row["test_accuracy"]
        assert row["accuracy"] == pytest.approx((1 + gap) / 2, abs=1e-6)
    for one, other in zip(
        found("correctness", "naive", 0.0), found("correctness", "naive", 2.0), strict=True
    ):
        assert one["accuracy"] == other["accuracy"]
        assert one["train_loss"] != other["train_loss"]
    assert len(rows) == 2 * 2 * 5
