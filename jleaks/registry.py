"""Registries: entries by name, jleaks' own and those of a user's file alike; and loading such files.

Tasks, networks, attacks, defences and experiments are each one `Registry`.  jleaks registers its own
entries when their module is imported, a user's file registers more when it is loaded (`--plugin`, or an
import).  An entry that a file outside jleaks made is known by that file's contents, too: `Registry.origin`
enters the fingerprints of what it defines, so that an edited file never finds what its former self had
trained.
"""

import contextlib
import contextvars
import dataclasses
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, get_args

from jleaks.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The file outside jleaks that made an entry.

    Attributes:
      path: Where it was.
      digest: 16 hex digits of its contents.
    """

    path: str
    digest: str


# The file that is being loaded; None while jleaks registers its own.
_LOADING: contextvars.ContextVar[Origin | None] = contextvars.ContextVar("loading", default=None)


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind by name, in the order in which they were registered.

    Args:
      kind: What messages call an entry, such as "task".
      besides: Names that mean something else where an entry is expected, such as "all".
      marks: What names may have besides letters and digits.
    """

    def __init__(self, kind: str, besides: tuple[str, ...] = (), marks: str = "_-."):
        self.kind, self._besides, self._marks = kind, besides, marks
        self._entries: dict[str, T] = {}
        self._origins: dict[str, Origin | None] = {}

    def register(self, name: str, entry: T, origin: Origin | None = None) -> T:
        """Adds an entry, and returns it.

        The same file may register its entries again (a notebook's cell, a reload); they replace the former.

        Args:
          name: Its name.
          entry: What is found by it.
          origin: What made it; None for the file that is being loaded, or that calls.

        Raises:
          InputError: the name is no word that a flag can hold, or someone else's.
        """
        origin = origin or (None if _is_own() else _LOADING.get() or _caller())
        if (
            not name
            or name in self._besides
            or not all(c.isalnum() or c in self._marks for c in name)
        ):
            raise InputError(
                f"a {self.kind} is called {name!r}, expected letters, digits and any of "
                f"{self._marks!r}" + "".join(f", and not {word!r}" for word in self._besides)
            )
        if name in self._entries:
            former = self._origins[name]
            if former is None or origin is None or former.path != origin.path:
                whose = "jleaks" if former is None else former.path
                raise InputError(
                    f"{self.kind} {name!r} is {whose}'s already; register yours under another name"
                )
        self._entries[name], self._origins[name] = entry, origin
        return entry

    def find(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
          InputError: there is none.
        """
        if name not in self._entries:
            names = ", ".join((*self._besides, *self._entries))
            raise InputError(f"unknown {self.kind} {name!r}; allowed: {names}")
        return self._entries[name]

    def origin(self, name: str) -> Origin | None:
        """Returns the file outside jleaks that made an entry; None for jleaks' own, and for none."""
        return self._origins.get(name)

    def digests(self, *names: str) -> dict[str, str]:
        """Returns, of those entries that are not jleaks' own, the digest of what made each."""
        found = {name: self._origins.get(name) for name in names}
        return {name: origin.digest for name, origin in found.items() if origin is not None}

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclasses.dataclass(frozen=True)
class Named:
    """Annotates a field, or the items of one, that names an entry of a registry.

    Fields are held to it (`jleaks.fields.problems`), and a user's entry enters fingerprints by the contents
    of its file (`jleaks.fingerprint.stated`).

    Attributes:
      registry: Whose entries.
    """

    registry: Registry[Any] = dataclasses.field(hash=False)

    @property
    def text(self) -> str:
        """What is expected, for messages."""
        return f"one of {', '.join(self.registry)}, or your own by --plugin"

    def holds(self, name: str) -> bool:
        """Whether there is such an entry."""
        return name in self.registry


def named_digests(hint: Any, value: Any) -> dict[str, str]:
    """Returns, of a user's entries that a field names, the digest of what made each.

    Args:
      hint: The field's annotation.
      value: One name, or several.
    """
    found: dict[str, str] = {}
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, Named):
            names = value if isinstance(value, tuple) else (value,)
            found |= part.registry.digests(*(name for name in names if isinstance(name, str)))
    for inner in get_args(hint):
        found |= named_digests(inner, value)
    return found


