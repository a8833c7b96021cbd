"""Walk over the steps of a trial: skip what is current, run what is not, and say which and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from finetrial.errors import FinetrialError
from finetrial.store.manifest import Manifest
from finetrial.workflow.keeping import exchange
from finetrial.workflow.step import Step, hashed_inputs
from finetrial.workflow.step_states import NOT_DONE, Candidate, StepState, StepStates, states_in_order, step_state


def _candidate(step: Step) -> Candidate:
    """The step as step_states.py sees it. Inputs that cannot be had now say so when the step's turn comes."""
    try:
        inputs = hashed_inputs(step) if step.recorded else None
    except FinetrialError:
        inputs = None
    return Candidate(name=step.name, inputs=inputs, after=step.after, recorded=step.recorded)


def step_states(steps: Sequence[Step], *, manifest: Manifest) -> StepStates:
    """What is to be done of these steps."""
    return states_in_order(
        [_candidate(step) for step in steps], records=manifest.records, file_hash=manifest.file_hash
    )


def state_now(step: Step, *, manifest: Manifest) -> StepState:
    """Whether a step is current whose turn has come. Raises what its inputs raise."""
    return _state(step, inputs=hashed_inputs(step), manifest=manifest)


def _state(step: Step, *, inputs: Mapping[str, str], manifest: Manifest) -> StepState:
    candidate = Candidate(name=step.name, inputs=inputs, recorded=step.recorded)
    return step_state(candidate, record=manifest.records.get(step.name), file_hash=manifest.file_hash)


def _silent(text: str) -> None:
    """Say nothing."""


def steps_after(step: Step, *, steps: Sequence[Step]) -> list[Step]:
    """The steps that read what this one writes, directly or through others; the last of them first."""
    found = [step]
    for other in steps:
        if any(earlier.name in other.after for earlier in found):
            found.append(other)
    return found[:0:-1]


def begin_step(
    step: Step, *, manifest: Manifest, say: Callable[[str], None] = _silent, steps: Sequence[Step] = ()
) -> dict[str, str] | None:
    """Make ready for a step that is to run: the hashes of its inputs; None where it is current.

    What it and those of `steps` that come after it made from other inputs is kept, and taken back where these
    inputs made it before.
    """
    inputs = hashed_inputs(step) if step.recorded else {}
    state = _state(step, inputs=inputs, manifest=manifest)
    if state.current:
        if step.done_text is not None:
            say(f"{step.subject}: {step.done_text}")
        return None
    dependents = steps_after(step, steps=steps)
    if (
        step.recorded
        and exchange(step, inputs=inputs, manifest=manifest, dependents=dependents, say=say)
        and _state(step, inputs=inputs, manifest=manifest).current
    ):
        say(f"{step.subject}: taken back, as these settings made it before")
        return None
    if step.again_text is not None and state.reason not in (None, NOT_DONE):
        say(f"{step.subject}: {step.again_text}, {state.reason}")
    if step.recorded and step.arm is not None:  # the score step, which keeps nothing, reads its last record
        manifest.begin(step.name, inputs=inputs)
    return inputs


def end_step(step: Step, *, inputs: Mapping[str, str], manifest: Manifest) -> None:
    """Record a step that has run."""
    if step.recorded:
        manifest.finish(step.name, inputs=inputs, outputs=step.outputs(), beside=step.beside())


def run_step(
    step: Step, *, manifest: Manifest, say: Callable[[str], None] = _silent, steps: Sequence[Step] = ()
) -> bool:
    """Run a step in this process unless it is current, and record it. Whether it ran."""
    inputs = begin_step(step, manifest=manifest, say=say, steps=steps)
    if inputs is None:
        return False
    step.execute()
    end_step(step, inputs=inputs, manifest=manifest)
    return True
