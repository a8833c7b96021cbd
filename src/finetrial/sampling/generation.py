"""Hold one generation while it is made: its random numbers, its tokens, and why it ended.

Every sample has random numbers of its own, derived from the seed, the prompt and the sample's index, so that
neither the arm nor the batch decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample_seed import sample_seed
from finetrial.sampling.stops import Decode, StopWatch, answer_of, first_stop
from finetrial.sampling.strip import ThinkingWatch, answer_start, opens_block
from finetrial.store.records import EndReason, Sample
from finetrial.trial.resolve import Decoding
from finetrial.trial.setting_types import tag_of


@dataclass(slots=True)
class Generation:
    """One generation in the making."""

    task: PromptTask
    index: int
    seed: int
    uniforms: np.ndarray
    watch: StopWatch
    token_ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    near_ties: list[int] | None = None  # the places of tokens that rounding could have chosen otherwise
    end: EndReason | None = None
    text: str = ""

    def take(self, token: int, *, logprob: float, ends: frozenset[int], near: bool | None = None) -> bool:
        """Add a token. Whether another may follow: not after an end token, nor where a stop is complete.

        `near` says whether rounding could have chosen another; None: it was not looked for.
        """
        if near is not None:
            self.near_ties = self.near_ties or []
            if near:
                self.near_ties.append(len(self.token_ids))
        self.token_ids.append(token)
        self.logprob += logprob
        if token in ends:
            self.end = "end_token"
            return False
        return not self.watch.completes_stop(self.token_ids)

    def settle(self, *, decode: Decode, stops: Sequence[str], strip: str | None) -> None:
        """Write down a finished generation's text: up to its end token, its first stop, or its last token.

        Where stops are in force, blank lines before the answer are no part of it, as they are none to the stops.
        """
        kept = self.token_ids[:-1] if self.end == "end_token" else self.token_ids
        text = decode(kept)
        start = answer_start(text, strip=strip, opened=opens_block(self.task.text, strip=strip))
        place = None if start is None else first_stop(text, stops=stops, start=start)
        if place is not None:
            text, self.end = text[:place], "stop_string"
        if stops:
            text = answer_of(text)
        self.text = text.removeprefix(" ")  # the seam's one space belongs to the prompt's side
        self.end = self.end or "length"

    def as_sample(self, *, arm: str, seconds: float) -> Sample:
        """The record of a settled generation."""
        task = self.task
        return Sample(
            id=f"{arm}/{task.prompt_id}/{self.index}",
            prompt_id=task.prompt_id,
            group=task.group,
            arm=arm,
            index=self.index,
            prompt=task.text,
            text=self.text,
            token_ids=tuple(self.token_ids),
            references=task.references,
            end_reason=self.end,
            logprob=self.logprob,
            tokens=len(self.token_ids),
            seconds=seconds,
            seed=self.seed,
            source=task.source,
            near_ties=None if self.near_ties is None else tuple(self.near_ties),
        )


def begin(task: PromptTask, *, index: int, decode: Decode, decoding: Decoding) -> Generation:
    """A generation before its first token."""
    seed = sample_seed(decoding.seed, prompt_id=task.prompt_id, index=index)
    uniforms = np.random.Generator(np.random.PCG64(seed)).random(decoding.max_new_tokens)
    watch = _watch(task, decode=decode, decoding=decoding)
    return Generation(task=task, index=index, seed=seed, uniforms=uniforms, watch=watch)


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends a generation: the tokenizer's and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def _watch(task: PromptTask, *, decode: Decode, decoding: Decoding) -> StopWatch:
    """What looks for stops in one generation, behind the block of thinking that it may begin with."""
    strip = decoding.strip
    opened, tag = opens_block(task.text, strip=strip), None if strip is None else tag_of(strip)
    if tag is None:
        return StopWatch(decode, stops=decoding.stop)
    start_of = partial(answer_start, strip=strip, opened=opened)
    return StopWatch(decode, stops=decoding.stop, let_through=ThinkingWatch(tag, opened).feed, start_of=start_of)
