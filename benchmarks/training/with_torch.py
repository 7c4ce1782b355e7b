"""Shadow models trained with PyTorch, as people do: one after another, in processes, or stacked."""

import functools
import importlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.training.workload import (
    BATCH,
    GEMM_SIZES,
    LEARNING_RATE,
    Found,
    Maker,
    Weights,
    Workload,
    best_rate,
    make_group,
    time_group,
    train_groups,
)

# Not a dependency of jleaks, and nothing here is checked against its types.
torch: Any = importlib.import_module("torch")
nn: Any = torch.nn

_B1, _B2, _EPS = 0.9, 0.999, 1e-8
# What processes wait at; set in each.
_barrier: Any = None
# Records answered at a time after training.
_ANSWERED = 500


class Setting(NamedTuple):
    """How models that are trained one after another are set up.

    Attributes:
      fused: Of `torch.optim.Adam`; None for its default.
      memory_format: Of images and kernels.
    """

    fused: bool | None
    memory_format: Any


_EAGER = Setting(None, torch.contiguous_format)
_FUSED = Setting(True, torch.channels_last)


def _network(weights: Weights) -> Any:
    """Builds the network of some weights: convolutions first, tanh before the read-out."""
    layers: list[Any] = []
    shape: tuple[int, ...] = ()
    for i, (kernel, bias) in enumerate(weights):
        if kernel.ndim == 4:
            size, _, channels, features = kernel.shape
            # The paper's CNN: the first convolution keeps the image's size, the second does not.
            layer = nn.Conv2d(channels, features, size, padding=0 if i else size // 2)
            layers += [layer, nn.ReLU(), nn.MaxPool2d(2)]
            array, shape = kernel.transpose(3, 2, 0, 1), (features,)
        else:
            inputs, outputs = kernel.shape
            layer = nn.Linear(inputs, outputs)
            if shape:
                # torch flattens [channels, height, width], jleaks [height, width, channels].
                side = round((inputs // shape[0]) ** 0.5)
                kernel = kernel.reshape(side, side, shape[0], outputs)
                kernel = kernel.transpose(2, 0, 1, 3).reshape(inputs, outputs)
                layers.append(nn.Flatten())
                shape = ()
            last = i == len(weights) - 1
            layers += [layer] if last else [layer, nn.Tanh()]
            array = kernel.T
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(array))
            layer.bias.copy_(torch.tensor(bias))
    return nn.Sequential(*layers)


class _Inputs:
    """Records as float tensors, made once: images in the memory format of the network, standardised."""

    def __init__(self, workload: Workload, model: int, rows: np.ndarray, memory_format: Any):
        mean, std = workload.scale(model)
        records = (workload.features[rows].astype(np.float32) - mean) / std
        self._records = torch.from_numpy(records)
        # Kept as [n, height, width, channels], a batch of images is a view in torch's channels_last.
        self._turned = records.ndim == 4 and memory_format is torch.channels_last
        if records.ndim == 4 and not self._turned:
            self._records = self._records.permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(workload.labels[rows].astype(np.int64))

    def take(self, at: Any) -> tuple[Any, Any]:
        """Returns a batch: images as [B, channels, height, width]."""
        records = self._records.index_select(0, at)
        records = records.permute(0, 3, 1, 2) if self._turned else records
        return records, self.labels.index_select(0, at)


def _answered(answer: Callable[[Any], Any], inputs: _Inputs) -> np.ndarray:
    """Returns which records are answered correctly, [n] bool."""
    found = []
    with torch.no_grad():
        for at in torch.arange(len(inputs.labels)).split(_ANSWERED):
            records, labels = inputs.take(at)
            found.append(answer(records).argmax(1) == labels)
    return torch.cat(found).numpy()


class One:
    """A single model in training, as a textbook would have it."""

    num_models = per_call = 1
    compile_seconds: float | None = None

    def __init__(
        self,
        setting: Setting,
        workload: Workload,
        models: Sequence[int],
        weights: Sequence[Weights],
    ):
        """Prepares the model's records and network; of one model alone."""
        ((self._model,), (self._weights,)) = models, weights
        self._setting, self._workload = setting, workload
        self._part = self._inputs(workload.members[self._model])
        torch.manual_seed(self._model)
        self.restart()

    def _inputs(self, rows: np.ndarray) -> _Inputs:
        return _Inputs(self._workload, self._model, rows, self._setting.memory_format)

    def restart(self) -> None:
        """Returns to the initial weights."""
        network = _network(self._weights)
        self._network = network.to(memory_format=self._setting.memory_format)
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), LEARNING_RATE, fused=self._setting.fused
        )

    def call(self, step: int) -> Any:
        """Takes a step of an epoch; returns the loss, [1]."""
        if step == 0:
            self._order = torch.randperm(len(self._part.labels))
        return self.step(self._order[step * BATCH : (step + 1) * BATCH])[None]

    def step(self, at: Any) -> Any:
        """Takes one step on positions [B] of the training part; returns the loss."""
        records, labels = self._part.take(at)
        self._optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self._network(records), labels)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def correct(self) -> np.ndarray:
        """Returns which of the workload's tests are answered correctly, [1, t]."""
        return _answered(self._network, self._inputs(self._workload.tests))[None]


