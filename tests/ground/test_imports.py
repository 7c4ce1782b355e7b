"""Who imports whom, read from the source: downward, in no circle, heavy packages in one place.

Imports inside functions and for annotations count too, unless a test says "at import time".
"""

import ast
import builtins
import dataclasses
import dis
import functools
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# From the ground up: a room imports from itself and from those before it.
ROOMS = (
    "ground",
    "data",
    "metrics",
    "models",
    "training",
    "defences",
    "attacks",
    "blackbox",
    "experiments",
    "auditing",
    "report",
    "api",
    "launch",
    "benchmarks",
)
# All that benchmarks know of the launchers: how a process starts, and what it prints on.
LAUNCH_FOR_BENCHMARKS = {"launch.command_line", "launch.log", "launch.app"}


@dataclasses.dataclass(frozen=True)
class Import:
    """What a file asks for, `module.name` where it may be either; early: at import time."""

    target: str
    early: bool
    line: int


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module):
    first, *rest = module.split(".")
    if first != "jleaks":
        return first
    # What `import jleaks` gives stands on everything but the launchers.
    if rest in ([], ["api"]):
        return "api"
    # `python -m jleaks` is a launcher.
    if rest == ["__main__"]:
        return "launch"
    return rest[0] if rest and (ROOT / "jleaks" / rest[0]).is_dir() else "ground"


def read(tree, package):
    """Lists the imports of a parsed file; `package` is what its relative imports start from."""

    def visit(node, early):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, early, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                above = package[: len(package) - child.level + 1] if child.level else []
                source = ".".join([*above, *filter(None, [child.module])])
                for alias in child.names:
                    yield Import(f"{source}.{alias.name}", early, child.lineno)
            else:
                late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                late |= isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from visit(child, early and not late)

    return list(visit(tree, early=True))


@functools.cache
def imports():
    """Maps every module of the repository's programs to its imports."""
    found = {}
    for folder in ("jleaks", "launch", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = module_name(path)
            is_package = path.name == "__init__.py"
            package = name.split(".") if is_package else name.split(".")[:-1]
            found[name] = read(ast.parse(path.read_text()), package)
    return found


def own_module(target):
    """The repository's module that an import runs, or None where it is somebody else's."""
    if target in imports():
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in imports() else None


def edges(early_only):
    """Module -> the repository's other modules that it imports."""
    return {
        module: {
            own
            for asked in asked_for
            if (own := own_module(asked.target)) not in (None, module)
            and (asked.early or not early_only)
        }
        for module, asked_for in imports().items()
    }


def circle(graph):
    """One circle of a graph {node: set of nodes}, as a list of nodes, or None."""
    done, path = set(), []

    def search(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        found = next(filter(None, map(search, sorted(graph.get(node, ())))), None)
        path.pop()
        done.add(node)
        return found

    return next(filter(None, map(search, sorted(graph))), None)


def importers(package, early_only=False):
    """Modules that import a package of somebody else's."""
    return {
        module
        for module, asked_for in imports().items()
        for asked in asked_for
        if f"{asked.target}.".startswith(f"{package}.") and (asked.early or not early_only)
    }


def test_every_folder_is_a_room():
    assert {room(module) for module in imports()} <= set(ROOMS)
    assert len(imports()) > 100


def test_rooms_import_downward():
    upward = [
        f"{module} imports {target}"
        for module, targets in edges(early_only=False).items()
        for target in sorted(targets)
        if ROOMS.index(room(target)) > ROOMS.index(room(module))
    ]
    assert upward == []


def test_no_circle_between_modules_at_import_time():
    assert circle(edges(early_only=True)) is None


def test_no_circle_between_folders():
    folders = {}
    for module, targets in edges(early_only=False).items():
        others = {room(target) for target in targets} - {room(module)}
        folders.setdefault(room(module), set()).update(others)
    assert circle(folders) is None


def test_benchmarks_know_of_the_launchers_what_starts_a_process():
    known = {
        target
        for module, targets in edges(early_only=False).items()
        for target in targets
        if room(module) == "benchmarks" and room(target) == "launch"
    }
    assert known <= LAUNCH_FOR_BENCHMARKS


def test_orbax_is_imported_by_checkpoints_alone():
    assert importers("orbax") == {"jleaks.training.checkpoints"}


def test_only_data_imports_tensorflow_datasets():
    found = importers("tensorflow_datasets")
    assert found
    assert {room(module) for module in found} == {"data"}


def test_tensorflow_datasets_is_imported_late():
    """Its builders are classes of TFDS: no other module runs one of their files at import time."""
    graph = edges(early_only=True)
    reached = importers("tensorflow_datasets", early_only=True)
    while more := {module for module, targets in graph.items() if targets & reached} - reached:
        reached |= more
    assert {module.rpartition(".")[0] for module in reached} == {"jleaks.data.sources"}
    assert "jleaks.data.sources.prepare" not in reached


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_nothing_imports(package):
    assert importers(package) == set()


def test_the_library_reads_no_flags():
    flags = importers("absl.flags") | importers("absl.app")
    assert {room(module) for module in flags} <= {"launch", "benchmarks"}
    assert "launch.app" in flags


def test_the_reader_tells_early_from_late_and_resolves_relative_imports():
    source = """
import a.b
from . import c
if TYPE_CHECKING:
    import d
def f():
    from ..e import g
class C:
    import h
"""
    found = {(asked.target, asked.early) for asked in read(ast.parse(source), ["x", "y"])}
    assert found == {
        ("a.b", True),
        ("x.y.c", True),
        ("d", False),
        ("x.e.g", False),
        ("h", True),
    }


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def missing_names(source, path):
    """Names that code looks for in its module and nobody puts there; linters do not look behind shapes."""

    def codes(code):
        yield code
        for const in code.co_consts:
            if isinstance(const, types.CodeType):
                yield from codes(const)

    module = compile(source, path, "exec")
    told = [(i.opname, i.argval) for code in codes(module) for i in dis.get_instructions(code)]
    known = {name for op, name in told if op in ("STORE_NAME", "STORE_GLOBAL")} | set(dir(builtins))
    return {name for op, name in told if op == "LOAD_GLOBAL"} - known - {"__file__", "__name__"}


def test_every_name_is_defined():
    assert missing_names("import a\n\ndef f():\n    return a.b + len(c)\n", "x.py") == {"c"}
    for folder in ("jleaks", "launch", "benchmarks", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not missing_names(path.read_text(), str(path)), path
