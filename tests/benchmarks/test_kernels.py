"""Kernels that a profiler saw: summed by hand."""

import pytest

from benchmarks.accelerator.kernels import Event, busy, summed, traced
from benchmarks.pages.on_devices import latest, measured_of, measured_tables
from jleaks.errors import InputError

EVENTS = [
    Event("gemm", 0, 1000),
    Event("adam", 1000, 3000),
    # Two streams at once, and a gap.
    Event("adam", 3000, 3000),
    Event("copy", 8000, 500),
]


def test_kernels_are_summed_by_name_and_overlaps_count_once():
    assert busy(EVENTS) == 6500
    found = summed(EVENTS, 2)
    assert (found["microseconds"], found["busy_microseconds"]) == (3.75, 3.25)
    assert (found["span_microseconds"], found["launches"], found["names"]) == (4.25, 2.0, 3)
    assert found["longest"] == [
        {"name": "adam", "launches": 1.0, "microseconds": 3.0},
        {"name": "gemm", "launches": 0.5, "microseconds": 0.5},
        {"name": "copy", "launches": 0.5, "microseconds": 0.25},
    ]


def test_where_no_stream_is_the_profiler_says_what_it_saw():
    with pytest.raises(InputError, match=r"the profiler saw no kernels, but .*host"):
        traced(lambda: None)


FLEET = {"what": "fleet", "device": "gpu NVIDIA H100 80GB HBM3 x1", "network": "mlp-128",
         "precision": "float32", "form": None, "num_models": 256, "group": 256, "batch": 100}  # fmt: skip
COMPILED = {**FLEET, "what": "step", "case": "mlp", "device": "h100", "microseconds": 2.0}


def test_of_equal_cases_the_last_that_did_not_fail_stands_beside_its_prediction():
    rows = [
        {**FLEET, "model_steps_per_second": 250_000.0},
        {**FLEET, "model_steps_per_second": 400_000.0},
        {**FLEET, "failed": "out of memory"},
        {**FLEET, "device": "gpu NVIDIA H200 x1", "model_steps_per_second": 1e6},
    ]
    assert [row["model_steps_per_second"] for row in latest(rows, "fleet")] == [400_000.0, 1e6]
    assert measured_of(COMPILED, rows) == 2.5
    assert measured_of({**COMPILED, "group": 64}, rows) is None
    assert measured_of({**COMPILED, "device": "v5e:2x2"}, rows) is None


def test_nothing_measured_makes_no_table():
    assert measured_tables([], [COMPILED]) == []
