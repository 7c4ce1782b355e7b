"""The console command: hands over to the launchers, which know of flags; this package does not."""

import importlib
import importlib.util
from pathlib import Path

import jleaks


def main() -> None:
    """Runs `jleaks COMMAND`."""
    if importlib.util.find_spec("jleaks.launch") is None:
        # A wheel has the launchers inside this package, a clone beside it.
        jleaks.__path__.append(str(Path(__file__).parents[1]))
    importlib.import_module("jleaks.launch.commands").main()


if __name__ == "__main__":
    main()
