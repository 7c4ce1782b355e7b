"""Benchmarks of growth, packing and start-up: what they say of known numbers.  Nothing is timed."""

import shutil
import subprocess

import pytest

from benchmarks import harness
from benchmarks.harness import origin
from benchmarks.scaling import growth, packing, start_up
from benchmarks.scaling.growth import growth_table
from benchmarks.scaling.packing import curve_table
from benchmarks.scaling.start_up import start_up_table
from jleaks.errors import InputError

Size, Shape = growth.Size, packing.Shape

# What every row of a run has beside what its benchmark found.
SHARED = {
    "turns": 3, "cores": 2, "cpu": "a processor", "commit": "abc", "kernels": "host", "collectives": 0,
}  # fmt: skip


def test_a_straight_line_is_found_and_all_its_slopes_are_one():
    line = growth.fit_line([16, 32, 64], [0.5 + 0.25 * size for size in (16, 32, 64)])
    assert line["origin"] == pytest.approx(0.5)
    assert line["slope"] == pytest.approx(0.25)
    assert line["neighbours"] == pytest.approx([1, 1])
    assert line["furthest"] == pytest.approx(0, abs=1e-4)


def test_a_bend_shows_in_the_slopes_between_neighbours():
    # Least squares through (0, 0), (1, 1), (2, 3): slope 3/2, at zero -1/6.
    line = growth.fit_line([0, 1, 2], [0, 1, 3])
    assert line["slope"] == pytest.approx(1.5)
    assert line["origin"] == pytest.approx(-1 / 6)
    assert line["neighbours"] == pytest.approx([1 / 1.5, 2 / 1.5], abs=1e-4)
    assert line["furthest"] == pytest.approx(1 / 3, abs=1e-4)


def test_collectives_are_counted_in_a_programs_text():
    text = """
      %all-reduce.1 = f32[4]{0} all-reduce(%x), replica_groups={}
      %s = (f32[4], f32[8]) all-gather-start(%y), dimensions={0}
      ROOT %r = f32[4]{0} fusion(%all-reduce.1), kind=kLoop
    """
    assert growth.collectives(text) == 2
    assert growth.collectives("%r = f32[4]{0} fusion(%x), kind=kLoop") == 0


def test_devices_that_share_cores_take_turns():
    # Four devices on two cores have twice the work of two; here a tenth more than that.
    assert growth.efficiencies([1, 2, 4], [1.0, 1.0, 2.2], 2) == pytest.approx([1, 1, 1 / 1.1])
    assert growth.efficiencies([4, 8], [2.0, 4.0], 2) == pytest.approx([1, 1])


def test_one_number_grows_and_the_others_are_the_middle_of_theirs():
    numbers = {"models": [1, 2, 3], "epochs": [10, 20], "records": [100]}
    assert growth.middle(numbers) == (2, 10, 100)
    assert growth.axes(numbers) == {
        "models": [Size(1, 10, 100), Size(2, 10, 100), Size(3, 10, 100)],
        "epochs": [Size(2, 10, 100), Size(2, 20, 100)],
        "records": [Size(2, 10, 100)],
    }


@pytest.mark.parametrize("texts", [["1"], ["2", "2"], ["4", "2"], ["0", "1"], ["1", "x"], []])
def test_sizes_ascend(texts):
    with pytest.raises(InputError, match=r"--models is .*, expected two or more whole numbers"):
        harness.whole_numbers("models", texts, 2)


def found(training, run, busy=2.0):
    return {"training": training, "run": run, "cores_busy": busy}


def growth_rows():
    # Training is linear; whole runs have a bend, since the last size pays once more.
    sizes = [10, 20, 30]
    turns = [
        [found(size / 10 + off, size / 10 + off + (size == 30)) for size in sizes]
        for off in (0.0, 0.5, 0.25)
    ]
    rows = [growth.axis_row(axis, sizes, turns) for axis in Size._fields]
    devices = [[found(1.0, 1.5, 1.0), found(2.0, 3.0)]] * 3
    memory = [
        {"peak": 1000 + 50 * n, "counted": 20 * n, "predicted": 21 * n, "models": n} for n in sizes
    ]
    rows += [growth.devices_row([2, 4], devices, 2), growth.memory_row(sizes, memory)]
    return [{**row, **SHARED} for row in rows]


def test_rows_of_growth():
    models, _, _, devices, memory = growth_rows()
    assert models["grows"] == "models"
    assert models["training_seconds"][0] == {"median": 1.25, "least": 1.0, "largest": 1.5}
    assert models["training_line"]["slope"] == pytest.approx(0.1)
    assert models["training_line"]["origin"] == pytest.approx(0.25)
    assert models["training_linear"]
    # Seconds 1.25, 2.25 and 4.25: 0.15 each, 0.1 and 0.2 between neighbours.
    assert models["run_line"]["neighbours"] == pytest.approx([0.6667, 1.3333])
    assert not models["run_linear"]
    assert devices["efficiency"] == [1, 1]
    assert devices["devices_share_cores"] == [False, True]
    assert devices["cores_busy"] == [1.0, 2.0]
    assert memory["peak_bytes_per_model"] == 50
    assert memory["counted_bytes_per_model"] == 20
    assert memory["predicted_bytes_per_model"] == 21


def test_the_table_of_growth_has_every_size():
    text = growth_table(growth_rows()).to_markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 * 3 + 2
    assert lines[2] == "| models | 10 | 1.250 (1.000-1.500) |  | 1.250 (1.000-1.500) |  |  |"
    assert lines[4].split(" | ")[3:6] == ["1.0", "4.250 (4.000-4.500)", "1.3333"]
    assert "Collectives in compiled programs: 0." in text


