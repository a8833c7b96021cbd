"""Define a prompt as one arm is shown it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptTask:
    """One prompt as one arm is shown it."""

    prompt_id: str
    group: str | None
    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]
    source: str  # the prompt as the data gave it
    drawn: frozenset[int] = frozenset()  # the indices of samples that there are already
