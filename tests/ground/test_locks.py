"""One process works in a folder; it is named to others, and gone with it is its lock."""

import os
import signal
import socket

import pytest
from held_locks import holder

from jleaks import locks
from jleaks.errors import InputError


def test_who_holds_a_lock_is_named(tmp_path):
    path = tmp_path / "run" / ".lock"
    with holder(path) as process, pytest.raises(InputError) as error, locks.alone(path):
        pass
    named = f"{path.parent} is in use by process {process.pid} on {socket.gethostname()}: wait"
    assert str(error.value).startswith(named)
    assert locks.holder(path) is None
    with locks.alone(path):
        assert locks.holder(path).startswith(f"process {os.getpid()} on ")


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / ".lock"
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        with locks.alone(path):
            pass


def test_a_lock_is_waited_for(tmp_path):
    path, told = tmp_path / ".lock", []
    with holder(path, 0.5) as process, locks.alone(path, told.append):
        assert process.wait(60) == 0
    assert told == [f"process {process.pid} on {socket.gethostname()}"]


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    with holder(tmp_path / ".lock"):
        monkeypatch.setattr("fcntl.flock", fail)
        with locks.alone(tmp_path / ".lock"):
            pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(InputError, match=r"^cannot write .*/file: ")
    with refused, locks.alone(tmp_path / "file" / ".lock"):
        pass
