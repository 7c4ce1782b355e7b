"""Examples in docstrings give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["jleaks.auditing", "jleaks.auditing.sequential"])
def test_an_example_gives_what_it_says(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
