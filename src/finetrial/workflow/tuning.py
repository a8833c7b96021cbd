"""Which training runs does an arm still need, at which learning rate, and who follows their curves?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from finetrial.models.kernels.place import ABSENT
from finetrial.store.layout import run_name
from finetrial.store.records import FastPath, Measured, write_object
from finetrial.store.search import read_search
from finetrial.training.task import TuneTask
from finetrial.training.trackers import Curves
from finetrial.training.tune import tune_with
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext
from finetrial.workflow.rate_search import found_rate, search_rate
from finetrial.workflow.tune_tasks import Watch, arm_task, tune_inputs, tune_label


def _curves(context: TrialContext, name: str, task: TuneTask) -> Curves:
    settings = {key: getattr(task, key) for key in ("learning_rate", "epochs", "batch_tokens", "schedule", "seed")}
    return Curves(
        context.trial.training.trackers,
        project=context.trial.trial,
        run=name,
        folder=context.folder.curves,
        settings=settings | {"arm": name, "model": context.trial.model},
    )


def _inputs(context: TrialContext, arm: str, *, run: int, searched: float | None) -> dict[str, Any]:
    inputs = tune_inputs(context, arm, run=run)
    return inputs if searched is None else inputs | {"the learning rate found": searched}


def is_tuned(context: TrialContext, arm: str) -> bool:
    """Is every training run of the arm done, and its search?"""
    searches = context.trial.rate_of(arm) == "auto"
    searched = found_rate(context, arm) if searches else None
    if searches and searched is None:
        return False
    return all(
        context.manifest.state(
            f"tune:{run_name(arm, run=run)}", inputs=_inputs(context, arm, run=run, searched=searched)
        ).current
        for run in range(context.trial.runs_of(arm))
    )


def _tune_run(context: TrialContext, arm: str, *, run: int, searched: float | None) -> None:
    """One training run of an arm, or the line that it is done."""
    name = run_name(arm, run=run)
    inputs = _inputs(context, arm, run=run, searched=searched)
    state = context.manifest.state(f"tune:{name}", inputs=inputs)
    if state.current:
        context.forecast.ended(tune_label(name), seconds=None)
        context.listener.line(f"{name}: tuned already")
        return
    if state.reason != "not done yet":
        context.listener.line(f"{name}: tuning again, {state.reason}")
    rate = context.trial.rate_of(arm)
    task = arm_task(context, arm, learning_rate=searched if rate == "auto" else rate, run=run)
    with _curves(context, name, task) as curves:
        measured = tune_with(
            task,
            context.shared_base.prepare,
            on_progress=Watch(context, tune_label(name), announces=name),
            on_point=curves.add,
        )
    context.forecast.ended(tune_label(name), seconds=measured.tune_seconds)
    context.listener.end()
    context.listener.line(f"{name}: tuned in {format_seconds(measured.tune_seconds)}")
    if searched is not None and run == 0:  # searched once for all runs of the arm
        _add_search(context, arm, measured)
    context.listener.line(f"{name}: {fast_paths_line(measured.fast_paths or ())}")
    weights = sorted(context.folder.arm(name).glob("*.safetensors"))
    context.manifest.finish(f"tune:{name}", inputs=inputs, outputs=weights)


def _add_search(context: TrialContext, arm: str, measured: Measured) -> None:
    """Write what the search for the learning rate took beside what tuning took."""
    search = read_search(context.folder.search(arm))
    assert search is not None  # the rate came from it
    added = dataclasses.replace(measured, search_seconds=search.seconds, search_flops=search.flops)
    write_object(context.folder.measured(arm), added)


def fast_paths_line(paths: Sequence[FastPath]) -> str:
    """Which fast paths were on, and why one was not that the model could have used."""
    on = ", ".join(path.name for path in paths if path.on) or "none"
    off = "; ".join(f"{path.name} ({path.reason})" for path in paths if not path.on and path.reason != ABSENT)
    return f"fast paths: {on}" + (f"; off: {off}" if off else "")


def tune_arm(context: TrialContext, arm: str) -> None:
    """Find the arm's learning rate where that is asked, then tune it with every seed.

    What is done already is said and left. Started again after a stop, it continues.
    """
    searched = search_rate(context, arm) if context.trial.rate_of(arm) == "auto" else None
    for run in range(context.trial.runs_of(arm)):
        _tune_run(context, arm, run=run, searched=searched)
