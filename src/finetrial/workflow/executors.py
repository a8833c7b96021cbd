"""Say where a trial's steps run. A new executor is one file with an object like `Here`, and one row in
executor_table.py."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

from finetrial.errors import FinetrialError, UserError
from finetrial.workflow.context import TrialContext
from finetrial.workflow.step import Step


@dataclass(frozen=True, slots=True)
class Ended:
    """A step that came to its end; its outputs stand in the trial folder unless there is an error."""

    step: Step
    error: FinetrialError | None = None


class Session(Protocol):
    """A place while steps run in it. The walk begins a step when those whose files it reads have ended."""

    @property
    def has_room(self) -> bool:
        """Whether another step may be begun now. A session that is idle has room."""

    def begin(self, step: Step, *, inputs: dict[str, str], left: int) -> None:
        """Begin a step; `inputs` are the hashes of what it consumes, `left` the steps that still wait behind it."""

    def wait(self) -> Sequence[Ended]:
        """The steps that have ended since; waits for one at least. Raises what is nobody's mistake but ours."""


@runtime_checkable
class Executor(Protocol):
    """A place where steps can run."""

    @property
    def name(self) -> str:
        """The word for it after `--on`."""

    def at(self, address: str) -> Executor:
        """The same at an address, as `--on NAME://ADDRESS` gives it. Raises UserError where it has none."""

    def open(self, context: TrialContext) -> AbstractContextManager[Session]:
        """Make the place ready. Left with an error or Ctrl-C, what runs there is stopped, with its checkpoints."""


def is_executor(value: object) -> TypeGuard[Executor]:
    """Whether an object is an executor."""
    return isinstance(value, Executor) and not isinstance(value, type)


def workers_of(executor: Executor) -> int:
    """How many processes of the place tune an arm together: one, unless it says otherwise by `workers`."""
    return int(getattr(executor, "workers", 1))


class _HereSession(AbstractContextManager["_HereSession"]):
    """One step at a time, run when it is waited for."""

    def __init__(self) -> None:
        self._step: Step | None = None

    @property
    def has_room(self) -> bool:
        return self._step is None

    def begin(self, step: Step, *, inputs: dict[str, str], left: int) -> None:
        self._step = step

    def wait(self) -> Sequence[Ended]:
        assert self._step is not None
        step, self._step = self._step, None
        return [run_here(step)]

    def __exit__(self, *_: object) -> None:
        """Nothing runs any more."""


def run_here(step: Step) -> Ended:
    """Run a step in this process."""
    try:
        step.execute()
    except FinetrialError as error:
        return Ended(step, error)
    return Ended(step)


@dataclass(frozen=True, slots=True)
class Here:
    """This process."""

    name: str = "here"

    def at(self, address: str) -> Executor:
        """Raises UserError."""
        raise UserError("--on here has no address", got=address, fix="Write --on here, or leave it out.")

    def open(self, context: TrialContext) -> _HereSession:
        """Nothing is to be made ready."""
        return _HereSession()


HERE = Here()
