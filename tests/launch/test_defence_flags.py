"""The flags of a privacy target: what they stand for."""

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