class _Fused:
    """PyTorch's own Adam on the stacked parameters."""

    def __init__(self, gradient: Any):
        self._gradient = gradient

    def begin(self, params: dict[str, Any]) -> None:
        self._params = params
        self._optimizer = torch.optim.Adam(list(params.values()), LEARNING_RATE, fused=True)

    def step(self, records: Any, labels: Any) -> Any:
        grads, losses = self._gradient(self._params, records, labels)
        for name, leaf in self._params.items():
            leaf.grad = grads[name]
        self._optimizer.step()
        return losses


class _Compiled:
    """Gradient and Adam (Kingma & Ba 2015) of all models in one compiled program."""

    def __init__(self, gradient: Any):
        def whole(
            params: Any, means: Any, squares: Any, scalars: Any, records: Any, labels: Any
        ) -> Any:
            grads, losses = gradient(params, records, labels)
            rate, correction = scalars
            for name, grad in grads.items():
                means[name].lerp_(grad, 1 - _B1)
                squares[name].mul_(_B2).addcmul_(grad, grad, value=1 - _B2)
                root = (squares[name] * correction).sqrt()
                params[name].sub_(rate * means[name] / (root + _EPS))
            return losses

        self._whole = torch.compile(whole, dynamic=False)

    def begin(self, params: dict[str, Any]) -> None:
        self._params, self._taken = params, 0
        self._moments = [
            {name: torch.zeros_like(leaf) for name, leaf in params.items()} for _ in range(2)
        ]

    def step(self, records: Any, labels: Any) -> Any:
        self._taken += 1
        scalars = LEARNING_RATE / (1 - _B1**self._taken), 1 / (1 - _B2**self._taken)
        # As tensors: numbers would be compiled in.
        scalars = tuple(map(torch.tensor, scalars))
        return self._whole(self._params, *self._moments, scalars, records, labels)


