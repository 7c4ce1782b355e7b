"""Makes the HTML page of a run again from its rows: one self-contained file that needs no network.

Of launch.sweep, launch.attack, launch.paper or one of its experiments; each writes its page at its end.  Of
an audit from its audit.json and records.npz; nothing is trained or attacked.

Example: python -m launch.report --run=results/main
"""

from absl import flags

from jleaks.errors import InputError

from .app import WHERE, run

# `jleaks report DIR` is `jleaks report --run=DIR`.
POSITIONAL = "run"

_RUN = flags.DEFINE_string(
    "run",
    None,
    "Folder of the run, with its rows, or of an audit; report.html is written there.",
    module_name=WHERE,
)


def main(_: list[str]) -> int:
    """Writes the page."""
    from jleaks.report.run_pages import write_page

    if _RUN.value is None:
        raise InputError("--run names the folder of a run, as in jleaks report results/main")
    print(f"wrote {write_page(_RUN.value)}")
    return 0


if __name__ == "__main__":
    run(main, "python -m launch.report", __doc__ or "", POSITIONAL)
