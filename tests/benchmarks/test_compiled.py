"""Programs for accelerators that are not there: how XLA's text is read, and what they are like."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from benchmarks.accelerator import topologies
from benchmarks.accelerator.compiled import compile_cases
from benchmarks.accelerator.hlo import Module, num_bytes
from benchmarks.accelerator.launches import of_tpu, read_thunks
from benchmarks.pages import filled
from benchmarks.pages.accelerators import least_microseconds, parts
from jleaks import json_lines
from jleaks.errors import InputError

PACKAGES = os.environ.get("JLEAKS_COMPILERS", "~/.cache/jleaks/compilers")

MODULE = Module("""HloModule jit_device

%fused (p.0: f32[8,100], p.1: s32[4]) -> f32[4,100] {
  %p.0 = f32[8,100]{1,0} parameter(0)
  %p.1 = s32[4]{0} parameter(1)
  ROOT %gather.1 = f32[4,100]{1,0} gather(%p.0, %p.1), offset_dims={1}
}

%product (p.2: f32[4,100], p.3: f32[100,10]) -> f32[4,10] {
  %p.2 = f32[4,100]{1,0} parameter(0)
  %p.3 = f32[100,10]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,10]{1,0} dot(%p.2, %p.3), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (arg: (f32[8,100], /*index=1*/f32[100,10])) -> (f32[8,100], f32[100,10]) {
  %arg = (f32[8,100]{1,0}, /*index=1*/f32[100,10]{1,0}) parameter(0)
  %g.0 = f32[8,100]{1,0} get-tuple-element(%arg), index=0
  %g.1 = f32[100,10]{1,0} get-tuple-element(%arg), index=1
  %rows = s32[4]{0} constant({0, 1, 2, 3})
  %taken = f32[4,100]{1,0} fusion(%g.0, %rows), kind=kLoop, calls=%fused
  %gemm = f32[4,10]{1,0} fusion(%taken, %g.1), kind=kCustom, calls=%product
  %x = f32[100,16,16,32]{3,2,1,0} constant(0)
  %dy = f32[100,12,12,32]{3,2,1,0} constant(0)
  %back = (f32[32,5,5,32]{3,2,1,0}, u8[0]{0}) custom-call(%x, %dy), window={size=5x5}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  ROOT %out = (f32[8,100]{1,0}, f32[100,10]{1,0}) tuple(%g.0, %g.1)
}

ENTRY %main (a: f32[8,100], b: f32[100,10]) -> f32[8,100] {
  %a = f32[8,100]{1,0} parameter(0)
  %b = f32[100,10]{1,0:T(8,128)S(1)} parameter(1)
  %t = (f32[8,100]{1,0}, f32[100,10]{1,0}) tuple(%a, %b)
  %loop = (f32[8,100]{1,0}, f32[100,10]{1,0}) while(%t), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %sum = f32[8,100]{1,0} all-reduce(%a), replica_groups={}
  ROOT %r = f32[8,100]{1,0} get-tuple-element(%loop), index=0
}
""")  # fmt: skip  # noqa: E501

THUNKS = """001: kCopy  [source       | next=002 (1)] kCopy
002: kWhile [prev=001 (1) | sink        ]
condition:
    003: kCustomKernel [source | sink] compare grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source       | next=016 (1)]
        004: kCustomKernel [source       | sink        ] taken grid: [1, 1, 1]
        005: kCustomKernel [source       | sink        ] gemm grid: [1, 1, 1]
    006: kConvolution [prev=000 (1) | sink] kConvolution
    007: kWhile [prev=006 (1) | sink]
condition:
        008: kCustomKernel [source | sink] other grid: [1, 1, 1]
      body:
        009: kCustomKernel [source | sink] inner grid: [1, 1, 1]
    010: kDynamicSliceFusion [source | sink] params=1
        011: kCopy [source | sink] kCopy
