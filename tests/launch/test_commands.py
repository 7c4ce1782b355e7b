"""The console command `jleaks`, from a clone and from a wheel."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

COMMANDS = (
    *(
        "sweep",
        "bank",
        "attack",
        "records",
        "cascade",
        "imitate",
        "paper",
        "defend",
        "audit",
        "gate",
    ),
    *("serve", "cells", "gather", "prepare", "report", "status"),
)
TINY = ("--tasks=location", "--num_seeds=1", "--scale=0.01", "--epochs=2", "--attack_epochs=1")


@pytest.mark.parametrize("flags", [(), ("--help",)])
def test_without_a_command_all_are_listed_with_one_line_each(launch, flags):
    process = launch("jleaks", *flags)
    assert process.returncode == 0, process.stderr
    listed = [line.split(maxsplit=1) for line in process.stdout.splitlines() if line[:2] == "  "]
    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(len(text) > 20 and text[-1] in ".?" for _, text in listed)


@pytest.mark.parametrize("command", ["sweeep", "flags", "--tasks=location", ""])
def test_unknown_commands_are_one_line_and_status_two(launch, command):
    process = launch("jleaks", command)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line == f"error: unknown command {command!r}; allowed: {', '.join(COMMANDS)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_both_ways_in_have_the_same_flags(launch, command):
    long, short = launch(f"launch.{command}", "--help"), launch("jleaks", command, "--help")
    assert long.returncode == short.returncode == 0, short.stderr
    assert f"usage: jleaks {command} [--flag=value ...]" in short.stdout
    assert short.stdout == long.stdout.replace(f"python -m launch.{command}", f"jleaks {command}")


# What takes seconds to import.
HEAVY = r"\| +(jax|jaxlib|flax|scipy|matplotlib|sklearn|tensorflow_datasets)(\.|$)"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_jax_and_says_everything(launch, command):
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jleaks", command, "--help"],
        cwd=launch.root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "absl.flags" in shown.stderr
    assert not re.findall(HEAVY, shown.stderr, re.MULTILINE)
    assert f"Example: jleaks {command} --" in shown.stdout
    groups = re.findall(r"^([A-Z][\w ]*).*:$", shown.stdout, re.MULTILINE)
    order = {"Where": 0, "What": 1, "How": 2, "Speed": 3}
    ranks = [order[group.split()[0]] for group in groups]
    assert ranks == sorted(set(ranks))
    texts = re.findall(r"^  --(\w+)\n((?: {6}.*\n?)+)", shown.stdout, re.MULTILINE)
    assert len(texts) >= 4
    for name, text in texts:
        # Without choices and default.
        said = re.sub(r"^<.*?>: |\(default: .*\)$", "", " ".join(text.split())).strip()
        assert re.match(r"[A-Z].{15,}", said), (name, said)
        # These have a line for each choice.
        assert said.endswith(".") or name in ("recipe", "attack_recipe", "experiment"), (name, said)


def test_bad_flags_of_a_command_are_one_line(launch):
    process = launch("jleaks", "sweep", "--tasks=sonar")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: unknown task 'sonar'")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Builds the wheel of this checkout, without an environment of its own to build in."""
    pytest.importorskip("hatchling")
    from conftest import ROOT

    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_claims_one_name(wheel):
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"jleaks"}
    assert {f"jleaks/launch/{command}.py" for command in COMMANDS} <= set(names)
    assert "jleaks/py.typed" in names
    assert any(
        name.startswith("jleaks/models/cpu_kernels/") and name.endswith(".cc") for name in names
    )


def test_the_wheel_runs_beside_a_foreign_launch_package(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run(
        [*install, "--disable-pip-version-check", "--target", str(site), str(wheel)],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (work / "launch").mkdir(parents=True)
    (work / "launch" / "__init__.py").write_text("raise RuntimeError('not the launchers')\n")
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{work}"}

    def ran(*command):
        return subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip

    done = ran(str(site / "bin" / "jleaks"), "sweep", *TINY, "--workdir=run")
    assert done.returncode == 0, done.stderr
    assert (work / "run" / "rows.jsonl").stat().st_size > 0
    # Where the working folder comes first on the path, too.
    again = ran(sys.executable, "-m", "jleaks", "sweep", *TINY, "--workdir=run")
    assert again.returncode == 0, again.stderr
    assert "finished before" in again.stdout
