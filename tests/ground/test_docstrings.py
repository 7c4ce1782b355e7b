"""The example that every room begins with runs, and gives what it shows."""

import doctest
import importlib

import pytest

ROOMS = ("api", "attacks", "data", "experiments", "metrics", "models", "report", "training")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_s_example(room):
    found = doctest.testmod(importlib.import_module(f"jleaks.{room}"), verbose=False)
    assert found.attempted > 0
    assert found.failed == 0
