"""The flag of a network of one's own."""

from absl import flags

from jleaks.errors import InputError
from jleaks.models.own_network import load_network

from .app import WHERE

_NETWORK = flags.DEFINE_string(
    "network",
    None,
    "Network of your own, a flax module (linen or nnx) in a file or module: nets.py:Net or "
    "my_package.nets:Net.  It is trained in place of --model.  Or register it in a --plugin, and name it "
    "by --model.",
    module_name=WHERE,
)


def own_network() -> str | None:
    """Registers the network that --network names; returns its name, None without the flag.

    Raises:
      InputError: there is no such network.
    """
    return None if _NETWORK.value is None else load_network(_NETWORK.value)


def choose_network(model: str | None) -> str | None:
    """Returns the network that --network names, or else the one that --model does.

    Args:
      model: Value of --model, if there is any.

    Raises:
      InputError: there is no such network, or both flags name one.
    """
    own = own_network()
    if own and model:
        raise InputError(f"--network is {_NETWORK.value} and --model is {model}: give one of them")
    return own or model