"""


def test_bytes_flops_and_collectives_by_hand():
    found = MODULE.instructions
    assert num_bytes("(f32[2,3]{1,0}, /*index=1*/pred[5]{0}, bf16[])") == 24 + 5 + 2
    # What lies in a TPU core's own memory passes through no other.
    assert num_bytes(found["b"].result) == 0
    # Of the gathered array the rows that are taken, the positions, the result.
    assert MODULE.moved(found["taken"]) == 4 * 400 + 4 * 4 + 4 * 400
    assert MODULE.moved(found["gemm"]) == 4 * (400 + 1000 + 40)
    assert MODULE.flops(found["gemm"]) == 2 * 4 * 100 * 10
    # 100 images, 12 x 12 results of 5 x 5 x 32 products for each of 32 features.
    assert MODULE.flops(found["back"]) == 2 * 100 * 12 * 12 * 32 * 25 * 32
    assert MODULE.collectives == 1
    assert found["loop"].trips == 7


def test_launches_are_counted_with_their_graphs_and_rounds():
    body = read_thunks(THUNKS, {2: "loop", 4: "taken", 5: "gemm", 6: "back"}, MODULE)
    assert body.alone == ["Copy"]
    ((rounds, inside),) = body.loops
    # The condition of a loop of known length is not asked.
    assert (rounds, inside.graphs, inside.alone) == (7, [["taken", "gemm"]], ["back", "Copy"])
    ((unknown, inner),) = inside.loops
    assert (unknown, inner.alone) == (None, ["CustomKernel", "CustomKernel"])
    assert body.launches == 1 + 7 * (4 + 2)
    assert body.calls == 1 + 7 * (1 + 2 + 2)
    assert body.step() is inner
    tpu = of_tpu(MODULE)
    assert tpu.loops[0][1].alone == ["taken", "gemm", "back"]


def test_an_unknown_device_is_bad_input():
    for name in ("h200", "v5e", "v9:2x2", "v5e:2by2"):
        with pytest.raises(InputError, match=f"--device is {name}, expected h100, or a TPU"):
            topologies.find(name)


def compiled(device, *names):
    if not topologies.is_installed(topologies.find(device), PACKAGES):
        pytest.skip(f"no compiler for {device} in {PACKAGES} (make compiled)")
    rows = compile_cases(device, names, PACKAGES, 500)
    assert [row["case"] for row in rows] == list(names)
    return rows


@pytest.mark.compilers
def test_an_h100_runs_a_step_as_one_graph_without_scatters_or_grouped_convolutions():
    mlp, cnn, native = compiled("h100", "mlp", "cnn", "cnn_native")
    for row in (mlp, cnn, native):
        assert (row["graphs"], row["alone"]) == (1, 0), row
        assert row["scatters"] == row["grouped"] == row["collectives"] == 0
    # Every gradient that is needed and none beside.
    assert 0.99 < mlp["times_least_flops"] < 1.01
    assert 0.99 < native["times_least_flops"] < 1.01
    # Columns of the first layer, and rows of the second, which computes four rows in sixteen for nothing.
    assert (cnn["form"], round(cnn["times_least_flops"], 1)) == ("columns", 1.2)
    assert (mlp["group"], cnn["group"], native["group"]) == (256, 32, 1)
    # State of 256 and 32 models once, or twice for those that take turns, and what a step works with.
    assert mlp["program_bytes"] < 2 * 256 * mlp["state_bytes"]
    assert native["program_bytes"] < 5 * 32 * native["state_bytes"]
    assert cnn["program_bytes"] < 36 * 32 * cnn["state_bytes"]
    assert mlp["times_least_bytes"] < 1.15
    assert native["times_least_bytes"] < 1.4
    # Windows are written once and read twice.
    assert cnn["times_least_bytes"] < 3.3


@pytest.mark.compilers
def test_four_tpu_chips_never_talk_to_each_other():
    # A CNN takes minutes to compile for TPUs.
    (mlp,) = compiled("v5e:2x2", "mlp")
    assert mlp["scatters"] == mlp["grouped"] == mlp["collectives"] == 0
    assert mlp["program_bytes"] < 1e9
    # As many as a core's own memory holds.
    assert mlp["group"] < 100


BLOCKED = """
import sys
NAMES = {"orbax", "tensorstore", "matplotlib", "pandas", "msgspec", "jinja2", "joblib", "sklearn",
         "PIL", "torch", "tensorflow_datasets", "urllib3"}


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, Blocked())
"""


def test_a_strange_machine_needs_little_to_be_measured(tmp_path):
    """Of what jleaks depends on: jax, flax, optax, absl, NumPy and jaxtyping, with their own needs."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    words = ["--smoke", "--sections=peaks,purchase,evaluator", "--precisions=float32"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator", *words, f"--out={tmp_path / 'rows'}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is not installed" not in done.stdout + done.stderr
    assert "failed" not in Path(tmp_path / "rows").read_text()


def test_the_page_is_what_the_committed_rows_say():
    page = (ROOT / "docs" / "accelerators.md").read_text()
    names = "compiled", "compiled_measured", "accelerator"
    found = [list(json_lines.read(ROOT / f"results/speed/{name}.jsonl")) for name in names]
    for marker, text in parts(*found).items():
        assert filled(page, marker, text) == page
    rows = found[0]
    # The evaluator's bound, and nothing that passes between devices.
    by_case = {(row["device"], row["case"]): row for row in rows}
    assert by_case["h100", "evaluator"]["launches"] < 20_000
    assert not any(row.get("collectives") for row in rows)


def test_the_least_is_the_slower_of_moving_and_multiplying():
    row = {"device": "h100", "precision": "float32", "least": {"num_bytes": 3.35e6, "flops": 67e6}}
    assert least_microseconds(row) == pytest.approx(1.0)
    row["least"]["flops"] = 670e6
    assert least_microseconds(row) == pytest.approx(10.0)
    assert least_microseconds(row | {"precision": "bfloat16"}) == pytest.approx(1.0)
    assert least_microseconds({"device": "h100", "least": None}) is None
