"""Define an example of the data, before and after tokens.

The records that reading (`trial.data`), encoding (`models`), training and checking (`trial.gate`) share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SplitName = Literal["train", "validation", "heldout"]


TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `extra` is what it holds besides, for the chat template: tool calls, reasoning."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def shown(self) -> str:
        """The turn as a person reads it: its text, and each tool call as JSON on a line of its own."""
        calls = [call.get("function", call) for call in self.extra.get(TOOL_CALLS, ())]
        lines = [json.dumps(call, ensure_ascii=False, default=str) for call in calls]
        return "\n".join(filter(None, [self.content, *lines]))

    @property
    def as_row(self) -> dict[str, Any]:
        """The turn as data and chat templates write it."""
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the data. A prompt with several references is one example, one of its own has none."""

    id: str  # the row's own id column, else "<split>-<row number>"; unique within a trial
    origin: str  # where it stands, for messages to the user: "train.jsonl:12"
    prompt: str  # the prompt column; for chats, the turns before the last assistant turn as readable text
    references: tuple[str, ...]  # completions; the first is the one that is trained; held-out rows may have none
    fields: Mapping[str, str]  # every text column, for templates that name others than {prompt}
    group: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # all, as the data has them
    messages: tuple[Message, ...] | None = None  # chats only: all turns, the last assistant turn included
    tools: tuple[Any, ...] = field(default=(), hash=False)  # chats only: the functions that the assistant may call

    @property
    def prompt_turns(self) -> tuple[Message, ...]:
        """Of a chat, the turns that stand before its answer."""
        assert self.messages is not None
        return self.messages[:-1] if self.references else self.messages


@dataclass(frozen=True, slots=True)
class Splits:
    """The examples of a trial after the cut, and the content hash that stands for them."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    heldout: tuple[Example, ...]
    content_hash: str
    notes: tuple[str, ...] = ()  # what was dropped and why, in words

    @property
    def referenced(self) -> tuple[Example, ...]:
        """The held-out examples that have a completion; those of others are prompts alone."""
        return tuple(example for example in self.heldout if example.references)

    @property
    def by_name(self) -> dict[SplitName, tuple[Example, ...]]:
        """The examples of each split."""
        return {"train": self.train, "validation": self.validation, "heldout": self.heldout}


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as training sees it: token ids and which of them carry loss, both of length L."""

    example_id: str
    token_ids: tuple[int, ...]
    trained: tuple[bool, ...]  # trained[i]: the loss of predicting token i counts
    cut_tokens: int = 0  # prompt tokens that were cut to fit max_tokens

    @property
    def trained_tokens(self) -> int:
        return sum(self.trained)


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example that training leaves out, and why."""

    example_id: str
    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """The examples of one split as training sees them, and those that it leaves out."""

    examples: tuple[Encoded, ...]
    dropped: tuple[Dropped, ...] = ()
