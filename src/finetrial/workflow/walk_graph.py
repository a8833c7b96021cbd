"""Walk over the graph of a trial's steps: as many at once as the place has room for, each after those it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetrial.errors import FinetrialError
from finetrial.store.manifest import Manifest
from finetrial.workflow.executors import Ended, Session
from finetrial.workflow.step import Step
from finetrial.workflow.walk import begin_step, end_step

OnFailed = Callable[[Step, FinetrialError], None]
OnDone = Callable[[Step, bool], None]  # whether it ran, or was current


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What a walk needs of a trial, and whom it tells."""

    every: Sequence[Step]  # of the trial, in an order in which they can run
    manifest: Manifest
    session: Session
    say: Callable[[str], None]
    may_run: Callable[[Step], bool]  # False for the steps of an arm that has failed
    on_failed: OnFailed
    on_done: OnDone


def walk_steps(steps: Sequence[Step], walk: Walk) -> None:
    """Run those of `steps` that are not current. Their failures are told and leave the others going."""
    waiting = {step.name: step for step in steps}
    running: dict[str, dict[str, str]] = {}
    while waiting or running:
        for step in list(waiting.values()):
            if not walk.session.has_room:
                break
            if any(name in waiting or name in running for name in step.after):
                continue
            del waiting[step.name]
            if walk.may_run(step) and (inputs := _begun(step, walk)) is not None:
                running[step.name] = inputs
                walk.session.begin(step, inputs=inputs, left=len(waiting))
        for ended in walk.session.wait() if running else ():
            _end(ended, inputs=running.pop(ended.step.name), walk=walk)


def _begun(step: Step, walk: Walk) -> dict[str, str] | None:
    """The inputs of a step that is to run; None of one that is current or cannot be."""
    try:
        inputs = begin_step(step, manifest=walk.manifest, say=walk.say, steps=walk.every)
    except FinetrialError as error:
        walk.on_failed(step, error)
        return None
    if inputs is None:
        walk.on_done(step, False)
    return inputs


def _end(ended: Ended, *, inputs: dict[str, str], walk: Walk) -> None:
    if ended.error is not None:
        walk.on_failed(ended.step, ended.error)
        return
    end_step(ended.step, inputs=inputs, manifest=walk.manifest)
    walk.on_done(ended.step, True)
