"""Define a step of a trial: what it consumes, what it writes, and what it comes after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from finetrial.store.hashes import hash_value
from finetrial.workflow.forecast import Job


class Stage(StrEnum):
    """What a step does, in the order in which a trial goes through them; `finetrial tune` runs one, `run` all."""

    CHECK = "check"
    PILOT = "pilot"  # in `run --early` alone
    TUNE = "tune"
    SAMPLE = "sample"
    SCORE = "score"
    JUDGE = "judge"
    REPORT = "report"


class Step(Protocol):
    """One step of one trial. Every step is a frozen dataclass; making one reads and writes nothing."""

    @property
    def name(self) -> str:
        """Its key in the manifest, such as `tune:lora@1`."""

    @property
    def stage(self) -> Stage:
        """The stage that it belongs to."""

    @property
    def subject(self) -> str:
        """What messages call it by: an arm, one of its training runs, or the step itself."""

    @property
    def arm(self) -> str | None:
        """The arm that fails alone when the step fails; None: the whole trial needs it."""

    @property
    def after(self) -> tuple[str, ...]:
        """The names of the steps whose files it reads."""

    @property
    def recorded(self) -> bool:
        """Whether a finished step is skipped while nothing that it consumed has changed; else it always runs."""

    @property
    def done_text(self) -> str | None:
        """What is said of a step that is skipped, such as `tuned already`; None: nothing."""

    @property
    def again_text(self) -> str | None:
        """What is said, before the reason, of a step that runs again, such as `tuning again`; None: nothing."""

    @property
    def jobs(self) -> tuple[str, ...]:
        """The names of its jobs in a forecast."""

    def work(self) -> Sequence[Job]:
        """Its jobs in a forecast, by how much there is to do; none where it takes next to no time."""

    def inputs(self) -> Mapping[str, Any]:
        """Everything that decides what it writes, by the names that users know: the only fields that are hashed.

        What an earlier step has not written yet is None.
        """

    def outputs(self) -> Sequence[Path]:
        """The files that it has written."""

    def beside(self) -> Sequence[Path]:
        """Other files that stand there now and that a reader reads: their hashes are noted, and nothing runs again
        where one is changed."""

    def own_files(self) -> Sequence[Path]:
        """The files that are kept when other inputs displace what it made; none: it is made anew at no cost."""

    def shared_files(self) -> Sequence[Path]:
        """Files of another step in which it wrote too; kept as copies."""

    def execute(self) -> None:
        """Do the work, and write the outputs. Started again after a stop, a step continues or begins anew."""


class StepDefaults:
    """What holds of a step unless it says otherwise: it comes first, it leaves nothing beside its outputs,
    and nothing is said of it."""

    __slots__ = ()

    @property
    def after(self) -> tuple[str, ...]:
        return ()

    @property
    def done_text(self) -> str | None:
        return None

    @property
    def again_text(self) -> str | None:
        return None

    @property
    def jobs(self) -> tuple[str, ...]:
        return ()

    def work(self) -> Sequence[Job]:
        return ()

    def beside(self) -> Sequence[Path]:
        return ()

    def own_files(self) -> Sequence[Path]:
        return ()

    def shared_files(self) -> Sequence[Path]:
        return ()


def hashed_inputs(step: Step) -> dict[str, str]:
    """The hash of each input, as the manifest keeps them."""
    return {name: hash_value(value) for name, value in step.inputs().items()}
