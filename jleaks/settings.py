"""JAX's own settings: those that change numbers under the same fingerprint, or that nothing works with.

They come from the environment (JAX_ENABLE_X64=1) or from `jax.config`.  jleaks changes none of them: it
refuses.  The generator of random numbers is not among them, `jleaks.keys` names its own.
"""

import jax

from jleaks.errors import InputError

# What each must be: JAX's defaults.
EXPECTED = {
    # Other random words for the same key.
    "jax_threefry_partitionable": True,
    # Arrays of 64 bits where programs are written for 32.
    "jax_enable_x64": False,
    # Products that state no precision of their own.
    "jax_default_matmul_precision": None,
    # Compiled ahead of time is all that a fleet runs.
    "jax_disable_jit": False,
    # Integers meet floats, and vectors matrices.
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    # XLA's older partitioner ends the process.
    "jax_use_shardy_partitioner": True,
}


def check() -> None:
    """Checks that JAX has devices, and computes what fingerprints stand for.

    Raises:
      InputError: names the settings that must be left alone.
    """
    found = []
    for name, expected in EXPECTED.items():
        value = getattr(jax.config, name, expected)
        # Some are enumerations.
        if getattr(value, "value", value) != expected:
            found.append(f"{name.upper()} is {value}, expected {expected}")
    if found:
        raise InputError(
            f"JAX is set to what jleaks does not compute with: {'; '.join(found)}; leave it at its "
            "default"
        )
    try:
        jax.devices()
    # JAX raises RuntimeError for platforms it does not know, AssertionError for one without devices.
    except (RuntimeError, AssertionError) as error:
        platforms = getattr(jax.config, "jax_platforms", None)
        reason = " ".join(str(error).split())[:200] or "none of that platform's are there"
        raise InputError(
            f"JAX has no devices ({reason}): JAX_PLATFORMS is {platforms}, expected cpu, "
            "or nothing for whatever there is"
        ) from error
