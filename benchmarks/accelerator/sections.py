"""The sections of benchmarks.accelerator: which fleets are timed, and in which order."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import harness
from benchmarks.accelerator.banks import (
    evaluated,
    evaluation,
    synthetic_bank,
    traffic,
    whole_bank,
)
from benchmarks.accelerator.fleets import Case, Timed, Torch, steps_per_model, turns
from benchmarks.accelerator.kernels import summed, traced
from benchmarks.accelerator.roofline import peak_bytes, peak_flops
from benchmarks.accelerator.session import Scale, Session
from jleaks.data.tasks import get_task
from jleaks.experiments.bank_plan import BankPlan
from jleaks.fields import Form, Precision
from jleaks.training.recipe import RECIPES, Recipe


def _peaks(session: Session) -> None:
    scale = session.scale

    def rate(measure_fn: Callable[..., float], *args: Any) -> dict[str, Any]:
        return {"per_second": float(f"{measure_fn(*args, scale.seconds):.5g}")}

    about = {"what": "peak", "section": "peaks", "of": "copy", "bytes": scale.copied}
    session.guarded(about, functools.partial(rate, peak_bytes, scale.copied))
    for name in session.precisions:
        about = {"what": "peak", "section": "peaks", "of": "product", "precision": name}
        measure_fn = functools.partial(rate, peak_flops, name, scale.gemm)
        session.guarded({**about, "rows": scale.gemm}, measure_fn)


def _case(session: Session, section: str, task: str, **changes: Any) -> Case:
    """Returns the common fleet of a task, with the recipe's fields or the case's changed."""
    scale, about = session.scale, get_task(task)
    recipe = Recipe(about.model, epochs=400, batch_size=scale.batches or Recipe().batch_size)
    images = about.model == "cnn"
    # CNNs' epochs are long: a fifth of the part will do.
    members = min(about.quarter // (5 if images else 1), scale.records)
    form = changes.get("form", scale.forms[0])
    fields = {name: changes.pop(name) for name in ("precision",) if name in changes}
    case = Case(
        section,
        task,
        dataclasses.replace(recipe, **fields),
        scale.forms[0],
        scale.common[images],
        # Together they would be grouped convolutions.
        1 if images and form == "native" else None,
        members,
    )
    return case._replace(**changes)


def knee(session: Session, section: str, rows: Sequence[dict[str, Any] | None]) -> None:
    """Writes the fewest models that come within 5% of the best rate."""
    found = sorted((r["num_models"], r["model_steps_per_second"]) for r in rows if r is not None)
    if not found:
        return
    models, rates = zip(*found, strict=True)
    first = next(r for r in rows if r is not None)
    kept = {k: first[k] for k in ("task", "network", "precision", "form")}
    session.write(
        {
            "what": "knee",
            "section": section,
            **kept,
            "num_models": harness.knee(models, rates),
            "best_model_steps_per_second": max(rates),
            "measured": list(models),
        }
    )


def _mlps(section: str, task: str) -> Callable[[Session], None]:
    def measure(session: Session) -> None:
        common = session.scale.common[0]
        by_precision = {
            name: session.fleet(_case(session, section, task, precision=name))
            for name in session.precisions
        }
        # All numbers of models in one precision.
        name = _preferred(session.precisions)
        rows = [by_precision[name]]
        for models in session.scale.models:
            if models != common:
                case = _case(session, section, task, precision=name, num_models=models)
                rows.append(session.fleet(case))
        knee(session, section, rows)
        most = max(session.scale.models)
        for part in session.scale.turns:
            case = _case(session, section, task, precision=name, num_models=most)
            session.fleet(case._replace(group=most // part))

    return measure


def _preferred(precisions: Sequence[Precision]) -> Precision:
    # A TPU makes TF32 of three passes in bfloat16, with rounding beside them: slower than float32.
    wanted: Precision = "float32" if jax.default_backend() == "tpu" else "tensorfloat32"
    return wanted if wanted in precisions else precisions[0]


def _cnns(section: str, task: str) -> Callable[[Session], None]:
    def measure(session: Session) -> None:
        if task not in session.scale.tasks:
            return
        name = _preferred(session.precisions)
        by_form: dict[Form, dict[str, Any] | None] = {
            form: session.fleet(_case(session, section, task, precision=name, form=form))
            for form in session.scale.forms
        }
        grouped = None
        if "native" in by_form:
            # Last: cuDNN may try for minutes, or have nothing for them.
            case = _case(session, section, task, precision=name, form="native")
            row = session.fleet(case._replace(group=None))
            grouped = row and row["model_steps_per_second"]
        rates = {f: r["model_steps_per_second"] for f, r in by_form.items() if r is not None}
        if not rates:
            return
        best = max(rates, key=lambda form: rates[form])
        session.write(
            {"what": "best form", "section": section, "task": task, "precision": name, "form": best,
             "model_steps_per_second": rates, "native_grouped": grouped}
        )  # fmt: skip
        for other in session.precisions:
            if other != name:
                session.fleet(_case(session, section, task, precision=other, form=best))
        rows = [by_form[best]]
        for models in session.scale.images:
            if models != session.scale.common[1]:
                case = _case(session, section, task, precision=name, form=best, num_models=models)
                rows.append(session.fleet(case))
        knee(session, section, rows)

    return measure


def wide_plan(scale: Scale, precision: Precision) -> BankPlan:
    """Returns the literature's bank of Purchase-100."""
    models, records = scale.wide
    recipe = dataclasses.replace(RECIPES["wide"].recipe, precision=precision)
    if scale.batches is not None:
        recipe = dataclasses.replace(recipe, batch_size=scale.batches, hidden=(16,), epochs=2)
    return BankPlan("purchase100", models, records, records // 5, recipe=recipe, num_queries=1)


def _wide(session: Session) -> None:
    preferred = _preferred(session.precisions)
    for name in dict.fromkeys((preferred, *session.precisions)):
        plan = wide_plan(session.scale, name)
        members = plan.num_candidates // 2
        case = Case("wide", plan.task, plan.recipe, "native", plan.num_models, None, members)
        if session.full and name == preferred:
            about = {"what": "bank", "section": "wide", "task": plan.task, "precision": name}
            session.guarded(about, functools.partial(whole_bank, plan, session.scale.attacks))
        row = session.fleet(case)
        if row is not None:
            kept = {k: row[k] for k in ("section", "task", "network", "precision", "num_models")}
            seconds = row["seconds_per_step"]["median"] * steps_per_model(case)
            session.write(
                {"what": "extrapolated", **kept, "epochs": RECIPES["wide"].recipe.epochs,
                 "training_seconds": round(seconds, 2)}
            )  # fmt: skip
        if name != preferred:
            continue
        for part in session.scale.turns:
            session.fleet(case._replace(group=plan.num_models // part))


def _resnets(session: Session) -> None:
    name = _preferred(session.precisions)
    for model in session.scale.residual:
        recipe = dataclasses.replace(RECIPES[model].recipe, precision=name)
        members = min(10_000, session.scale.records)
        if session.scale.batches is not None:
            recipe = dataclasses.replace(recipe, batch_size=session.scale.batches)
        case = Case("resnet", "cifar10", recipe, "native", 1, 1, members)
        session.fleet(case)
        session.fleet(case._replace(num_models=4))
        session.fleet(case._replace(num_models=4, group=4))


def _evaluator(session: Session) -> None:
    models, records = session.scale.wide
    about = {"what": "evaluator", "section": "evaluator", "num_models": models}
    timed = functools.partial(evaluated, models, records, session.scale.attacks)
    session.guarded({**about, "num_records": records}, timed)
    size = session.scale.copied
    about = {"what": "traffic", "section": "evaluator", "bytes": size}
    session.guarded(about, functools.partial(traffic, size))


def _kernels(session: Session) -> None:
    if jax.default_backend() == "cpu":
        # Threads have no streams.
        return
    models, records = session.scale.wide
    plan = wide_plan(session.scale, _preferred(session.precisions))
    precision = plan.recipe.precision
    cases = [
        *(_case(session, "kernels", "cifar10", precision=precision, form=form)
          for form in session.scale.forms[:2]),
        _case(session, "kernels", "purchase100", precision=precision),
        Case("kernels", plan.task, plan.recipe, "native", models, None, records // 2),
    ]  # fmt: skip
    for case in cases:

        def found(case: Case = case) -> dict[str, Any]:
            timed = Timed(case)
            timed.turn()
            steps = timed.steps * -(-case.num_models // (case.group or case.num_models))
            return summed(traced(timed.turn), steps)

        session.guarded({**case.about(), "what": "kernels"}, found)
    about = {"what": "kernels", "section": "kernels", "network": "evaluator", "num_models": models}

    def judged() -> dict[str, Any]:
        evaluate_fn = evaluation(synthetic_bank(models, records), session.scale.attacks)
        evaluate_fn()
        return summed(traced(evaluate_fn), 1)

    session.guarded({**about, "num_records": records}, judged)


def _torch(session: Session) -> None:
    scale, contenders = session.scale, Torch()
    names = dict.fromkeys((_preferred(session.precisions), *session.precisions))
    try:
        # PyTorch has no such setting as "default".
        for name in [name for name in names if name != "default"]:
            for task in ("purchase100", *scale.tasks[:1]):
                form = session.forms.get(task, scale.forms[0])
                case = _case(session, "torch", task, precision=name, form=form)
                about = {**case.about(), "what": "ratio"}
                session.guarded(
                    about, functools.partial(turns, case, contenders, scale.seconds, scale.calls)
                )
    finally:
        contenders.stop()


# In the order of what is most worth knowing.
SECTIONS: dict[str, Callable[[Session], None]] = {
    "peaks": _peaks,
    "purchase": _mlps("purchase", "purchase100"),
    "wide": _wide,
    "cifar": _cnns("cifar", "cifar10"),
    "kernels": _kernels,
    "resnet": _resnets,
    "evaluator": _evaluator,
    "torch": _torch,
    "location": _mlps("location", "location"),
    "mnist": _cnns("mnist", "mnist"),
}

# The share of the time that each may take.
SHARES = {
    "peaks": 1, "purchase": 5, "wide": 4, "cifar": 5, "kernels": 3, "resnet": 5, "evaluator": 2,
    "torch": 4, "location": 3, "mnist": 3,
}  # fmt: skip
