"""The flags of a privacy target and of `defend`: what they stand for, and bad input in one line."""

import pytest

FLAGS = (
    *("--tasks=location", "--num_seeds=1", "--scale=0.01", "--epochs=1", "--hidden=8"),
    *("--num_random_points=20", "--attack_epochs=1", "--adversaries=1", "--kernels=xla"),
)


def test_a_target_is_met(launch, tmp_path):
    from jleaks.rows import read_rows

    flags = (*FLAGS, "--target_epsilon=3", "--delta=1e-6", "--clip=0.5")
    done = launch("launch.sweep", *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    (row,) = read_rows(tmp_path / "rows.jsonl")
    assert row["defence"] == "dpsgd_epsilon:3,0.5,0,1e-06"
    assert 2.99 < row["epsilon"] <= 3
    assert (row["delta"], row["clip"]) == (1e-6, 0.5)


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        (
            "sweep",
            ("--target_epsilon=3", "--defence=dropout:0.5"),
            "--defence is dropout:0.5 and --target_epsilon 3, expected one of the two",
        ),
        ("bank", ("--delta=1e-6",), "--delta is 1e-06, but there is no --target_epsilon"),
        ("defend", (), "--defences or --strengths names what to compare; allowed: "),
        ("defend", ("--strengths=top_k:0",), "top_k's number of classes is 0.0, expected"),
        (
            "defend",
            ("--strengths=top_k:1", "--canaries=moon:3"),
            "canaries are moon:3, expected KIND",
        ),
        (
            "bank",
            ("--canaries=clean:4000",),
            "location: canaries are clean:4000, 4000 of 4174 candidates",
        ),
    ],
)
def test_bad_flags_are_one_line(launch, tmp_path, command, flags, message):
    done = launch(f"launch.{command}", "--tasks=location", *flags, f"--workdir={tmp_path / 'x'}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