class Stacked:
    """Models that advance together: `vmap` of the gradient over stacked parameters."""

    per_call = 1
    compile_seconds: float | None = None

    def __init__(
        self,
        kind: type[_Fused] | type[_Compiled],
        workload: Workload,
        models: Sequence[int],
        weights: Sequence[Weights],
    ):
        """Stacks the models; all of them gather from one dataset."""
        self._weights, self._workload, self._models = weights, workload, models
        self.num_models = len(models)
        self._features = torch.from_numpy(workload.features.astype(np.float32))
        self._labels = torch.from_numpy(workload.labels.astype(np.int64))
        self._members = torch.from_numpy(workload.members[list(models)].astype(np.int64))
        self._is_image = workload.features.ndim == 4
        mean, std = zip(*(workload.scale(m) for m in models), strict=True)
        self._mean = torch.from_numpy(np.stack(mean))[:, None]
        self._factor = 1 / torch.from_numpy(np.stack(std))[:, None]
        skeleton = _network(weights[0]).to("meta")

        def loss_fn(params: Any, records: Any, labels: Any) -> Any:
            logits = torch.func.functional_call(skeleton, params, (records,))
            return nn.functional.cross_entropy(logits, labels)

        self._adam = kind(torch.func.vmap(torch.func.grad_and_value(loss_fn)))
        torch.manual_seed(models[0])
        self.restart()

    def restart(self) -> None:
        """Returns to the initial weights."""
        stacked, _ = torch.func.stack_module_state([_network(w) for w in self._weights])
        self._params = {name: leaf.detach() for name, leaf in stacked.items()}
        self._adam.begin(self._params)

    def call(self, step: int) -> Any:
        """Takes a step of an epoch; returns the losses, [models]."""
        if step == 0:
            size = self._members.shape[1]
            self._order = torch.stack([torch.randperm(size) for _ in range(self.num_models)])
        return self.step(self._order[:, step * BATCH : (step + 1) * BATCH])

    def step(self, at: Any) -> Any:
        """Takes one step on positions [models, B] of the training parts; returns the losses [models]."""
        rows = self._members.gather(1, at).reshape(-1)
        records = self._features.index_select(0, rows)
        records = records.view(*at.shape, *records.shape[1:])
        if self._is_image:
            records = (records - self._mean) * self._factor
            records = records.permute(0, 1, 4, 2, 3).contiguous()
        labels = self._labels.index_select(0, rows).view(at.shape)
        return self._adam.step(records, labels)

    def correct(self) -> np.ndarray:
        """Returns which of the workload's tests are answered correctly, [models, t]."""
        tests, found = self._workload.tests, []
        for i, model in enumerate(self._models):
            network = _network(self._weights[i])
            network.load_state_dict({name: leaf[i] for name, leaf in self._params.items()})
            inputs = _Inputs(self._workload, model, tests, torch.contiguous_format)
            found.append(_answered(network, inputs))
        return np.stack(found)


MAKERS: dict[str, Maker] = {
    "torch_eager": functools.partial(One, _EAGER),
    "torch_fused": functools.partial(One, _FUSED),
    "torch_processes": functools.partial(One, _FUSED),
    "torch_func": functools.partial(Stacked, _Fused),
    "torch_func_compiled": functools.partial(Stacked, _Compiled),
}


def _gemm() -> float:
    """Returns the best FLOP/s of `torch.mm`."""
    rates = []
    for size in GEMM_SIZES:
        a = torch.rand(size, size)
        rates.append(best_rate(lambda a=a: torch.mm(a, a), size, 1))
    return max(rates)


def _measured(name: str, workload: Workload, models: Sequence[int], seconds: float) -> Found:
    found = time_group(make_group(MAKERS[name], workload, models), workload, seconds)
    return {**found, "peak_megabytes": harness.peak_megabytes()}


def _join(barrier: Any) -> None:
    """Makes this one of several processes that begin together."""
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _beside_others(workload: Workload, model: int, seconds: float) -> Found:
    _barrier.wait()
    found = _measured("torch_processes", workload, [model], seconds)
    _barrier.wait()
    return {**found, "gemm_flops": _gemm()}


def _in_processes(workload: Workload, seconds: float) -> Found:
    """Times a process per core, each with one thread and one model."""
    context, cores = multiprocessing.get_context("spawn"), len(os.sched_getaffinity(0))
    barrier = context.Barrier(cores)
    with ProcessPoolExecutor(cores, context, _join, (barrier,)) as pool:
        args = [workload] * cores, range(cores), [seconds] * cores
        found = list(pool.map(_beside_others, *args))
    return {
        "first_call_seconds": max(one["first_call_seconds"] for one in found),
        "seconds": max(one["seconds"] for one in found),
        "measured_models": cores,
        **{
            name: sum(one[name] for one in found)
            for name in ("model_steps", "peak_megabytes", "gemm_flops")
        },
    }


def measure(name: str, workload: Workload, count: int, seconds: float) -> Found:
    """Times a contender (see `workload.Contender`)."""
    if name == "torch_processes":
        return _in_processes(workload, seconds)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    found = _measured(name, workload, range(count), seconds)
    return {**found, "gemm_flops": _gemm()}


def learn(
    name: str, workload: Workload, num_models: int, count: int, epochs: int
) -> dict[str, list[float]]:
    """Trains models to compare what they have learned (see `workload.Contender`)."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return train_groups(MAKERS[name], workload, num_models, count, epochs)
