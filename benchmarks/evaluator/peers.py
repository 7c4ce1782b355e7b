"""Public code that evaluates banks, imported from checkouts.  Nothing here imports JAX."""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy.special import expit

from benchmarks.evaluator.contenders import OFFLINE_A, Answers
from jleaks.errors import InputError


def _module(root: Path, path: str) -> ModuleType:
    """Imports one file.

    Raises:
      InputError: it is not there.
    """
    file = root / path
    if not file.exists():
        raise InputError(f"{file} does not exist")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LiraAuthors:
    """LiRA's authors' code: `research/mi_lira_2021/plot.py` of tensorflow/privacy."""

    attacks = ("lira_online_record", "lira_offline_two_sided")

    def __init__(self, answers: Answers, root: Path):
        """Imports the module from a checkout under `root`/privacy."""
        self._code = _module(root, "privacy/research/mi_lira_2021/plot.py")
        self._answers = answers

    def measured(self, target: int) -> dict[str, tuple[np.ndarray, float]]:
        """Scores and AUC of both attacks, as the code computes them (it answers minus ours)."""
        refs, answers = self._answers.references(target), self._answers
        keep, scores = answers.member[refs], answers.phi[refs][..., None]
        check = answers.member[target][None], answers.phi[target][None, :, None]
        # Without a shadow that chooses, ours takes one variance for all records.
        offline = functools.partial(self._code.generate_ours_offline, fix_variance=True)
        forms = (self._code.generate_ours, offline)
        found = {}
        for name, form in zip(self.attacks, forms, strict=True):
            predicted, truth = (np.array(a) for a in form(keep, scores, *check))
            _, _, area, _ = self._code.sweep(predicted, truth.astype(bool))
            found[name] = -predicted, area
        return found


class PrivacyMeter:
    """RMIA's authors' code: `attacks.py` of privacytrustlab/ml_privacy_meter."""

    attacks = ("rmia_offline",)

    def __init__(self, answers: Answers, root: Path):
        """Imports the module from a checkout under `root`/ml_privacy_meter."""
        self._code = _module(root, "ml_privacy_meter/attacks.py")
        self._p_t, self._outside = (
            np.ascontiguousarray(expit(a).T) for a in (answers.phi_t, answers.outside_t)
        )
        self._member = np.ascontiguousarray(answers.member.T)

    def measured(self, target: int) -> dict[str, tuple[np.ndarray, float]]:
        """Scores and AUC, as the code computes them (with gamma 1 and a population of its own)."""
        half = (self._p_t.shape[1] - 2) // 2
        found = self._code.run_rmia(target, self._p_t, self._outside, self._member, half, OFFLINE_A)
        fpr, tpr, _ = self._code.roc_curve(self._member[:, target], found)
        return {"rmia_offline": (found, self._code.auc(fpr, tpr))}
