"""What `auto` chooses in a trial file: stops, length, temperature and samples, from the training completions.

The rules read the training split alone and are the same for every arm, so that no arm is sampled in a way that
suits another. All are plain functions of texts and lengths; why they are as they are: docs/decisions.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Literal

LINE_END = "\n"
# Between one example and the next in a prompt. First a blank line, as in GPT-3's few-shot prompts (Brown et al.
# 2020, appendix G), then rules that texts with paragraphs seldom hold.
_SEPARATORS = ("\n\n", "\n\n---\n\n", "\n\n###\n\n", "\n\n***\n\n", "\n\n=====\n\n")

# Labels: no more different completions than this, and each stands so often on average (both assumptions).
_LABELS, _ROWS_PER_LABEL = 50, 5
# Extraction: completions that stand word for word in their prompts, nearly all, and far shorter (assumptions).
_EXTRACTED_SHARE, _EXTRACTED_LENGTH = 0.95, 0.25
FREE_TEXT_TEMPERATURE = 0.8
FREE_TEXT_SAMPLES = 3

# Of the completions' lengths: one row in a hundred may be longer, unless all are within twice that (assumption).
_COVERED, _OUTLIER = 0.99, 2.0
_HEADROOM = 1.25  # an answer as good as a reference may be a quarter longer (assumption)
_STEP, _LEAST = 8, 16  # tokens; a short answer said in a sentence fits 16 (assumption)


def one_line(completions: Iterable[str]) -> bool:
    """Whether every completion is one line. White space around it is none of it."""
    return all(LINE_END not in text.strip() for text in completions)


def choose_separator(completions: Sequence[str]) -> str:
    """The text between two examples in a prompt: the first candidate that no completion contains."""
    for separator in _SEPARATORS:
        if not any(separator in text for text in completions):
            return separator
    rule = 6
    while any(f"\n\n{'=' * rule}\n\n" in text for text in completions):
        rule += 1
    return f"\n\n{'=' * rule}\n\n"


def choose_stops(completions: Sequence[str], *, separator: str | None) -> tuple[str, ...]:
    """Where an answer ends: at the line's end where every completion is one line, and at the separator.

    `separator` is None in a trial without examples in a prompt. A stop that holds another never comes first and is
    left out.
    """
    stops = [LINE_END] if one_line(completions) else []
    if separator is not None and not any(stop in separator for stop in stops):
        stops.append(separator)
    return tuple(stops)


def _are_labels(completions: Sequence[str]) -> bool:
    different = len({text.strip() for text in completions})
    return different <= _LABELS and len(completions) >= _ROWS_PER_LABEL * different


def _is_json_container(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


CompletionKind = Literal["JSON", "labels", "text"]


def completion_kind(completions: Sequence[str]) -> CompletionKind:
    """What the completions are: JSON objects or lists, labels (few different ones, each often), or free text."""
    if all(map(_is_json_container, completions)):
        return "JSON"
    return "labels" if _are_labels(completions) else "text"


def _are_extracted(prompts: Sequence[str], completions: Sequence[str]) -> bool:
    pairs = [(prompt, text.strip()) for prompt, text in zip(prompts, completions, strict=True)]
    found = sum(text in prompt and len(text) <= _EXTRACTED_LENGTH * len(prompt) for prompt, text in pairs)
    return found >= _EXTRACTED_SHARE * len(pairs)


def one_right_answer(prompts: Sequence[str], completions: Sequence[str]) -> str | None:
    """Why the task has one right answer for a prompt, in words; None where the completions are free text.

    Labels (few different completions), JSON objects or lists, and spans that are copied from the prompt.
    """
    kind = completion_kind(completions)
    if kind == "labels":
        return f"labels: {len({text.strip() for text in completions})} different completions"
    if kind == "JSON":
        return "every completion is a JSON object or list"
    if _are_extracted(prompts, completions):
        return "completions are copied from their prompts"
    return None


def choose_temperature(*, one_answer: bool, per_prompt: int | None) -> float:
    """Greedy where a prompt has one right answer, unless several samples a prompt were asked for."""
    return 0.0 if one_answer and per_prompt in (None, 1) else FREE_TEXT_TEMPERATURE


def choose_per_prompt(*, temperature: float) -> int:
    """One where sampling is greedy, since all samples of a prompt would be the same; else three."""
    return 1 if temperature == 0 else FREE_TEXT_SAMPLES


def choose_max_new_tokens(
    lengths: Sequence[int], *, context: int | None = None, longest_prompts: Sequence[int] = ()
) -> int:
    """How long an answer may grow, from the training completions' lengths in tokens, end token included.

    The length that 99 % of them keep to (nearest rank), or the longest where it is at most twice that; a quarter
    more, rounded up to a multiple of 8, at least 16. The headroom gives way where the context has no room for it
    behind the longest prompt (`longest_prompts`: one an arm; an arm whose prompts leave no room for an answer of
    the usual length fails anyway and does not decide). Half the context is never passed.
    """
    assert lengths, "a training split has rows"
    ordered = sorted(lengths)
    usual, longest = ordered[math.ceil(_COVERED * len(ordered)) - 1], ordered[-1]
    covered = longest if longest <= _OUTLIER * usual else usual
    chosen = max(_LEAST, math.ceil(covered * _HEADROOM / _STEP) * _STEP)
    if context is None:
        return chosen
    rooms = [context - prompt for prompt in longest_prompts if prompt + covered <= context]
    return min(chosen, max(1, context // 2), *rooms)
