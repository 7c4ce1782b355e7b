"""The flags of auditing a model of one's own: its records, and how its kind is trained."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jleaks import registry
from jleaks.activity import doing
from jleaks.errors import InputError

from . import asking
from .app import WHAT, WHERE
from .command_line import public_flags
from .log import Log
from .network import own_network
from .recipe import make_recipe

if TYPE_CHECKING:
    from jleaks.auditing.result import Audit
    from jleaks.training.execution import Execution
    from jleaks.training.preemption import StopSignal

_DATA = flags.DEFINE_string(
    "data",
    None,
    "Your records, labels and membership: a .npz, .csv, .tsv or .parquet file, a folder with a folder of "
    "images for each class, or of a dataset that TFDS prepared.  With --network, or --fit and --predict, "
    "shadow models are trained on them.",
    module_name=WHERE,
)
_MEMBER = flags.DEFINE_string(
    "member",
    None,
    "Of --data, the column or array that says whether the audited model was trained on a record; of TFDS, "
    "the splits that it was trained on (default train); of a folder of images, a text file with a name a "
    "line.  Default: whichever is called member, members, is_member, trained_on or in_training.",
    module_name=WHAT,
)
_NONMEMBERS = flags.DEFINE_string(
    "nonmembers",
    None,
    "A second file or folder like --data, of records that the audited model was not trained on; those of "
    "--data are its members then.",
    module_name=WHERE,
)
_SHADOW_DATA = flags.DEFINE_string(
    "shadow_data",
    None,
    "A file or folder like --data, of other records of the same kind.  Shadow models then are trained on "
    "these alone, as an attacker from outside trains his.",
    module_name=WHERE,
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
    "Of --data in an npz or of TFDS, the array of the records.  Default: whichever is called features, x, "
    "data, images or records.",
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
_DROP = flags.DEFINE_list("drop", [], "Of --data, columns that are no features.", module_name=WHAT)
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
_BUDGET = flags.DEFINE_integer(
    "shadow_budget",
    None,
    "Most shadow models that are trained, in batches, until the verdict of --policy is certain (wrong in "
    "at most 5% of audits).  In place of --num_shadows.",
    module_name=WHAT,
)
_POLICY = flags.DEFINE_string(
    "policy",
    None,
    "For --shadow_budget, the limits of jleaks gate, a TOML file.  Default: a level of at most weak.",
    module_name=WHAT,
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


# Without --data these would be passed over in silence.
_OF_DATA = (
    *("fit", "predict", "answers", "member", "nonmembers", "id", "groups", "label", "features"),
    *("drop", "shadow_data", "shadow_budget", "policy"),
)


def is_asked_for() -> bool:
    """Whether the flags name records of one's own."""
    if _DATA.value is None:
        for name in _OF_DATA:
            if flags.FLAGS[name].present:
                raise InputError(f"--{name} says something of --data, which is not given")
    return _DATA.value is not None


def find(log: Log, execution: "Execution", workdir: Path, seed: int, stop: "StopSignal") -> "Audit":
    """Audits a model of one's own; one behind an endpoint, or in a function, is asked about the records.

    Raises:
      InputError: flags, files or functions cannot be used.
      EndpointError: the endpoint cannot be reached, or kept failing.
    """
    import numpy as np

    from jleaks.auditing import files
    from jleaks.auditing.audit import audit
    from jleaks.auditing.policy import DEFAULT

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
    if _POLICY.value is not None and _BUDGET.value is None:
        raise InputError(
            "--policy says what a --shadow_budget is spent for, which is not given; see jleaks gate"
        )
    if _BUDGET.value is not None and flags.FLAGS["num_shadows"].present:
        raise InputError("--shadow_budget and --num_shadows are given, expected one of them")
    columns = files.Columns(
        _LABEL.value,
        _MEMBER.value,
        _IDS.value,
        tuple(_GROUPS.value),
        _FEATURES.value,
        tuple(_DROP.value),
    )
    records = files.read(_DATA.value, columns, nonmembers=_NONMEMBERS.value)
    for line in records.lines:
        log.line(line)
    others = None
    if _SHADOW_DATA.value is not None:
        others = files.read(_SHADOW_DATA.value, columns, is_audited=False)
    answers, notes = None, tuple[str, ...]()
    if asking.is_asked_for():
        if _ANSWERS.value is not None:
            raise InputError("--answers are given, and the target is asked: expected one of them")
        answers, usable, box = asking.asked(records.data, workdir, log, stop)
        notes = tuple(box.notes)
        if not usable.all():
            records, answers = records.part(np.flatnonzero(usable)), answers[usable]
    if _ANSWERS.value is not None:
        from jleaks.blackbox import files as answer_files

        answers = np.asarray(
            answer_files.read(_ANSWERS.value, "target", headerless=True).posteriors
        )
    with doing("audit"):
        found = audit(
            records.data,
            records.labels,
            records.member,
            fit=fit,
            predict=predict,
            network=network,
            recipe=None if network is None else make_recipe(),
            answers=answers,
            shadow_data=None if others is None else others.data,
            shadow_labels=None if others is None else others.labels,
            num_shadows=_NUM_SHADOWS.value,
            shadow_budget=_BUDGET.value,
            policy=_POLICY.value or DEFAULT,
            ids=records.ids,
            groups=records.groups,
            attacks=_ATTACKS.value,
            seed=seed,
            num_processes=_PROCESSES.value,
            workdir=workdir,
            execution=execution,
            tell=log.line,
        )
    return dataclasses.replace(found, notes=(*notes, *found.notes))


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
