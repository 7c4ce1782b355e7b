"""Models trained one after another with PyTorch, in a process of its own that answers JSON with JSON.

Each line in is a turn, such as {"network": "mlp", "record": [600], "hidden": [128], "num_classes": 100,
"batch": 100, "learning_rate": 1e-3, "precision": "float32", "variant": "eager", "seconds": 0.5}; the other
network is "cnn", the other variant "graphed".  Each line out has `steps_per_second` and the last `loss`, or
`failed`.  A network of a variant is made in its first turn.

eager: Adam of `torch.optim`, fused, records on the device.  graphed: the whole step (gather, forward,
backward, Adam) captured as one CUDA graph and replayed, so that nothing is launched from Python but the
replay.  Both take float32 operands, TF32 or bfloat16 (autocast) as the plan says.
"""

import contextlib
import importlib
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

# Not a dependency of jleaks, and nothing here is checked against its types.
torch: Any = importlib.import_module("torch")
nn: Any = torch.nn

# Records of a training part: as many as are shuffled in an epoch.
_RECORDS = 10_000


def _network(request: dict[str, Any]) -> Any:
    record, hidden = request["record"], list(request["hidden"])
    parts: list[Any] = []
    if request["network"] == "cnn":
        height, width, channels = record
        for padding in (2, 0):
            parts += [nn.Conv2d(channels, 32, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)]
            height, width = ((n + 2 * padding - 4) // 2 for n in (height, width))
            channels = 32
        record, hidden = [height, width, channels], [128]
    parts.append(nn.Flatten())
    inputs = math.prod(record)
    for width in hidden:
        parts += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, request["num_classes"]))


class Contender:
    """One network in training, step after step."""

    def __init__(self, request: dict[str, Any]):
        """Makes network, optimiser and records, and captures the step where that is asked for.

        Raises:
          RuntimeError: a graph was asked for without a GPU.
        """
        on_gpu = torch.cuda.is_available()
        graphed = request["variant"] == "graphed"
        if graphed and not on_gpu:
            raise RuntimeError("CUDA graphs need a GPU")
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._batch, precision = request["batch"], request["precision"]
        set_precision(precision)
        torch.manual_seed(0)
        record = tuple(request["record"])
        images = len(record) == 3
        shape = (record[2], *record[:2]) if images else record
        self._records = torch.rand((_RECORDS, *shape), device=self._device)
        self._labels = torch.randint(request["num_classes"], (_RECORDS,), device=self._device)
        network = _network(request).to(self._device)
        if images:
            network = network.to(memory_format=torch.channels_last)
            self._records = self._records.contiguous(memory_format=torch.channels_last)
        self._network = network
        self._adam = torch.optim.Adam(
            network.parameters(), request["learning_rate"], fused=True, capturable=graphed
        )
        self._context: Callable[[], Any] = contextlib.nullcontext
        if precision == "bfloat16":
            self._context = lambda: torch.autocast(self._device.type, torch.bfloat16)
        self._at = torch.zeros(self._batch, dtype=torch.int64, device=self._device)
        self._loss = torch.zeros((), device=self._device)
        self._order = torch.randperm(_RECORDS, device=self._device)
        self._position = 0
        self._advance: Callable[[], None] = self._step
        if graphed:
            self._capture()

    def _step(self) -> None:
        records = self._records.index_select(0, self._at)
        labels = self._labels.index_select(0, self._at)
        self._adam.zero_grad(set_to_none=True)
        with self._context():
            logits = self._network(records)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self._adam.step()
        self._loss.copy_(loss.detach())

    def _capture(self) -> None:
        # As PyTorch's documentation has it: warm up on a stream of its own, then capture.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._advance = graph.replay

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _take(self, steps: int) -> None:
        for _ in range(steps):
            if self._position + self._batch > _RECORDS:
                self._order = torch.randperm(_RECORDS, device=self._device)
                self._position = 0
            self._at.copy_(self._order[self._position : self._position + self._batch])
            self._position += self._batch
            self._advance()

    def turn(self, precision: str, seconds: float) -> dict[str, Any]:
        """Trains for about so many seconds; returns steps a second and the last loss."""
        set_precision(precision)
        self._take(3)
        self._wait()
        steps, count = 0, 4
        began = time.perf_counter()
        while True:
            self._take(count)
            self._wait()
            steps += count
            spent = time.perf_counter() - began
            if spent >= seconds:
                break
            count = max(4, int(1.1 * steps * (seconds - spent) / max(spent, 1e-6)))
        return {"steps_per_second": steps / spent, "loss": float(self._loss)}


def set_precision(precision: str) -> None:
    """Lets products of float32 arrays use TF32, or not."""
    allowed = precision in ("tensorfloat32", "default")
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def answered(kept: dict[str, Contender], request: dict[str, Any]) -> dict[str, Any]:
    """Returns one turn's answer."""
    seconds = request.pop("seconds")
    try:
        key = json.dumps(request, sort_keys=True)
        if key not in kept:
            kept[key] = Contender(request)
        return kept[key].turn(request["precision"], seconds)
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        return {"failed": f"{type(error).__name__}: {line}"[:300]}


def main() -> None:
    kept: dict[str, Contender] = {}
    for line in sys.stdin:
        print(
            json.dumps({**answered(kept, json.loads(line)), "torch": torch.__version__}), flush=True
        )


if __name__ == "__main__":
    main()
