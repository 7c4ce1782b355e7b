"""What a process is doing, and the heartbeat that says so to others."""

import json

import pytest

from jleaks import activity, heartbeat


def test_the_innermost_activity_is_told_and_ends_whatever_happens():
    def fail():
        with activity.doing("compiling fit"):
            raise ValueError(activity.current().text)

    assert activity.current() is None
    with activity.doing("training"):
        with pytest.raises(ValueError, match="training, compiling fit"):
            fail()
        assert activity.current().text == "training"
    assert activity.current() is None


def test_a_function_may_be_an_activity():
    @activity.doing("evaluating")
    def told():
        return activity.current().text

    assert (told(), told()) == ("evaluating", "evaluating")
    assert activity.current() is None


def test_a_heartbeat_waits_for_the_directory_and_is_read_back(tmp_path):
    folder = tmp_path / "run"
    heart = heartbeat.Heartbeat(folder, "jleaks sweep --seed='1 2'")
    heart.beat(doing="compiling fit")
    assert heartbeat.read(folder) is None
    assert not folder.exists()
    folder.mkdir()
    heart.beat(doing="compiling fit")
    beat = heartbeat.read(folder)
    assert (beat["doing"], beat["command"]) == ("compiling fit", "jleaks sweep --seed='1 2'")
    assert heartbeat.state(beat, beat["at"] + heartbeat.SILENT) == "running"
    assert heartbeat.state(beat, beat["at"] + heartbeat.SILENT + 1) == "died"
    heart.beat(ended="stopped")
    assert heartbeat.state(heartbeat.read(folder), 1e12) == "stopped"


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps("text")])
def test_a_heartbeat_that_is_none_is_passed_over(tmp_path, content):
    (tmp_path / heartbeat.FILE).write_text(content)
    assert heartbeat.read(tmp_path) is None
