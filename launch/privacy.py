"""The flags of a privacy target: DP-SGD whose noise is found."""

from absl import flags

from jleaks.errors import InputError

from .app import WHAT

_EPSILON = flags.DEFINE_float(
    "target_epsilon",
    None,
    "Trains by DP-SGD with the least noise whose accounted epsilon is at most this, at --delta: short for "
    "--defence=dpsgd_epsilon:EPSILON,CLIP,0,DELTA.",
    module_name=WHAT,
)
_DELTA = flags.DEFINE_float(
    "delta", None, "Delta of --target_epsilon.  Default: 1e-5.", module_name=WHAT
)
_CLIP = flags.DEFINE_float(
    "clip",
    None,
    "Largest norm of a record's gradient with --target_epsilon.  Default: 1.",
    module_name=WHAT,
)


def with_target(defence: str | None) -> str | None:
    """Returns the defence that the flags ask for.

    Args:
      defence: --defence, if given.

    Raises:
      InputError: there is both a defence and a target, or what belongs to a target without one.
    """
    if _EPSILON.value is None:
        for flag in (_DELTA, _CLIP):
            if flag.value is not None:
                raise InputError(
                    f"--{flag.name} is {flag.value:g}, but there is no --target_epsilon that it belongs to"
                )
        return defence
    if defence is not None:
        raise InputError(
            f"--defence is {defence} and --target_epsilon {_EPSILON.value:g}, expected one of the two"
        )
    clip = 1.0 if _CLIP.value is None else _CLIP.value
    rest = "" if _DELTA.value is None else f",0,{_DELTA.value:.9g}"
    return f"dpsgd_epsilon:{_EPSILON.value:.9g},{clip:.9g}{rest}"
