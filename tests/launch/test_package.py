"""What the package says of itself: what it needs, its version, what a machine lacks."""

import ast
import os
import re
import sys
import tomllib

import pytest

# Distributions that are not called what is imported.
DISTRIBUTIONS = {
    "PIL": "pillow", "absl": "absl-py", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}  # fmt: skip


@pytest.fixture(scope="module")
def project():
    from conftest import ROOT

    return ROOT, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported(root, lazily):
    """Returns the foreign packages that jleaks and launch import, at the top of a file or anywhere."""
    found = set()
    for path in (*root.glob("jleaks/**/*.py"), *root.glob("launch/*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree) if lazily else tree.body:
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).split(".")[0])
    found -= {"jleaks", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(name, name) for name in found}


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_every_package_that_is_imported_is_declared(project):
    root, about = project
    needed = names(about["dependencies"])
    extras = {name: names(some) for name, some in about["optional-dependencies"].items()}
    offered = needed | extras["datasets"] | extras["parquet"] | extras["serve"]
    assert imported(root, lazily=True) <= offered
    # What only an extra brings is imported where it is used; the builders are imported lazily as a whole.
    assert imported(root, lazily=False) - needed <= {"tensorflow-datasets"}
    pinned = names((root / "constraints.txt").read_text().splitlines()[1:])
    spelt = {re.sub(r"[-_]", "-", name.lower()) for name in pinned}
    assert {name.lower() for name in offered | extras["dev"]} <= spelt


def test_accelerators_ask_for_the_same_jax(project):
    _, about = project
    (jax,) = (one for one in about["dependencies"] if re.match(r"jax\W", one))
    for extra in ("cuda12", "cuda13", "tpu"):
        assert about["optional-dependencies"][extra] == [jax.replace("jax", f"jax[{extra}]")]


def test_what_is_cited_is_this_version(project):
    root, about = project
    text = (root / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [about["version"]]
    assert "Salem" in text


@pytest.mark.gpu
def test_a_gpu_that_is_seen_is_no_warning(launch):
    process = launch("launch.sweep", "--tasks=location", "--num_devices=9999")
    assert "that JAX does not see" not in process.stderr


@pytest.mark.parametrize(("platforms", "warned"), [("", True), ("cpu", False)])
def test_a_gpu_that_jax_does_not_see_is_a_warning(launch, tmp_path, platforms, warned):
    lister = tmp_path / "nvidia-smi"
    lister.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Something (UUID: GPU-0)'\n")
    lister.chmod(0o755)
    # No GPU that this machine may have is seen.
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "JAX_PLATFORMS": platforms,
        "CUDA_VISIBLE_DEVICES": "",
    }
    flags = ("--tasks=location", "--num_devices=9999", f"--workdir={tmp_path / 'w'}")
    process = launch("launch.sweep", *flags, env=environment)
    lines = process.stderr.splitlines()
    assert process.returncode == 2
    assert lines[-1].startswith("error: num_devices is 9999")
    assert ("this machine has a GPU that JAX does not see" in lines[0]) == warned
