"""Registries, and a user's files that register."""

import builtins
import dataclasses
import os
import re
import subprocess
import sys
from typing import Annotated

import pytest

from jleaks import registry
from jleaks.errors import InputError
from jleaks.fields import problems
from jleaks.fingerprint import stated
from jleaks.registry import Named, Registry


@pytest.fixture
def things(monkeypatch):
    found = Registry("thing", ("all",))
    monkeypatch.setattr(registry, "_LOADED", {})
    found.register("first", 1)
    return found


def write(path, things, value):
    builtins.THINGS = things
    path.write_text(f"import builtins\nbuiltins.THINGS.register('mine', {value})\n")
    return path


def test_an_entry_of_a_file_is_known_by_its_contents(things, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write(tmp_path / "mine.py", things, 2)
    registry.load(str(path))
    before = things.origin("mine")
    assert (things["mine"], before.path) == (2, str(path))
    assert list(things)[-1] == "mine"
    assert things.digests("mine")["mine"] == before.digest
    # Loaded once, however often it is named.
    registry.load(str(path))
    # Within the same second, and as long: Python would take its bytecode for this file's.
    edited = path.stat().st_mtime
    write(path, things, 3)
    os.utime(path, (edited, edited))
    registry.load(str(path))
    assert things["mine"] == 3
    assert things.origin("mine").digest != before.digest
    # An edit that is undone is undone here, too.
    write(path, things, 2)
    registry.load(str(path))
    assert (things["mine"], things.origin("mine")) == (2, before)


def test_a_name_that_is_taken_is_refused(things, tmp_path):
    registry.load(str(write(tmp_path / "one.py", things, 2)))
    with pytest.raises(InputError, match=r"thing 'mine' is .*one\.py's already"):
        registry.load(str(write(tmp_path / "two.py", things, 2)))


@pytest.mark.parametrize("name", ["", "all", "a b", "a,b", "a=b"])
def test_a_name_that_no_flag_can_hold_is_refused(things, name):
    with pytest.raises(InputError, match=re.escape(repr(name))):
        things.register(name, 1)


def test_an_unknown_name_is_one_line_with_those_that_are_known(things):
    with pytest.raises(InputError, match="unknown thing 'second'; allowed: all, first"):
        things.find("second")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0\n", r"line 1\): ZeroDivisionError"),
        ("def f(:\n", r"SyntaxError"),
        ("import no_such_module_here\n", r"imports no_such_module_here, which is not installed"),
        ("from jleaks.errors import InputError\nraise InputError('own words')\n", r"^own words$"),
    ],
)
def test_a_file_that_fails_is_one_line(tmp_path, text, said):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        registry.load(str(path))


def test_files_and_modules_that_are_not_there_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"plugin none\.py is no file"):
        registry.load("none.py")
    with pytest.raises(InputError, match="is no module that Python finds"):
        registry.load("no_such_module_here")
    (tmp_path / "here.py").write_text("class Net:\n    depth = 3\n")
    assert registry.load_object("here.py:Net.depth") == 3
    assert registry.load_object("here:Net").__name__ == "Net"
    with pytest.raises(InputError, match=r"here\.py has no Other"):
        registry.load_object("here.py:Other")
    with pytest.raises(InputError, match="names no object"):
        registry.load_object("here.py")


def test_what_a_user_s_file_imports_of_jleaks_stays_jleaks_own(tmp_path):
    path = tmp_path / "first.py"
    path.write_text("from jleaks.attacks.registry import ATTACKS\n")
    code = (
        f"from jleaks import registry\nATTACKS = registry.load({str(path)!r}).ATTACKS\n"
        "assert len(ATTACKS) > 30\nassert ATTACKS.digests(*ATTACKS) == {}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fields_name_entries_and_fingerprints_know_what_made_them(things, tmp_path):
    name = Annotated[str, Named(things)]
    things._origins["first"] = None

    @dataclasses.dataclass(frozen=True)
    class Plan:
        first: name | None = None
        more: tuple[name, ...] = ()

    assert "first is mine, expected one of first, or your own by --plugin" in problems(
        Plan("mine", ("first",))
    )[0].replace(" or None", "")
    registry.load(str(write(tmp_path / "mine.py", things, 2)))
    plan = Plan("mine", ("first", "mine"))
    assert problems(plan) == []
    digest = things.origin("mine").digest
    assert stated(plan) == {
        "first": ["mine", {"mine": digest}],
        "more": [["first", "mine"], {"mine": digest}],
    }
    # jleaks' own are known by their names alone.
    assert stated(Plan("first", ("first",))) == {"first": "first", "more": ["first"]}
