"""Keep what may be told of grading that may stop at any time: enough, or about how many prompts more."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import with_config

from finetrial.store.layout import TrialFolder
from finetrial.store.records import STRICT, read_object, write_object


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class GradingStand:
    """What stopping.json holds. It names no arm and no direction: nobody can read from it who leads."""

    enough: bool
    prompts_more: int | None  # about; None: not known yet, or no end in sight
    prompts: int  # that are graded whole
    of: int  # that were set aside
    events: int  # that were looked at

    def sentence(self) -> str:
        """What the page says."""
        graded = f"{self.prompts} of {self.of} prompts are graded"
        if self.enough:
            return f"{graded}: that is enough, and grading may stop."
        left = self.of - self.prompts
        if self.prompts_more is None:
            return f"{graded}; how many more it takes cannot be told yet."
        if self.prompts_more > left:
            return f"{graded}; about {self.prompts_more} more would be needed, and {left} are set aside."
        prompts = "prompt" if self.prompts_more == 1 else "prompts"
        return f"{graded}; about {self.prompts_more} {prompts} more."


def write_stand(folder: TrialFolder, stand: GradingStand) -> None:
    """Write stopping.json, whole or not at all."""
    write_object(folder.stopping, stand)


def read_stand(folder: TrialFolder) -> GradingStand | None:
    """What was last told; None where nothing was."""
    return read_object(folder.stopping, GradingStand) if folder.stopping.exists() else None
