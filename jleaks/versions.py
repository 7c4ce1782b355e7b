"""Versions of installed packages, recorded beside whatever they computed."""

import importlib.metadata
from collections.abc import Sequence


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Returns each package's version, or "not installed" (jleaks itself may run from a checkout)."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
