"""Opacus: one model, as its documentation trains it.

python -m benchmarks.private.with_opacus FOLDER opacus_hooks|opacus_ghost... ...      (see `job.answer`)

`PrivacyEngine.make_private` with Poisson sampling, which makes a sampler of the data loader; "hooks" forms
the gradient of every record, "ghost" computes their norms and goes backward twice.  The data set hands
over a whole batch at once, which is faster than the documentation's record by record, and Adam is fused.
"""

import sys
import warnings

import torch
from opacus import PrivacyEngine
from torch import nn

from benchmarks.private.job import Job, Layers, answer


class Records(torch.utils.data.Dataset):
    """Records and labels in memory."""

    def __init__(self, records, labels):
        self._records, self._labels = torch.from_numpy(records), torch.from_numpy(labels).long()

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, at):
        return self._records[at], self._labels[at]

    def __getitems__(self, at):
        at = torch.tensor(at, dtype=torch.int64)
        return self._records[at], self._labels[at]


class Private:
    """A model in training."""

    def __init__(self, mode: str, job: Job, model: int):
        """Prepares everything."""
        torch.manual_seed(model)
        first, first_bias, second, second_bias = map(torch.from_numpy, job.layers(model))
        network = nn.Sequential(nn.Linear(*first.shape), nn.Tanh(), nn.Linear(*second.shape))
        values = {"0.weight": first.T, "0.bias": first_bias}
        network.load_state_dict({**values, "2.weight": second.T, "2.bias": second_bias})
        loader = torch.utils.data.DataLoader(
            Records(*job.part(model)), batch_size=job.batch, collate_fn=lambda batch: batch
        )
        made = PrivacyEngine().make_private(
            module=network,
            optimizer=torch.optim.Adam(network.parameters(), job.learning_rate, fused=True),
            criterion=nn.CrossEntropyLoss(),
            data_loader=loader,
            noise_multiplier=job.noise,
            max_grad_norm=job.clip,
            poisson_sampling=True,
            grad_sample_mode=mode,
        )
        # With "ghost" the loss is a wrapped one, too.
        self._network, self._optimizer, *loss, self._loader = made
        self._loss = loss[0] if loss else nn.CrossEntropyLoss()
        self._batches = iter(self._loader)

    def step(self) -> None:
        """Takes a step."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._loader)
            batch = next(self._batches)
        records, labels = batch
        self._optimizer.zero_grad()
        self._loss(self._network(records), labels).backward()
        self._optimizer.step()

    def layers(self) -> Layers:
        """Returns the weights."""
        arrays = [value.detach().numpy().copy() for value in self._network.parameters()]
        return [array.T if array.ndim == 2 else array for array in arrays]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    mode = "ghost" if "ghost" in sys.argv[2] else "hooks"
    answer(lambda job, model: Private(mode, job, model), ("opacus", "torch"))
