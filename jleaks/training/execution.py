"""An `Execution` is everything that defines only the speed of training and asking, never the numbers."""

import dataclasses
from typing import Literal

from jleaks.errors import refuse
from jleaks.fields import Count, Form, KernelsName, Seconds, problems


@dataclasses.dataclass(frozen=True)
class Execution:
    """Everything that defines only the speed.  None means: chosen automatically.

    Attributes:
      num_devices: Number of devices to spread models over.
      models_per_call: Number of models that one compiled call advances over all devices.
      models_per_vmap: Number of models of one device that advance in the same instruction (`vmap`); the
        others of a call wait their turn (`lax.map`).
      records_per_block: Number of records whose activations are alive at once: gradients of a batch are
        summed over blocks of this size, which keeps a CNN's working set in cache.
      convolution: Form in which convolutions are computed (see `jleaks.models.convolution`).
      kernels: Kernels that compute layers, gradients and optimiser on CPU devices: XLA's ("xla" or None),
        or jleaks' own ("host"), which the machine's C++ compiler builds once and
        `jleaks.models.cpu_kernels.library` loads.
      chunk_seconds: Length in seconds that one compiled call aims for; between calls come progress, the
        stop signal and checkpoints.
      checkpoint_seconds: Least time in seconds between two checkpoints of an unfinished fleet, or twenty
        times what saving the last one took if that is longer; 0 for one after every compiled call.
      on_divergence: What becomes of a run of whose models one has a loss that is not finite: "stop" ends
        it; "mark" goes on with the others, whose numbers are the same, and leaves that model's results out.
    """

    num_devices: Count | None = None
    models_per_call: Count | None = None
    models_per_vmap: Count | None = None
    records_per_block: Count | None = None
    convolution: Form | None = None
    kernels: KernelsName | None = None
    chunk_seconds: Seconds = 3.0
    checkpoint_seconds: Seconds = 60.0
    on_divergence: Literal["stop", "mark"] = "stop"

    def validate(self) -> "Execution":
        """Checks the values.

        Returns:
          The execution itself.

        Raises:
          InputError: names every problem at once.
        """
        refuse(problems(self))
        return self
