"""Metric writers: looked up and refused before any work, made when the first number comes."""

import importlib.util
import sys
import types

import pytest

from jleaks.errors import InputError
from jleaks.training import metric_writers
from jleaks.training.metric_writers import WRITERS, MetricWriters


@pytest.fixture
def kept(monkeypatch):
    """A user's writer that keeps what it is told."""
    told = []

    class Kept:
        def __init__(self, folder):
            told.append(("made", folder))

        def write(self, step, values):
            told.append((step, dict(values)))

        def close(self):
            told.append("closed")
            raise OSError("the disk is full")

    monkeypatch.setitem(WRITERS._entries, "kept", Kept)
    return told


def test_a_writer_is_made_with_the_first_number_and_its_end_costs_nothing(kept, tmp_path):
    writers = MetricWriters(["kept", "kept"], tmp_path)
    assert kept == []
    writers.write(3, {"location/loss": 0.5})
    writers.write(6, {"location/loss": 0.25})
    writers.close()
    assert kept == [
        ("made", tmp_path),
        (3, {"location/loss": 0.5}),
        (6, {"location/loss": 0.25}),
        "closed",
    ]
    MetricWriters(["kept"], tmp_path).close()
    assert len(kept) == 4


def test_unknown_writers_and_missing_packages_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match="unknown metric writer 'paper'; allowed: tensorboard, wandb"
    ):
        MetricWriters(["paper"], tmp_path)
    monkeypatch.setattr(metric_writers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"--log_to=wandb needs wandb, .* pip install 'jleaks\[wandb\]'"
    ):
        MetricWriters(["wandb"], tmp_path)


def test_wandb_gets_each_number_with_its_own_axis(tmp_path, monkeypatch):
    """A module in the place of wandb, whose own process is slow to start."""
    logged, fake = [], types.ModuleType("wandb")

    class Run:
        log = staticmethod(logged.append)
        finish = staticmethod(lambda: logged.append("finished"))

    def init(**given):
        logged.append(given)
        return Run

    fake.init = init
    fake.__spec__ = importlib.util.spec_from_loader("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    writers = MetricWriters(["wandb"], tmp_path / "run")
    writers.write(10, {"news/loss": 0.5})
    writers.close()
    made, number, ended = logged
    assert (made["dir"], made["name"]) == (str(tmp_path / "run"), "run")
    assert number == {"news/loss": 0.5, "news/loss/model-epochs": 10}
    assert ended == "finished"


def test_tensorboard_s_events_hold_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    writers = MetricWriters(["tensorboard"], tmp_path)
    writers.write(7, {"news/loss": 0.5})
    writers.write(9, {"news/loss": 0.25})
    writers.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = [(e.step, v.tag, v.simple_value) for e in _events(path, Event) for v in e.summary.value]
    assert found == [(7, "news/loss", 0.5), (9, "news/loss", 0.25)]


def _events(path, event):
    """Reads TFRecord: length (8 bytes), its CRC (4), that many bytes, their CRC (4)."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "little")
        yield event.FromString(content[at + 12 : at + 12 + size])
        at += 16 + size
