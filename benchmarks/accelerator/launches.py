"""What a device is told to do, and how often: kernels, the CUDA graphs that hold them, loops."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accelerator.hlo import Instruction, Module

_THUNK = re.compile(r"^( *)(\d{3,}): k(\w+)\s*\[")
_NAMED = re.compile(
    r'thunk_info \{(?:\s*profile_annotation: "([^"]*)")?(?:\s*thunk_id: (\d+))?\s*\}'
)
# Thunks that hold others, and are no launches themselves.
_HOLDERS = ("Sequential", "DynamicSliceFusion", "Conditional", "AsyncStart", "AsyncDone")
# Instructions that a TPU's core does not execute.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all"),
    *("copy-done", "partition-id", "opt-barrier", "async-done", "slice-done"),
}


@dataclasses.dataclass
class Body:
    """A sequence of launches: a program's, or what a loop does in a round.

    Attributes:
      alone: Launches outside of graphs, by the instruction that they are of.
      graphs: CUDA graphs, each with its launches.
      loops: Loops, each with its rounds (None where XLA does not know them) and what it does in one.
    """

    alone: list[str] = dataclasses.field(default_factory=list)
    graphs: list[list[str]] = dataclasses.field(default_factory=list)
    loops: list[tuple[int | None, "Body"]] = dataclasses.field(default_factory=list)

    @property
    def kernels(self) -> list[str]:
        """Launches of one round, loops within it left out."""
        return [*self.alone, *(name for graph in self.graphs for name in graph)]

    @property
    def launches(self) -> int:
        """Launches in all; a loop of unknown length counts as one round."""
        return len(self.kernels) + sum((n or 1) * body.launches for n, body in self.loops)

    @property
    def calls(self) -> int:
        """What the host tells the device to do: launches outside of graphs, and graphs."""
        inner = sum((n or 1) * body.calls for n, body in self.loops)
        return len(self.alone) + len(self.graphs) + inner

    def nested(self, depth: int = 0) -> Iterator[tuple[int, "Body"]]:
        """Yields this body and all loops' within it, with how deep they lie."""
        yield depth, self
        for _, body in self.loops:
            yield from body.nested(depth + 1)

    def step(self) -> "Body":
        """Returns the body of the innermost loop with the most launches: a step of training."""
        return max(self.nested(), key=lambda found: (found[0], len(found[1].kernels)))[1]


def of_gpu(dump: Path, module: Module) -> Body:
    """Reads the launches of the largest program that XLA:GPU wrote into a folder (`--xla_dump_to`)."""
    files = dump.glob("*.thunk_sequence_after_thunk_passes.txt")
    path = max(files, key=lambda file: file.stat().st_size)
    about = path.with_name(path.name.partition(".thunk_sequence")[0] + ".thunk_metadata.txt")
    names = {int(at): name for name, at in _NAMED.findall(about.read_text()) if at}
    return read_thunks(path.read_text(), names, module)


def read_thunks(text: str, names: dict[int, str], module: Module) -> Body:
    """Reads a sequence of thunks.

    Args:
      text: XLA's, one a line, what a loop or a graph does indented by four.
      names: Instructions by the number of their thunk.
      module: For the rounds of loops.
    """
    root = Body()
    # Where the launches of each indentation go: to a body, or a graph of its.
    places: list[tuple[int, Body, list[str] | None]] = [(0, root, None)]
    loops: dict[int, Body] = {}
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() == "body:":
            while places[-1][0] > indent + 2:
                places.pop()
            places[-1] = (places[-1][0], loops[places[-1][0]], None)
        found = _THUNK.match(line)
        if found is None:
            continue
        number, kind = int(found[2]), found[3]
        while places[-1][0] > indent:
            places.pop()
        _, body, graph = places[-1]
        name = names.get(number, kind)
        if kind == "While":
            one = module.instructions.get(name)
            trips, inner = one and one.trips, Body()
            body.loops.append((trips, inner))
            # Its condition comes first, which nobody asks where the rounds are known.
            loops[indent + 4] = inner
            places.append((indent + 4, Body() if trips else inner, None))
        elif kind == "CommandBuffer":
            launches: list[str] = []
            body.graphs.append(launches)
            places.append((indent + 4, body, launches))
        elif kind in _HOLDERS:
            places.append((indent + 4, body, graph))
        else:
            (body.alone if graph is None else graph).append(name)
    return root


def of_tpu(module: Module) -> Body:
    """Returns what a TPU's core executes: one program, in which nothing is launched by the host."""

    def read(computation: str) -> Body:
        body = Body()
        for one in module.computations.get(computation, []):
            if one.operation == "while":
                inner = next(name for name in one.called if f"body=%{name}" in one.text)
                body.loops.append((one.trips, read(inner)))
            elif one.operation in ("call", "conditional"):
                for name in one.called:
                    called = read(name)
                    body.alone += called.kernels
                    body.loops += called.loops
            elif one.operation not in _FREE:
                body.alone.append(one.name)
        return body

    return read(module.entry)


def instructions(names: list[str], module: Module) -> list[Instruction]:
    """Returns the instructions that launches are of, each once, as far as XLA names them."""
    return [
        module.instructions[name] for name in dict.fromkeys(names) if name in module.instructions
    ]
