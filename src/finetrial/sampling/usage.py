"""Define what only whoever answered elsewhere knows of an arm's requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Means over an arm's requests; None where nobody counted. `missing` are prompts that have no answer."""

    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    seconds: float | None = None
    money: float | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what a user should know of the answers
