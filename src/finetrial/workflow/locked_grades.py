"""Refuse, before anything is tuned, a trial that is no longer the one whose grades are locked."""

from __future__ import annotations

from collections.abc import Mapping

from finetrial.errors import FinetrialError, UserError
from finetrial.store.grade_records import GradingSettings
from finetrial.store.grades import grading_state
from finetrial.store.kept import kept_place, kept_record
from finetrial.trial.set_aside import scale_of
from finetrial.workflow.context import TrialContext
from finetrial.workflow.step import Stage, Step, hashed_inputs
from finetrial.workflow.step_states import changed_inputs
from finetrial.workflow.trial_steps import steps_of
from finetrial.workflow.walk import step_states

_ELSEWHERE = "Run the changed trial in another folder (--out), or go back to the settings that were graded."


def refuse_after_lock(context: TrialContext) -> None:
    """Raise UserError where the grades are locked and the trial's settings would give other samples.

    Samples and weights that are merely missing may be made again from the same settings, and what an earlier
    setting made and kept/ still holds may be taken back. Without locked grades this asks nothing.
    """
    if not context.folder.grades.exists():
        return
    state = grading_state(context.folder)
    if state.locked_at is None or state.settings is None:
        return
    changed = [*_changed_judging(context, state.settings), *_changed_arms(context)]
    if changed:
        raise UserError(
            f"the grades in {context.folder.root} are locked, and the trial they belong to has changed",
            got="; ".join(changed),
            fix=_ELSEWHERE,
        )


def _changed_judging(context: TrialContext, settings: GradingSettings) -> list[str]:
    judging = context.trial.judging
    asked = {
        "judging.criterion": (judging.criterion, settings.criterion),
        "judging.raters": (judging.raters, settings.raters),
        "judging.repeats": (judging.repeats, settings.repeats),
        "judging.scale": (scale_of(judging), settings.scale),
    }
    return [f"{key} changed" for key, (now, then) in asked.items() if now != then]


def _changed_arms(context: TrialContext) -> list[str]:
    """What would be tuned or sampled from other settings than before, an arm in a phrase."""
    steps = steps_of(context, Stage.TUNE, Stage.SAMPLE)
    states = step_states(steps, manifest=context.manifest).states
    found: dict[str, str] = {}
    for step in steps:
        if step.arm is None or step.arm in found or states[step.name].current:
            continue
        inputs, record = _inputs_now(step), context.manifest.records.get(step.name)
        if inputs is not None and _is_kept(context, step, inputs=inputs):
            continue
        if record is None:
            if step.stage is Stage.SAMPLE:
                found[step.arm] = f"arm {step.arm} was not sampled when they were locked"
        elif inputs is not None and (changed := changed_inputs(record.inputs, inputs)):
            found[step.arm] = f"arm {step.arm}: {', '.join(changed)} changed"
    return list(found.values())


def _inputs_now(step: Step) -> dict[str, str] | None:
    """What the step would consume; None where that cannot be told before an earlier one has run."""
    try:
        return hashed_inputs(step)
    except FinetrialError:
        return None


def _is_kept(context: TrialContext, step: Step, *, inputs: Mapping[str, str]) -> bool:
    """Whether what the step would make stands in kept/, finished, from an earlier run of these settings."""
    kept = kept_record(kept_place(context.folder, step=step.stage, arm=step.subject, inputs=inputs))
    return kept is not None and kept.outputs is not None
