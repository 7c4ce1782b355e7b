"""A defence of one's own: logits are clipped to [-limit, limit] before anyone sees an answer.

python -m launch.sweep --plugin=examples/own_defence.py --tasks=location --defence=clipped:2
python -m launch.sweep --plugin=examples/own_defence.py --defence=clipped:2 --attacker=aware
python -m launch.bank --plugin=examples/own_defence.py --tasks=location --defence=clipped:2 --num_models=16

The strength is data: models of different limits answer in one compiled call.  The attacker who knows of the
defence has shadows with it, and needs nothing else.
"""

import jax.numpy as jnp

from jleaks.defences.defence import Defence, defence


@defence("clipped", strength="limit")
def clipped(limit):
    """Keeps answers from being too sure."""
    return Defence(answer=lambda logits: jnp.clip(logits, -limit, limit))
