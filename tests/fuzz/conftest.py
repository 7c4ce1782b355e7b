"""How many inputs are drawn: always the same few in the suite, new ones, and many, in `make long`."""

import os

import pytest

hypothesis = pytest.importorskip("hypothesis")

_ALWAYS = {
    "deadline": None,
    "database": None,
    # Files are written to one folder again and again.
    "suppress_health_check": list(hypothesis.HealthCheck),
}
hypothesis.settings.register_profile("suite", derandomize=True, max_examples=60, **_ALWAYS)
hypothesis.settings.register_profile("long", max_examples=3000, print_blob=True, **_ALWAYS)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
