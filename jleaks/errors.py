"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Bad input: a flag, a file, a shape, a plan that does not fit a work directory.

    The message is one line that says what was given, what was expected and, where the choices are
    few, what is allowed.  Launchers print it without a traceback and exit with status 2.
    """
