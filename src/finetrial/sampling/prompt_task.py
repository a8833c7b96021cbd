"""Define a prompt as one arm is shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetrial.trial.examples import Message


@dataclass(frozen=True, slots=True)
class PromptTask:
    """One prompt as one arm is shown it."""

    prompt_id: str
    group: str | None
    text: str
    token_ids: tuple[int, ...]
    references: tuple[str, ...]
    source: str  # the prompt as the data gave it
    turns: tuple[Message, ...] = ()  # of a chat, as a server is sent them; none where it is one text
    tools: tuple[Any, ...] = ()  # the functions that a chat may call
    cut_tokens: int = 0  # of the prompt, to leave room for the answer
    drawn: frozenset[int] = frozenset()  # the indices of samples that there are already
