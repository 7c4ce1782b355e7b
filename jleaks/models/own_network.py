"""A user's own network: a plain flax module, linen or nnx, as its author trains it alone.

    from jleaks.models.own_network import register_network
    register_network("mine", Net)                    # a class, or a function that makes a module
    register_network("narrow", Net(num_classes=10))  # or a linen module, where the classes are known

What the constructor is given, by keyword, if it takes it: the number of classes (`num_classes`,
`n_classes`, `num_outputs`, `num_labels`, `out_features`, `dout`); the numbers in a record (`in_features`,
`num_inputs`, `input_dim`, `input_size`, `din`), its channels (`in_channels`, `num_channels`) or its shape
(`input_shape`); of nnx modules, `rngs`.  Any other argument needs a default, or a function of one's own.

What `__call__` is given beside a batch of encoded records [B, ...] float32, if it takes it: `train`,
`training` or `is_training`, true in a step; `deterministic`, `eval_mode` or `use_running_average`, true in
a query; `rngs` (nnx).  It answers logits [B, K].

The optimiser trains `params` (`nnx.Param`); `l2` concerns those of two axes or more.  Batch statistics
(`batch_stats`, `nnx.BatchStat`) are kept per model, and queries use the running ones; a module may keep
nothing else, but constants among them.  What a step draws at random (dropout) comes from the model's key,
epoch and step alone.  A batch is never split into blocks.  Of the recipe, `hidden` and `activation` mean
nothing to such a network, and `precision` says how products of float32 that name no precision are computed:
"float32" or the backend's "default".  On CPUs flax's own convolutions are slow in a fleet (see
`jleaks.models.convolution`).

A network is known by the contents of the files it is defined in, of the user's files that these import, and
by its constructor's arguments: an edited one never finds what its former self had trained.  Of a notebook's
class the class alone is known.
"""

import ast
import dataclasses
import hashlib
import importlib.util
import inspect
import re
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from jleaks.errors import InputError
from jleaks.models.registry import NETWORKS, Network
from jleaks.registry import Origin, load_object


def register_network(name: str, network: Any, *, images: bool = False) -> Network:
    """Registers a network under a name that recipes, and `--model`, can give.

    Args:
      name: Letters, digits, "_", "-" and ".".
      network: A flax module's class, linen or nnx; a function that returns a module; or a linen module.
      images: Whether nothing but images can go into it.

    Returns:
      What was registered.

    Raises:
      InputError: it is none of these, its source cannot be read, or the name is taken.
    """
    if not callable(network) or _is_bound(network):
        raise InputError(
            f"network {name} is of type {type(network).__name__}, expected a flax module's class, a "
            "function that makes a module, or a linen module"
        )

    def make(num_classes: int, _: Any, how: Any) -> Any:
        # Where networks are named, nothing needs JAX.
        from jleaks.models.flax_network import make_module

        return make_module(name, network, num_classes, how)

    entry = Network(make, frozenset(), images, splits=False, draws=True)
    return NETWORKS.register(name, entry, _origin(name, network))


def load_network(text: str) -> str:
    """Registers a network of a user's module, under the name that it has there.

    Args:
      text: "my_package.nets:Net", or "nets.py:Net".

    Returns:
      The name: what stands behind the colon.

    Raises:
      InputError: there is no such module or object, or it is no network.
    """
    name = text.rpartition(":")[2]
    found = load_object(text)
    if not (name in NETWORKS and NETWORKS.origin(name) == _origin(name, found)):
        register_network(name, found)
    return name


def _is_bound(network: Any) -> bool:
    """Whether a module has weights of its own: all models of a fleet would start from the same."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(network, nnx.Module)


def _origin(name: str, network: Any) -> Origin:
    """Returns where a network comes from: the files that define it, and what its constructor was given.

    Raises:
      InputError: no source can be read, by which an edited network would be told from its former self.
    """
    maker = getattr(network, "func", network)
    kind = maker if inspect.isclass(maker) or inspect.isfunction(maker) else type(maker)
    given = _given(network)
    # Functions are shown with where in memory they are.
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(given)).encode()]
    files = _files(kind, given.values())
    try:
        parts += sorted(file.read_bytes() for file in files)
        if not files:
            # A notebook's cell.
            parts.append(inspect.getsource(kind).encode())
    except (OSError, TypeError) as error:
        raise InputError(
            f"network {name}: its source cannot be read ({error}), by which an edited one would be told "
            "from its former self; define it in a file"
        ) from error
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    path = inspect.getsourcefile(kind) if files else kind.__module__
    return Origin(str(path), digest.hexdigest()[:16])


def _given(network: Any) -> dict[str, Any]:
    """Returns what tells two modules of one class apart: the arguments that made them."""
    if hasattr(network, "func"):
        return {**{str(i): value for i, value in enumerate(network.args)}, **network.keywords}
    if dataclasses.is_dataclass(network) and not isinstance(network, type):
        names = (f.name for f in dataclasses.fields(network) if f.name not in ("parent", "name"))
        return {name: getattr(network, name, None) for name in names}
    return {}


def _files(kind: Any, given: Collection[Any]) -> set[Path]:
    """Returns the user's files that a network is made of.

    Args:
      kind: Its class, or the function that makes it: the files of both, and what these import.
      given: Arguments, among which are functions and modules.
    """
    bases = inspect.getmro(kind) if inspect.isclass(kind) else (kind,)
    waiting = [sys.modules.get(base.__module__) for base in bases]
    waiting += [sys.modules.get(str(getattr(value, "__module__", None))) for value in given]
    # The own one counts wherever it is installed.
    own = waiting[0].__name__.partition(".")[0] if waiting[0] is not None else ""
    found: dict[Path, ModuleType] = {}
    while waiting:
        module = waiting.pop()
        file = getattr(module, "__file__", None)
        if module is None or file is None or not file.endswith(".py"):
            continue
        path = Path(file).resolve()
        if path in found or not (module.__name__.partition(".")[0] == own or _is_users(path)):
            continue
        found[path] = module
        waiting += _imported(module, path)
    return set(found)


def _imported(module: ModuleType, path: Path) -> Iterator[ModuleType | None]:
    """Yields what a file's import statements name."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (sys.modules.get(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            source = importlib.util.resolve_name(name, module.__package__ or "") if name else name
            yield sys.modules.get(source)
            yield from (sys.modules.get(f"{source}.{alias.name}") for alias in node.names)


# Where the standard library, installed packages and jleaks itself are.
_INSTALLED = {
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *map(Path, (*site.getsitepackages(), site.getusersitepackages())),
    Path(__file__).resolve().parents[1],
    Path(__file__).resolve().parents[2] / "launch",
}


def _is_users(path: Path) -> bool:
    return not any(path.is_relative_to(place.resolve()) for place in _INSTALLED)
