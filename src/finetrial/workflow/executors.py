"""Say where a step runs. A new executor is one object with `name` and `execute`, and one row here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from finetrial.workflow.step import Step


class Executor(Protocol):
    """A place where steps run. The walk hands it one step at a time, each after those whose files it reads."""

    @property
    def name(self) -> str:
        """The word for it."""

    def execute(self, step: Step) -> None:
        """Run the step, and return when its outputs stand in the trial folder. Raises what the step raises."""


@dataclass(frozen=True, slots=True)
class Here:
    """This process."""

    name: str = "here"

    def execute(self, step: Step) -> None:
        """Run the step in this process."""
        step.execute()


HERE = Here()
EXECUTORS: tuple[Executor, ...] = (HERE,)