def test_the_knee_is_the_smallest_within_five_percent_of_the_best():
    assert harness.knee([2, 4, 8, 16], [90, 95, 100, 97]) == 4
    assert harness.knee([2, 4, 8, 16], [90, 94.9, 100, 97]) == 8
    assert harness.knee([16, 2], [100, 100]) == 2


def test_curves_cross_no_further_than_a_device_has_models():
    calls, groups = packing.shapes([2, 4, 8], [1, 2], Shape(6, 2), 2)
    assert calls == [Shape(2, 1), Shape(4, 2), Shape(6, 2), Shape(8, 2)]
    # Two of the largest groups on each of two devices.
    assert groups == [Shape(8, 1), Shape(8, 2)]
    calls, groups = packing.shapes([2, 4], [1, 2, 8], Shape(4, 1), 2)
    assert calls == [Shape(2, 1), Shape(4, 1)]
    assert groups == [Shape(4, 1), Shape(4, 2)]


def curve_rows():
    rates = {
        Shape(2, 1): [70.0, 80.0, 90.0],
        Shape(4, 1): [96.0, 99.0, 90.0],
        Shape(8, 1): [98.0, 90.0, 99.0],
        Shape(8, 2): [50.0, 100.0, 120.0],
    }
    calls, groups = [Shape(2, 1), Shape(4, 1), Shape(8, 1)], [Shape(8, 1), Shape(8, 2)]
    row = packing.curve_row(calls, groups, Shape(8, 1), rates)
    about = {"model": "mlp", "kernels": "host", "flops_per_step": 2e9}
    return [{**row, **SHARED, **about}]


def test_rows_of_packing():
    (row,) = curve_rows()
    assert [(c["per_call"], c["per_vmap"]) for c in row["cells"]] == [
        (2, 1),
        (4, 1),
        (8, 1),
        (8, 2),
    ]
    assert row["cells"][0]["steps_per_second"] == {"median": 80, "least": 70, "largest": 90}
    assert row["best"] == {"per_call": 8, "per_vmap": 2}
    assert row["chosen"] == {"per_call": 8, "per_vmap": 1}
    assert row["chosen_share_of_best"] == 0.98
    assert row["knee_per_call"] == 4
    assert row["knee_per_vmap"] == 1


def test_the_table_of_packing_marks_the_choice():
    text = curve_table(curve_rows()).to_markdown()
    assert "| **mlp** | **host** | **8** | **1** | **98 (90-99)** | **196** | **0.98** |" in text
    assert "knees at 4 per call and 1 per instruction, chosen 0.980 of the best" in text


def start_up_rows():
    def one(compiling, compiled, read):
        stages = {"imports": 1.0, "devices and kernels": 0.5, "tracing and lowering": 2.0}
        stages |= {"compiling": compiling, "rest": 0.5}
        return {**stages, "total": sum(stages.values()), "compiled": compiled, "read": read}

    turns = [{"empty": one(time, 6, 0), "warm": one(1.0, 4, 2)} for time in (6.0, 8.5, 3.5)]
    row = start_up.start_up_row("mlp", turns)
    return [{**row, **SHARED, "kernels_build_seconds": 12.3}]


def test_rows_of_start_up():
    (row,) = start_up_rows()
    assert row["empty"]["total"] == {"median": 10.0, "least": 7.5, "largest": 12.5}
    assert row["empty"]["compiling"]["median"] == 6.0
    assert row["warm"]["total"]["median"] == 5.0
    assert (row["warm"]["compiled"], row["warm"]["read"]) == (4, 2)
    assert row["empty_to_warm"] == {"median": 2.0, "least": 1.5, "largest": 2.5}


def test_the_table_of_start_up_tells_of_the_kernels():
    rows = start_up_rows()
    text = start_up_table(rows).to_markdown()
    line = "| mlp | warm | 5.0 (5.0-5.0) | 1.00 | 0.50 | 2.00 | 1.00 | 0.50 | 4 + 2 | 2.0 |"
    assert line in text
    assert "took 12.3 s before" in text
    text = start_up_table([{**rows[0], "kernels_build_seconds": None}]).to_markdown()
    assert "no kernels of the host were built" in text


def test_every_network_starts_up():
    assert set(start_up.ARCHITECTURES) == {"mlp", "logistic", "cnn", "resnet18", "wrn28_2"}
    for name, architecture in start_up.ARCHITECTURES.items():
        assert architecture.recipe.model == name
        assert architecture.recipe.epochs == 1
        assert architecture.recipe.problems(name) == []


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        ("growth", ["--records=50,100"], "--records has 50, less than one batch of 100"),
        ("packing", ["--kernels=gpu"], "--kernels names gpu; allowed: host, xla"),
        ("packing", ["--calls=", "--cnn_calls="], "nothing to measure"),
        ("start_up", ["--architectures=vgg"], "--architectures names vgg; allowed: mlp, "),
    ],
)
def test_bad_flags_are_one_line_and_status_two(launch, module, flags, message):
    done = launch(f"benchmarks.scaling.{module}", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_rows_that_a_run_appended_do_not_count_as_changed_sources(monkeypatch, tmp_path):
    def git(*command):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *who, *command], check=True)

    source, row = tmp_path / "jleaks" / "a.py", tmp_path / "results" / "a.jsonl"
    for path in (source, row):
        path.parent.mkdir()
        path.write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(origin, "_ROOT", tmp_path)
    clean = harness.machine()["commit"]
    assert len(clean) == 12
    row.write_text("{}")
    assert harness.machine()["commit"] == clean
    source.write_text("changed = True")
    assert harness.machine()["commit"] == f"{clean}-dirty"
    monkeypatch.setattr(origin.shutil, "which", lambda _: None)
    assert harness.machine()["commit"] == "unknown"
