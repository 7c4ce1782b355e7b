"""Flags of a dataclass's fields: names, types, choices, defaults and help are the dataclass's own."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from absl import flags

from jleaks.errors import InputError

_DEFINE: dict[Any, Any] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    # The name of an entry of a registry, which the dataclass checks once plugins are loaded.
    str: flags.DEFINE_string,
}


def meanings(kind: type) -> dict[str, str]:
    """Returns what the docstrings of a dataclass, and of those that it extends, say of each attribute."""
    said = "\n".join(inspect.cleandoc(base.__doc__ or "") for base in reversed(kind.__mro__[:-1]))
    found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", said, re.MULTILINE)
    fields = {field.name for field in dataclasses.fields(kind)}
    return {name: " ".join(text.split()) for name, text in found if name in fields}


def define_preset(
    name: str, default: str, presets: Mapping[str, str], text: str, group: str
) -> flags.FlagHolder[Any]:
    """Defines a flag whose help has a line for each choice.

    Args:
      name: Name of the flag.
      default: One of the choices.
      presets: Meaning of each choice.
      text: What help begins with.
      group: Group of flags that --help shows it in.
    """
    lines = (f"{preset}: {meaning}" for preset, meaning in presets.items())
    text = "\n".join((text, *lines))
    return flags.DEFINE_enum(name, default, list(presets), text, module_name=group)


class Fields:
    """Flags of some fields of a dataclass.

    Args:
      kind: The dataclass.
      names: Fields that have a flag.
      group: Group of flags that --help shows them in.
      prefix: What the names of the flags begin with.
      unset: What happens where a flag is not given, for fields whose default is not the dataclass's.
      defaults: Defaults of fields for which the dataclass has none.
    """

    def __init__(
        self,
        kind: type,
        names: Sequence[str],
        group: str,
        prefix: str = "",
        unset: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ):
        own = {field.name: field.default for field in dataclasses.fields(kind)}
        own |= defaults or {}
        hints, said = typing.get_type_hints(kind), meanings(kind)
        self._hints = {name: _present(hints[name]) for name in names}
        self._flags = {}
        for name, hint in self._hints.items():
            # Python may have been told to drop docstrings.
            text = said.get(name, "")
            default = None if own[name] is dataclasses.MISSING else own[name]
            if unset and name in unset:
                default, text = None, f"{text}  Default: {unset[name]}."
            self._flags[name] = _define(prefix + name, hint, default, text, group)

    def values(self) -> dict[str, Any]:
        """Returns the values of fields that have one.

        Raises:
          InputError: an item of a list cannot be read.
        """
        values = {name: flag.value for name, flag in self._flags.items() if flag.value is not None}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = _read(self._flags[name], typing.get_args(self._hints[name])[0])
        return values


def _present(hint: Any) -> Any:
    """Returns an annotation without its None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    return hint


def _define(name: str, hint: Any, default: Any, text: str, group: str) -> flags.FlagHolder[Any]:
    if typing.get_origin(hint) is Literal:
        choices = list(typing.get_args(hint))
        return flags.DEFINE_enum(name, default, choices, text, module_name=group)
    if typing.get_origin(hint) is tuple:
        items = None if default is None else [str(item) for item in default]
        return flags.DEFINE_list(name, items, text, module_name=group)
    return _DEFINE[hint](name, default, text, module_name=group)


def _read(flag: flags.FlagHolder[Any], hint: Any) -> tuple[Any, ...]:
    """Returns the items of a list as what an annotation says they are: choices, or whole numbers."""
    choices = {str(choice): choice for choice in typing.get_args(hint)}
    try:
        return tuple(choices[item] if choices else int(item) for item in flag.value)
    except (KeyError, ValueError) as error:
        expected = f"some of {', '.join(choices)}" if choices else "whole numbers such as 1024,512"
        raise InputError(f"--{flag.name} is {','.join(flag.value)}, expected {expected}") from error
