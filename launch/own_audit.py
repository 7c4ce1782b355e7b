"""The flags of auditing a model of one's own: its records, and how its kind is trained."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jleaks import registry
from jleaks.activity import doing
from jleaks.errors import InputError

from .app import WHAT, WHERE, Log, public_flags
from .network import own_network
from .recipe import make_recipe

if TYPE_CHECKING:
    from jleaks.auditing.audit import Audit
    from jleaks.training.execution import Execution

_DATA = flags.DEFINE_string(
    "data",
    None,
    "Your records, labels and membership in one file: .npz, .csv, .tsv or .parquet.  With --network, or "
    "--fit and --predict, shadow models are trained on them.",
    module_name=WHERE,
)
_MEMBER = flags.DEFINE_string(
    "member",
    None,
    "Of --data, the column or array that says whether the audited model was trained on a record.  Default: "
    "whichever is called member, members, is_member, trained_on or in_training.",
    module_name=WHAT,
)
_LABEL = flags.DEFINE_string(
    "label",
    None,
    "Of --data, the column or array of the classes.  Default: whichever is called labels, y, targets, "
    "target, label or classes.",
    module_name=WHAT,
)
_FEATURES = flags.DEFINE_string(
    "features",
    None,
    "Of --data in an npz, the array of the records.  Default: whichever is called features, x, data, "
    "images or records.",
    module_name=WHAT,
)
_IDS = flags.DEFINE_string(
    "id",
    None,
    "Of --data, the column of each record's name.  Default: positions.",
    module_name=WHAT,
)
_GROUPS = flags.DEFINE_list(
    "groups", [], "Of --data, columns of groups whose risk is told apart.", module_name=WHAT
)
_FIT = flags.DEFINE_string(
    "fit",
    None,
    "Your training, MODULE:FUNCTION or FILE.py:FUNCTION of records and labels (and a seed, if it takes "
    "one) that returns a model.",
    module_name=WHERE,
)
_PREDICT = flags.DEFINE_string(
    "predict",
    None,
    "Your model's answers, MODULE:FUNCTION or FILE.py:FUNCTION of a model and records that returns "
    "posteriors, one row a record.",
    module_name=WHERE,
)
_ANSWERS = flags.DEFINE_string(
    "answers",
    None,
    "What the released model answered about the records of --data, an npz with posteriors.  Without it a "
    "model is trained on the members and audited in its place.",
    module_name=WHERE,
)
_NUM_SHADOWS = flags.DEFINE_integer(
    "num_shadows", 64, "Number of shadow models that are trained.", module_name=WHAT
)
_ATTACKS = flags.DEFINE_list(
    "attacks", ["all"], "Attacks to try: all, or some by name.", module_name=WHAT
)
_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    None,
    "Number of shadow models that --fit trains at once.  Default: one a core.",
    lower_bound=1,
    module_name="Speed only",
)
_TITLE = flags.DEFINE_string(
    "title", "", "Name of the audited model, for the report.", module_name=WHAT
)


def is_asked_for() -> bool:
    """Whether the flags name records of one's own."""
    if _DATA.value is None:
        for name in ("fit", "predict", "answers", "member", "id", "groups", "label", "features"):
            if flags.FLAGS[name].present:
                raise InputError(f"--{name} says something of --data, which is not given")
    return _DATA.value is not None


def find(log: Log, execution: "Execution", workdir: Path, seed: int) -> "Audit":
    """Audits a model of one's own.

    Raises:
      InputError: flags, files or functions cannot be used.
    """
    import numpy as np

    from jleaks.auditing import files
    from jleaks.auditing.audit import audit

    assert _DATA.value is not None
    network, fit, predict = own_network(), _function("fit"), _function("predict")
    trained = flags.FLAGS["model"].present or flags.FLAGS["recipe"].present
    if network is None and fit is None and trained:
        network = make_recipe().model
    if network is None and (fit is None or predict is None):
        raise InputError(
            "--data needs a way to train shadow models: --network=nets.py:Net, or --fit=FILE.py:fit and "
            "--predict=FILE.py:predict"
        )
    columns = files.Columns(
        _LABEL.value, _MEMBER.value, _IDS.value, tuple(_GROUPS.value), _FEATURES.value
    )
    records = files.read(_DATA.value, columns, encoded=network is not None)
    log.line(
        f"{_DATA.value}: {records.num_records:,} records of {records.num_classes} classes, "
        f"{int(records.member.sum()):,} of them members"
    )
    answers = None
    if _ANSWERS.value is not None:
        from jleaks.blackbox import files as answer_files

        answers = np.asarray(
            answer_files.read(_ANSWERS.value, "target", headerless=True).posteriors
        )
    with doing("audit"):
        return audit(
            records.data,
            records.own_labels(np.arange(records.num_records)),
            records.member,
            fit=fit,
            predict=predict,
            network=network,
            recipe=None if network is None else make_recipe(),
            answers=answers,
            num_shadows=_NUM_SHADOWS.value,
            ids=records.ids,
            groups=records.groups,
            attacks=_ATTACKS.value,
            seed=seed,
            num_processes=_PROCESSES.value,
            workdir=workdir,
            execution=execution,
            tell=log.line,
        )


def save(found: "Audit", folder: Path, log: Log) -> None:
    """Writes the report, and says what was found."""
    from jleaks.report import audit_files, audit_page

    log.line(audit_page.lead(found))
    log.line(f"leak: {found.verdict}")
    for line in found.notes:
        log.line(f"note: {line}")
    command = f"jleaks audit {public_flags()}"
    for path in audit_files.save(found, folder, title=_TITLE.value, command=command):
        log.line(f"wrote {path}")


def _function(flag: str) -> Any:
    """Returns the function that a flag names, None without it."""
    name = flags.FLAGS[flag].value
    if name is None:
        return None
    # Shadow processes find the user's modules where this one does.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = registry.load_object(name)
    if not callable(found):
        raise InputError(f"--{flag} is {name}, a {type(found).__name__}, expected a function")
    module = sys.modules.get(getattr(found, "__module__", ""))
    if module is not None and module.__name__.startswith("jleaks_plugin_"):
        # A file loaded by its path is no module of theirs: its functions travel whole.
        import cloudpickle

        cloudpickle.register_pickle_by_value(module)
    return found
