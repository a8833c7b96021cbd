"""Check, before an arm is sampled, that it is shown what it was tuned on and that its special tokens decode."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from finetrial.sampling.prompt_task import PromptTask
from finetrial.trial.examples import Encoded


@dataclass(frozen=True, slots=True)
class PromptCheck:
    """How many training prompts are shown token for token as in training, and where the first other one parts."""

    same: int
    fault: str | None = None


def check_prompts(prompts: Sequence[PromptTask], trained: Sequence[Encoded]) -> PromptCheck:
    """Compare prompts as they are sampled from with what stood before the answer in training.

    Those that were cut to leave the answer room are not compared.
    """
    same = 0
    for prompt, example in zip(prompts, trained, strict=True):
        start = _answer_start(example)
        if start == 0 or len(prompt.token_ids) > start:
            continue
        shown, seen = prompt.token_ids, example.token_ids[:start]
        if len(shown) < len(seen) and seen[-len(shown) :] == shown:
            continue  # cut to leave the answer room
        if shown != seen:
            place = next(i for i, (a, b) in enumerate(zip((*shown, None), (*seen, None), strict=False)) if a != b)
            found, expected = (ids[place] if place < len(ids) else "none" for ids in (shown, seen))
            return PromptCheck(
                same, f"token {place} of {prompt.prompt_id} is {found}, in training it was {expected}"
            )
        same += 1
    return PromptCheck(same)


def _answer_start(example: Encoded) -> int:
    """Where the last run of trained tokens begins."""
    start = len(example.trained)
    while start and not example.trained[start - 1]:
        start -= 1
    while start and example.trained[start - 1]:
        start -= 1
    return start


def unreadable_tokens(tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> list[str]:
    """The special tokens that do not come back as the token they are when their text is read."""
    wrong = []
    for token_id in sorted({*ends, *tokenizer.all_special_ids}):
        text = str(tokenizer.decode([token_id], skip_special_tokens=False))
        if tokenizer.convert_tokens_to_ids(text.strip() or text) != token_id:
            wrong.append(f"{token_id} ({text!r})")
    return wrong
