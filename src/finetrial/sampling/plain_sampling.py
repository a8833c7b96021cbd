"""Sample one sequence at a time, for models that cannot be batched, padded or cached as the fast path does it.

The model's own generation loop runs with the cache that the model itself makes; only the choice of each token is
ours, from the same random numbers as in a batch. Where the model's own cache is not right either, the whole
sequence is read again for every token. The prompt is read once for each of its samples.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from finetrial.models.library_calls import quiet
from finetrial.models.own_forward import AnyModel, own_logits, plain_model
from finetrial.models.special_tokens import embedding_weight
from finetrial.sampling.generation import Generation, begin
from finetrial.sampling.nucleus import choose_by, seen_tokens
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.strip import decoder
from finetrial.store.records import Sample
from finetrial.trial.resolve import Decoding


class _Chooser(LogitsProcessor):
    """Chooses each next token and leaves it as the only possible one."""

    def __init__(
        self,
        generation: Generation,
        *,
        decoding: Decoding,
        ends: frozenset[int],
        on_token: Callable[[], None],
        ties: bool = False,
    ) -> None:
        """`ties` looks for choices that rounding could have made otherwise."""
        self.generation, self.decoding, self.ends, self.on_token = generation, decoding, ends, on_token
        self.ties = ties
        self.going = True

    def choose(self, logits_1V: torch.Tensor) -> int:
        """Take the next token of the generation."""
        decoding = self.decoding
        uniform_1 = torch.tensor([self.generation.uniforms[len(self.generation.token_ids)]]).to(logits_1V.device)
        seen_1V = None
        if decoding.repetition_penalty != 1:
            ids = (*self.generation.task.token_ids, *self.generation.token_ids)
            seen_1V = seen_tokens([ids], like_BV=logits_1V)
        choice = choose_by(decoding, logits_1V, uniform_B=uniform_1, seen_BV=seen_1V, ties=self.ties)
        token = int(choice.token_B)
        near = None if choice.near_B is None else bool(choice.near_B)
        more = self.generation.take(token, logprob=float(choice.logprob_B), ends=self.ends, near=near)
        self.going = more and len(self.generation.token_ids) < decoding.max_new_tokens
        self.on_token()
        return token

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if not self.going:  # the loop may look ahead before it notices
            return scores
        forced: Any = torch.full_like(scores, float("-inf"))
        forced[:, self.choose(scores)] = 0.0
        return forced  # type: ignore[no-any-return]


class _Ended(StoppingCriteria):
    """Ends the model's loop where the generation has ended."""

    def __init__(self, chooser: _Chooser) -> None:
        self.chooser = chooser

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), not self.chooser.going, device=input_ids.device)


@contextlib.contextmanager
def _neutral_settings(model: AnyModel) -> Iterator[None]:
    """While open, none of the model's own generation settings act: penalties, lengths, temperatures."""
    holders = [model] if plain_model(model) is model else [model, plain_model(model)]
    kept = [holder.generation_config for holder in holders]
    neutral = GenerationConfig()
    try:
        for holder in holders:
            holder.generation_config = neutral
        yield
    finally:
        for holder, settings in zip(holders, kept, strict=True):
            holder.generation_config = settings


def _by_own_loop(model: AnyModel, chooser: _Chooser) -> None:
    ids_1T = torch.tensor([chooser.generation.task.token_ids], device=model.device)
    generate: Any = model.generate
    with quiet(), _neutral_settings(model):
        generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([_Ended(chooser)]),
            max_new_tokens=chooser.decoding.max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,  # of one sequence nothing is padded
        )


def _by_whole_sequences(model: AnyModel, chooser: _Chooser) -> None:
    while chooser.going:
        ids = (*chooser.generation.task.token_ids, *chooser.generation.token_ids)
        chooser.choose(own_logits(model, ids)[-1:].float())


def sample_plainly(
    model: AnyModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[PromptTask],
    *,
    decoding: Decoding,
    arm: str,
    ends: frozenset[int],
    way: Way,
    on_progress: Callable[[int, int], None],
) -> Iterator[Sample]:
    """Yield k samples for each prompt, one after another; see `sample.sample_arm`."""
    decode = decoder(tokenizer, strip=decoding.strip)
    run = _by_own_loop if way is Way.ALONE else _by_whole_sequences
    finished, ties = 0, embedding_weight(plain_model(model)).dtype == torch.float32
    for task in prompts:
        for index in range(decoding.per_prompt):
            if index in task.drawn:
                continue
            began = time.perf_counter()
            generation = begin(task, index=index, decode=decode, decoding=decoding)
            on_token = partial(on_progress, 1, finished)
            chooser = _Chooser(generation, decoding=decoding, ends=ends, on_token=on_token, ties=ties)
            with torch.no_grad():
                run(model, chooser)
            generation.settle(decode=decode, stops=decoding.stop, strip=decoding.strip)
            finished += 1
            on_progress(0, finished)
            yield generation.as_sample(arm=arm, seconds=time.perf_counter() - began)
