"""The digest of an owner's code, by which kept answers are found again, or trained anew."""

import contextlib
import functools
import inspect
from typing import Any

import joblib

# What was described, in order, by identity; kept, so that no identity is given twice.
_Seen = dict[int, tuple[int, Any]]


def code_digest(*functions: Any) -> str:
    """Returns hex digits that differ whenever the source of some functions does, or what they hold.

    With a function count its defaults, what it closes over, the arguments of a `functools.partial`, the
    attributes of an object that is called, and the functions, classes and values of its own file that it
    names, and what those name in turn; what it imports counts by its name alone.
    """
    found: list[str] = []
    seen: _Seen = {}
    for fn in functions:
        _describe(fn, found, seen)
    return str(joblib.hash(found, "sha1"))


def _describe(value: Any, found: list[str], seen: _Seen) -> None:
    """Appends what a function, class, object or plain value is made of."""
    if inspect.ismodule(value):
        found.append(value.__name__)
        return
    if not callable(value) and not isinstance(value, (list, tuple, dict)):
        _describe_value(value, found)
        return
    if id(value) in seen:
        # What holds itself, or stands twice.
        found.append(f"again {seen[id(value)][0]}")
        return
    seen[id(value)] = len(seen), value
    if isinstance(value, functools.partial):
        for part in (value.func, value.args, value.keywords):
            _describe(part, found, seen)
    elif inspect.ismethod(value):
        _describe(value.__func__, found, seen)
        _describe(value.__self__, found, seen)
    elif inspect.isfunction(value) or inspect.isclass(value):
        _describe_code(value, found, seen)
    elif callable(value) and hasattr(value, "__dict__"):
        _describe(type(value), found, seen)
        _describe(vars(value), found, seen)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _describe(part, found, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            found.append(repr(key))
            _describe(part, found, seen)
    else:
        _describe_value(value, found)


def _describe_value(value: Any, found: list[str]) -> None:
    """Appends the contents of a plain value, an array or an object."""
    try:
        found.append(str(joblib.hash(value, "sha1")))
    # Whatever will not be pickled: locks, sessions, devices.
    except Exception:
        found.append(type(value).__qualname__)


def _describe_code(value: Any, found: list[str], seen: _Seen) -> None:
    """Appends the source of a function or class, and what it names of its own file."""
    found.append(f"{value.__module__}.{value.__qualname__}")
    # Of a library without sources, or a shell, the name is all there is.
    with contextlib.suppress(OSError, TypeError):
        found.append(inspect.getsource(value))
    for member in vars(value).values() if inspect.isclass(value) else (value,):
        fn = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else member
        if not inspect.isfunction(fn):
            continue
        held = [fn.__defaults__, fn.__kwdefaults__]
        # A cell is empty until what it holds is defined.
        held += [cell.cell_contents for cell in fn.__closure__ or () if _is_filled(cell)]
        for word in sorted(_names(fn.__code__)):
            other = fn.__globals__.get(word)
            is_own = getattr(other, "__module__", value.__module__) == value.__module__
            if word in fn.__globals__ and (is_own or not callable(other)):
                found.append(word)
                held.append(other)
        for part in held:
            _describe(part, found, seen)


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _names(code: Any) -> set[str]:
    """Returns the global names of a function's code, inner functions included."""
    inner = (_names(part) for part in code.co_consts if inspect.iscode(part))
    return set(code.co_names).union(*inner)
