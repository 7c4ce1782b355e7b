"""How a command ends: exceptions that a user is meant to read, and the exit status of what was stopped."""

from collections.abc import Sequence

STOPPED = 75
"""Exit status of a run that was told to stop and that continues: BSD's EX_TEMPFAIL, "try again"."""


class InputError(ValueError):
    """Bad input: a flag, a file, a shape, a plan that does not fit a work directory.

    The message is one line that says what was given, what was expected and, where the choices are
    few, what is allowed.  Launchers print it without a traceback and exit with status 2.
    """

    def __init__(self, message: str):
        """Takes the message; what it quotes of a file breaks no line and moves no cursor."""
        super().__init__("".join(c if c.isprintable() else _escaped(c) for c in message))


def refuse(problems: Sequence[str]) -> None:
    """Raises one `InputError` that names all problems; returns if there is none."""
    if problems:
        raise InputError("; ".join(problems))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class DivergedError(RuntimeError):
    """A loss stopped being finite; the message names the model and the step.

    Launchers print it without a traceback and exit with status 1.
    """
