"""The exceptions a user is meant to read: bad input, and training that failed."""


class InputError(ValueError):
    """Bad input: a flag, a file, a shape, a plan that does not fit a work directory.

    The message is one line that says what was given, what was expected and, where the choices are
    few, what is allowed.  Launchers print it without a traceback and exit with status 2.
    """


class DivergedError(RuntimeError):
    """A loss stopped being finite; the message names the model and the step.

    Launchers print it without a traceback and exit with status 1.
    """
