"""Networks of one's own as their files in examples/ have them, from the command line to answers."""

import json
import shutil

import jax
import numpy as np
import pytest

from jleaks.experiments.kept import kept_model
from jleaks.models.own_network import load_network

TINY = ("--tasks=location", "--epochs=2")
BANK = (*TINY, "--num_models=4", "--num_candidates=400", "--num_population=100")
SWEEP = (*TINY, "--num_seeds=1", "--scale=0.01", "--attack_epochs=1")


def refused(process, *words):
    assert process.returncode == 2, process.stdout + process.stderr
    (line,) = process.stderr.splitlines()
    for word in words:
        assert word in line


@pytest.mark.usefixtures("networks")
def test_a_linen_module_in_a_bank(launch, tmp_path):
    nets = tmp_path / "nets.py"
    shutil.copy(launch.root / "examples" / "own_network_linen.py", nets)
    flags = (*BANK, f"--network={nets}:Net", f"--workdir={tmp_path / 'bank'}")
    process = launch("launch.bank", *flags)
    assert process.returncode == 0, process.stderr
    with np.load(tmp_path / "bank" / "location" / "bank.npz") as bank:
        assert np.isfinite(bank["phi"]).all()
        assert bank["member"].shape == (4, 500)
    # One of its models answers as one model does.
    assert load_network(f"{nets}:Net") == "Net"
    model = kept_model(str(tmp_path / "bank" / "location"), "location", 0, "model", index=2)
    assert model.state.params["Dense_0"]["kernel"].shape == (446, 128)
    logits = model.learner.logits(model.state, jax.numpy.asarray(model.data.features[:3]))
    assert logits.shape == (3, 30)
    # Edited, it is another network, of which the run's directory says so.
    nets.write_text(nets.read_text().replace("0.2", "0.4"))
    refused(launch("launch.bank", *flags), "belongs to another plan", "edited since")


def test_an_nnx_module_in_a_sweep(launch, tmp_path):
    plugin = f"--plugin={launch.root / 'examples' / 'own_network_nnx.py'}"
    flags = (*SWEEP, plugin, "--model=normalised", f"--workdir={tmp_path}")
    process = launch("launch.sweep", *flags)
    assert process.returncode == 0, process.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows} == {"normalised"}
    assert "finished before" in launch("launch.sweep", *flags).stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--model=Net",),
            ("model is Net, expected one of mlp, logistic, cnn, resnet18, wrn28_2",),
        ),
        (
            ("--network={}:Net", "--model=mlp"),
            ("--network is ", "--model is mlp: give one of them"),
        ),
        (("--network={}:Other",), ("has no Other",)),
        (
            ("--network={}:NUMBER",),
            ("network NUMBER is of type int, expected a flax module's class",),
        ),
        (("--network={}:Net", "--precision=bfloat16"), ("the products of Net are its own",)),
        # Of the second task; nothing was trained on the first.
        (
            ("--network={}:Net(30)", "--tasks=location,mnist"),
            ("network ready answers [2, 30] to 2 records, expected logits [2, 10]",),
        ),
    ],
)
def test_what_a_run_refuses_before_it_begins(launch, tmp_path, flags, words):
    nets = tmp_path / "nets.py"
    shutil.copy(launch.root / "examples" / "own_network_linen.py", nets)
    nets.write_text(f"{nets.read_text()}\n\nNUMBER = 3\nready = Net(30)\n")
    own = [flag.format(nets).replace("Net(30)", "ready") for flag in flags]
    process = launch("launch.sweep", *SWEEP, *own, f"--workdir={tmp_path / 'w'}")
    refused(process, *words)
    assert not (tmp_path / "w").exists()
