"""benchmarks.attack_cost on shadow models: nested subsets, their costs, and refusals."""

import json

import pytest


def test_precision_beside_cost_of_nested_shadows(launch, tmp_path):
    flags = ("--tasks=location", "--counts=1,3", "--scale=smoke", "--num_seeds=1")
    done = launch("benchmarks.attack_cost", *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "shadow cost"
    one, three = (json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines())
    assert (one["variant"], three["variant"]) == ({"num_shadows": 1}, {"num_shadows": 3})
    assert three["shadow_flops"] == pytest.approx(3 * one["shadow_flops"])
    # The three were trained as one fleet, so each took a third of it.
    assert three["shadow_seconds"] == pytest.approx(3 * one["shadow_seconds"])
    assert one["attack_seconds"] > 0
    assert str(tmp_path) not in one["command"]
    table = (folder / "table.md").read_text()
    tflop = f"{three['shadow_flops'] / 1e12:.3g}"
    (line,) = [line for line in table.splitlines() if line.startswith("| Shadow training, TFLOP")]
    assert line.endswith(f"| {tflop} |")
    assert "Attack training, device-seconds" in table
    assert (folder / "figure_cost.png").stat().st_size > 10_000

    again = launch("benchmarks.attack_cost", *flags, f"--workdir={tmp_path}")
    assert again.returncode == 0
    assert "models trained" not in again.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "name either --tasks or --banks"),
        (("--tasks=location", "--banks=x.npz"), "name either --tasks or --banks"),
        (("--tasks=moon",), "unknown task 'moon'"),
        (("--tasks=location", "--counts=0"), "--counts is 0"),
    ],
)
def test_bad_input_is_one_line(launch, tmp_path, flags, message):
    done = launch("benchmarks.attack_cost", *flags, f"--workdir={tmp_path}/x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