# The modules of a wheel, and those of a clone.
_OWN = (Path(__file__).parent, Path(__file__).parents[1] / "launch")


def _is_own() -> bool:
    """Whether a module of jleaks is registering its own, be it that a user's file imports it first."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame is None:
        return False
    path = Path(frame.f_code.co_filename)
    return any(path.is_relative_to(folder) for folder in _OWN)


def _caller() -> Origin | None:
    """Returns the file that registers something, found on the stack; None if it is one of jleaks'."""
    frame = inspect.currentframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__):
            if not any(path.is_relative_to(folder) for folder in _OWN):
                return origin_of(path)
            if frame.f_code.co_name == "<module>":
                return None
            # One of jleaks' decorators: whoever calls it registers.
        frame = frame.f_back
    return None


def origin_of(path: Path) -> Origin:
    """Returns a file as what made an entry; one that cannot be read (a cell, a shell) by its name alone."""
    try:
        content = path.read_bytes()
    except OSError:
        content = str(path).encode()
    return Origin(str(path), hashlib.sha256(content).hexdigest()[:16])


# Files that were loaded, by where they are, with what they held then.
_LOADED: dict[str, tuple[Origin, ModuleType]] = {}


def load(name: str) -> ModuleType:
    """Loads a user's module, which registers its own tasks, networks, attacks, defences or experiments.

    Args:
      name: A file ("churn.py", "lib/churn.py") or a module ("my_package.churn"; the current directory is
        searched first).

    Raises:
      InputError: there is no such file or module, or it fails; the message names its line.
    """
    if name.endswith(".py") or "/" in name:
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise InputError(f"plugin {name} is no file; expected FILE.py or a module's name")
        origin = origin_of(path)
        former, module = _LOADED.get(origin.path, (None, None))
        if module is None or former != origin:
            module = _executed(path, origin)
            _LOADED[origin.path] = origin, module
        return module
    with _searched(Path.cwd()), _explained(name):
        return importlib.import_module(name)


def load_object(name: str) -> object:
    """Loads an object of a user's module: "my_package.nets:Net", or "nets.py:Net".

    Raises:
      InputError: there is no such module or object.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise InputError(f"{name!r} names no object; expected MODULE:OBJECT or FILE.py:OBJECT")
    found: object = load(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module} has no {attribute}")
        found = getattr(found, part)
    return found


class _FromSource(importlib.machinery.SourceFileLoader):
    """Loads no bytecode: known by a time in whole seconds and a size, it may be of an earlier edit."""

    def path_stats(self, path: str) -> Any:
        """Says that nothing is known of the file that bytecode could be compared with."""
        raise OSError(path)


def _executed(path: Path, origin: Origin) -> ModuleType:
    """Executes a file as a module of its own."""
    name = f"jleaks_plugin_{path.stem}_{origin.digest}"
    loader = _FromSource(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and flax look their module up.
    sys.modules[name] = module
    loading = _LOADING.set(origin)
    try:
        # Its neighbours are importable, as they are of a script.
        with _searched(path.parent), _explained(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _LOADING.reset(loading)
    return module


@contextlib.contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Has modules looked for in a folder first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns whatever a user's module raises into one line."""
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0] or error.name == name:
            raise InputError(
                f"plugin {name} is no module that Python finds; expected FILE.py or a module's name"
            ) from error
        raise InputError(f"plugin {name} imports {error.name}, which is not installed") from error
    # A module that leaves the process is a failure, too.
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
        where = f" (line {lines[-1]})" if lines else ""
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"plugin {name}{where}: {type(error).__name__}: {reason}") from error
