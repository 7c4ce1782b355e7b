"""What tests of reports share."""

import pytest

from jleaks.experiments.experiment import EXPERIMENTS, experiment


@pytest.fixture
def own():
    """An experiment of a user's, which varies `strength`."""
    made = experiment("strengths", question="Does it?", varies=("strength",), table="series")
    made(lambda _: [])
    yield "strengths"
    del EXPERIMENTS._entries["strengths"]
    EXPERIMENTS._origins.pop("strengths", None)
