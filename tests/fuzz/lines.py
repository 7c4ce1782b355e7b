"""What a refusal must be."""

import contextlib

from jleaks.errors import InputError


@contextlib.contextmanager
def one_line():
    """Takes bad input for an answer, if it is told in one line; nothing else."""
    try:
        yield
    except InputError as error:
        said = str(error)
    else:
        return
    assert said
    assert "\n" not in said
