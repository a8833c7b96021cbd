"""The state of a trial's steps: which are current, which must run again, and which changed input makes them.

Pure: this compares what every step would consume now with what the manifest says it consumed, and reads
nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from finetrial.store.hashes import ABSENT
from finetrial.store.manifest import StepRecord

NOT_DONE = "not done yet"

FileHash = Callable[[str], str | None]  # path within the trial folder -> hash of its content; None: no such file


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step as this module sees it."""

    name: str
    inputs: Mapping[str, str] | None  # hashes of what it would consume now; None: that cannot be told yet
    after: tuple[str, ...] = ()
    recorded: bool = True  # False: it runs every time


@dataclass(frozen=True, slots=True)
class StepState:
    """Whether a step must run, and why."""

    current: bool
    reason: str | None = None  # in words; None when current, and for a step that runs every time
    causes: tuple[str, ...] = ()  # the inputs and files that have changed, here or in the steps before it


def changed_inputs(before: Mapping[str, str], inputs: Mapping[str, str]) -> list[str]:
    """The names of the inputs that are others now; one that is not there is one that is None."""
    names = sorted(set(inputs) | set(before))
    return [name for name in names if inputs.get(name, ABSENT) != before.get(name, ABSENT)]


def step_state(step: Candidate, *, record: StepRecord | None, file_hash: FileHash) -> StepState:
    """Whether one step is current, the steps before it being what they are.

    The files that it wrote are looked at only where its inputs are unchanged.
    """
    if not step.recorded:
        return StepState(False)
    if record is None:
        return StepState(False, NOT_DONE)
    if step.inputs is not None and (changed := changed_inputs(record.inputs, step.inputs)):
        return StepState(False, f"{changed[0]} changed", tuple(changed))
    for name, written in record.outputs.items():
        found = file_hash(name)
        if found is None:
            return StepState(False, f"{name} is missing", (name,))
        if found != written:
            return StepState(False, f"{name} was changed by hand", (name,))
    return StepState(step.inputs is not None)


@dataclass(frozen=True, slots=True)
class StepStates:
    """The state of every step of a trial, in the order in which they run."""

    states: Mapping[str, StepState]

    @property
    def to_run(self) -> tuple[str, ...]:
        """The steps that are not current."""
        return tuple(name for name, state in self.states.items() if not state.current)

    @property
    def invalidated(self) -> dict[str, tuple[str, ...]]:
        """Each changed input or file with the steps that it makes run again, directly or through a step before."""
        found: dict[str, tuple[str, ...]] = {}
        for name, state in self.states.items():
            for cause in state.causes:
                found[cause] = (*found.get(cause, ()), name)
        return found


def states_in_order(
    steps: Sequence[Candidate], *, records: Mapping[str, StepRecord], file_hash: FileHash
) -> StepStates:
    """The states of the steps, given in an order in which they can run.

    A step after one that must run is not current either: what it consumes may change. Whether it does is seen when
    its turn comes.
    """
    states: dict[str, StepState] = {}
    for step in steps:
        state = step_state(step, record=records.get(step.name), file_hash=file_hash)
        before = [states[name] for name in step.after if name in states and not states[name].current]
        if before:
            causes = dict.fromkeys((*state.causes, *(cause for earlier in before for cause in earlier.causes)))
            waits = f"{next(name for name in step.after if name in states and not states[name].current)} runs first"
            reason = state.reason if not step.recorded else state.reason or waits
            state = StepState(False, reason, tuple(causes))
        states[step.name] = state
    return StepStates(states)
