"""JAX Privacy: one model, as its examples train it.

python -m benchmarks.private.with_jax_privacy FOLDER jax_privacy ...      (see `job.answer`)

`CyclicPoissonSampling` of one cycle, which is Poisson sampling, draws positions on the host; they are
padded to a multiple of 32, and one jitted function for each padded size gathers the records, calls
`clipped_grad` (which forms the gradient of every record), adds `gaussian_privatizer`'s noise and takes
Adam's step.  The examples gather outside of that function; all else is as in them.
"""

import functools

import jax
import jax.numpy as jnp
import jax_privacy
import numpy as np
import optax
from jax_privacy import batch_selection, noise_addition

from benchmarks.private.job import Job, Layers, answer

# As in the examples: of padding, and of compiling anew.
_MULTIPLE = 32
# Far more than a model takes.
_ITERATIONS = 10**9


def _loss(layers, records, labels):
    first, first_bias, second, second_bias = layers
    logits = jnp.tanh(records @ first + first_bias) @ second + second_bias
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@functools.cache
def _program(clip: float, batch: int, noise: float, learning_rate: float):
    """Returns the jitted step of all models, what makes noise from a key, and the optimiser."""
    gradient = jax_privacy.clipped_grad(
        _loss, l2_clip_norm=clip, batch_argnums=(1, 2), normalize_by=batch
    )
    stddev = noise * gradient.l2_norm_bound
    make_noise = functools.partial(noise_addition.gaussian_privatizer, stddev=stddev)
    # The state has the key that noise is drawn from: this one is never used.
    add_noise, adam = make_noise(prng_key=jax.random.key(0)).update, optax.adam(learning_rate)

    @jax.jit
    def step(state, records, labels, at):
        layers, noise_state, adam_state = state
        clipped = gradient(layers, records[at], labels[at], is_padding_example=at == -1)
        noisy, noise_state = add_noise(clipped, noise_state)
        updates, adam_state = adam.update(noisy, adam_state)
        return optax.apply_updates(layers, updates), noise_state, adam_state

    return step, make_noise, adam


class Private:
    """A model in training."""

    def __init__(self, job: Job, model: int):
        """Prepares everything, and compiles for every size that a batch is likely to have."""
        step, make_noise, adam = _program(job.clip, job.batch, job.noise, job.learning_rate)
        noise = make_noise(prng_key=jax.random.key(model))
        records, labels = map(jnp.asarray, job.part(model))
        layers = list(map(jnp.asarray, job.layers(model)))
        self._state = layers, noise.init(layers), adam.init(layers)
        self._step = lambda state, at: step(state, records, labels, at)
        sampling = batch_selection.CyclicPoissonSampling(
            sampling_prob=1 / job.num_steps,
            iterations=_ITERATIONS,
            partition_type=batch_selection.PartitionType.INDEPENDENT,
        )
        self._samples = sampling.batch_iterator(len(labels), rng=model)
        # Five deviations of a Poisson sample's size to either side.
        reach = 5 * job.batch**0.5
        kind = np.min_scalar_type(-len(labels))
        for size in range(_MULTIPLE, int(job.batch + reach) + _MULTIPLE, _MULTIPLE):
            if size > job.batch - reach:
                self._step(self._state, np.full(size, -1, kind))

    def step(self) -> None:
        """Takes a step."""
        at = batch_selection.pad_to_multiple_of(next(self._samples), _MULTIPLE)
        self._state = self._step(self._state, at)

    def layers(self) -> Layers:
        """Returns the weights."""
        return [np.asarray(layer) for layer in self._state[0]]


if __name__ == "__main__":
    answer(Private, ("jax-privacy", "jax"))
