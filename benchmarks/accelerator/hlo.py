"""What XLA compiled, read from its text: instructions, the bytes and FLOPs of each, loops, collectives."""

import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# Bytes of a number, by XLA's name of its type; those of less than one are counted as one.
_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8, "128": 16}
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\](?:\{[^}]*\})?")
# A TPU's own memory of its core, in the layout of an array that lies there.
_VMEM = "S(1)"
_HEAD = re.compile(r"^(?:ENTRY )?%(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = ")
_OPERATION = re.compile(r"([a-z][a-z0-9-]*)\(")
_CALLED = re.compile(r"\b(?:calls|to_apply|body)=%([^\s,}]+)")
_COLLECTIVE = re.compile(
    r"\s(?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
# Bytes of an asynchronous copy's own marks.
_MARK = 16
# Read a part of their first operand, not all of it.
_READERS = ("dynamic-slice", "gather", "slice")


class Instruction(NamedTuple):
    """One instruction of a computation.

    Attributes:
      name: In the module.
      operation: As XLA calls it.
      result: Type and shape.
      operands: Names.
      text: The whole line.
    """

    name: str
    operation: str
    result: str
    operands: tuple[str, ...]
    text: str

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs: a fusion's, a loop's body."""
        return tuple(_CALLED.findall(self.text))

    @property
    def trips(self) -> int | None:
        """Rounds of a loop; None where they are not known to XLA."""
        found = re.search(r'known_trip_count":\{"n":"(\d+)"', self.text)
        return None if found is None else int(found[1])

    @property
    def cycles(self) -> int:
        """Cycles that XLA:TPU estimates; 0 where it says nothing."""
        found = re.search(r'estimated_cycles":"(\d+)"', self.text)
        return 0 if found is None else int(found[1])


def num_elements(shape: str) -> int:
    """Returns the numbers of an array, or of all arrays of a tuple."""
    return sum(_count(dims) for _, _, dims in _ARRAY.findall(shape))


def _arrays(shape: str) -> list[tuple[int, bool]]:
    """Returns the bytes of each array, without padding, and whether it lies in a core's own memory."""
    found = _ARRAY.finditer(shape)
    return [(_SIZES.get(f[2], 1) * _count(f[3]), _VMEM in f[0]) for f in found]


def num_bytes(shape: str) -> int:
    """Returns the bytes of an array, or of all arrays of a tuple, in a device's large memory."""
    return sum(size for size, own in _arrays(shape) if not own)


def _count(dims: str) -> int:
    return math.prod(map(int, filter(None, dims.split(","))))


def _dims(shape: str) -> list[int]:
    """Returns the dimensions of the first array."""
    found = _ARRAY.search(shape)
    return [] if found is None else [int(d) for d in found[3].split(",") if d]


def _parsed(line: str) -> Instruction | None:
    found = _INSTRUCTION.match(line)
    if found is None:
        return None
    rest = line[found.end() :]
    # A tuple's type has blanks and comments in it, an array's none.
    if rest.startswith("("):
        depth, end = 0, 0
        for end, letter in enumerate(rest):  # noqa: B007
            depth += (letter == "(") - (letter == ")")
            if not depth:
                break
        result, rest = rest[: end + 1], rest[end + 1 :]
    else:
        result, _, rest = rest.partition(" ")
    operation = _OPERATION.search(rest)
    if operation is None:
        return None
    inside = rest[operation.end() :].partition(")")[0]
    operands = tuple(re.findall(r"%([^\s,)]+)", inside))
    return Instruction(found[1], operation[1], result, operands, line)


class Module:
    """A compiled module.

    Attributes:
      computations: Instructions by the computation's name.
      entry: Name of the one that is run.
      text: All of it.
    """

    def __init__(self, text: str):
        """Parses a module's text."""
        self.text, self.entry = text, ""
        self.computations: dict[str, list[Instruction]] = {}
        found: list[Instruction] = []
        for line in text.splitlines():
            if head := _HEAD.match(line):
                found = self.computations[head[1]] = []
                self.entry = head[1] if line.startswith("ENTRY") else self.entry
            elif (one := _parsed(line)) is not None:
                found.append(one)

    @functools.cached_property
    def instructions(self) -> dict[str, Instruction]:
        """By name; a module's names are unique."""
        return {one.name: one for found in self.computations.values() for one in found}

    @property
    def collectives(self) -> int:
        """Instructions by which devices talk to each other."""
        return len(_COLLECTIVE.findall(self.text))

    def inside(self, one: Instruction) -> Iterator[Instruction]:
        """Yields an instruction and all that it calls."""
        yield one
        for name in one.called:
            for other in self.computations.get(name, []):
                yield from self.inside(other)

    def moved(self, one: Instruction) -> int:
        """Returns the bytes an instruction reads and writes; of what it slices, the slices alone."""
        body = self.computations.get(one.called[0], []) if one.operation == "fusion" else None
        if body is None:
            return self._moved_alone(one)
        parameters = {i.name: i for i in body if i.operation == "parameter"}
        total = num_bytes(one.result)
        for name, parameter in parameters.items():
            users = [i for i in body if name in i.operands]
            if users and all(i.operation in _READERS and i.operands[0] == name for i in users):
                total += sum(num_bytes(i.result) for i in users)
            elif users and all(self._updates(i, name) for i in users):
                # In place: neither the array nor the result passes through memory as a whole.
                update = sum(num_bytes(self.instructions[i.operands[1]].result) for i in users)
                total += 2 * update - num_bytes(parameter.result)
            else:
                total += num_bytes(parameter.result)
        return max(total, 0)

    def _updates(self, one: Instruction, name: str) -> bool:
        place = one.operation == "dynamic-update-slice" and one.operands[0] == name
        return place and one.operands[1] in self.instructions

    def _moved_alone(self, one: Instruction) -> int:
        if one.operation.endswith("-start"):
            # Names what is copied, and beside it where it comes from.
            return min((size for size, _ in _arrays(one.result) if size > _MARK), default=0)
        if "ConcatBitcast" in one.text:
            return 0
        results = [self.instructions[n].result for n in one.operands if n in self.instructions]
        if one.operation in _READERS:
            return 2 * num_bytes(one.result)
        if one.operation == "dynamic-update-slice" and len(results) > 1:
            return 2 * num_bytes(results[1])
        return num_bytes(one.result) + sum(map(num_bytes, results))

    def flops(self, one: Instruction) -> int:
        """Returns the FLOPs of the products within an instruction: two a multiplication and addition.

        cuDNN's convolutions are counted by the images and the kernel of the forward one, whichever of the
        three is the result.  Those of XLA:TPU, which multiplies stacks of matrices by them, are not.
        """
        return sum(map(self._flops_alone, self.inside(one)))

    def _flops_alone(self, one: Instruction) -> int:
        shapes = [self.instructions[n].result for n in one.operands if n in self.instructions]
        if one.operation == "dot" and shapes:
            at = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.text)
            dims = _dims(shapes[0])
            contracted = [dims[int(i)] for i in at[1].split(",")] if at and at[1] else []
            return 2 * num_elements(one.result) * math.prod(contracted)
        labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.text)
        if labels is None or len(shapes) < 2:
            return 0
        result = re.sub(r"^\((.*?\]).*", r"\1", one.result)
        kind = re.search(r"__cudnn\$conv(?:BiasActivation)?(\w+)\"", one.text)
        # The forward convolution's result and kernel.
        roles = {
            "Forward": (result, labels[3], shapes[1]),
            "BackwardInput": (shapes[0], labels[1], shapes[1]),
            "BackwardFilter": (shapes[1], labels[3], result),
        }
        if kind is None or kind[1] not in roles:
            return 0
        images, order, kernel = roles[kind[1]]
        return 2 * num_elements(images) // _dims(images)[order.index("f")] * num_elements(kernel)
