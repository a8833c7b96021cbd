"""Sample k answers per prompt from an arm, with the same prompts and random numbers in every arm.

A prompt is read once (prefill) and its keys and values serve all its k samples (engine.py). Models for which that
is not right are sampled in padded batches, here, or one sequence at a time (plain_sampling.py).

Shapes: P prompts, k samples a prompt, B = P k sequences, T prompt tokens (padded on the left), V vocabulary.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import UserError
from finetrial.models.own_forward import AnyModel, context_left, plain_model
from finetrial.sampling.engine import Engine
from finetrial.sampling.generation import Generation, begin, end_token_ids
from finetrial.sampling.nucleus import choose_by, seen_tokens
from finetrial.sampling.plain_sampling import sample_plainly
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.strip import decoder
from finetrial.store.records import Sample
from finetrial.trial.resolve import Decoding

_CPU_SEQUENCES = 144  # 192 was 5 % faster and took a fifth more memory: docs/results/sampling.md
_CUDA_SEQUENCES = 256


def _check_lengths(model: AnyModel, prompts: Sequence[PromptTask], *, decoding: Decoding, arm: str) -> None:
    limit = context_left(model)
    longest = max(prompts, key=lambda p: len(p.token_ids))
    if any(not p.token_ids for p in prompts):
        empty = next(p for p in prompts if not p.token_ids)
        raise UserError(f"arm {arm}: the prompt {empty.prompt_id} has no tokens")
    if limit is not None and len(longest.token_ids) + decoding.max_new_tokens > limit:
        raise UserError(
            f"arm {arm}: prompt {longest.prompt_id} and its answer do not fit the model's context",
            got=f"{len(longest.token_ids)} prompt tokens + {decoding.max_new_tokens} new tokens",
            expected=f"at most {limit}",
            fix="Lower sampling.max_new_tokens or data.max_tokens (with overlong: cut), or use fewer shots.",
        )


def _cache_name(model: PreTrainedModel) -> str:
    """The name that the model's forward pass has for its key-value cache: `cache` from transformers 5.24 on."""
    unwrap: Callable[[], Any] | None = getattr(model, "get_base_model", None)
    base = model if unwrap is None else unwrap()
    return "cache" if "cache" in inspect.signature(type(base).forward).parameters else "past_key_values"


def _prefill(
    model: PreTrainedModel, tasks: Sequence[PromptTask], *, copies: int, pad_id: int
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """Read the prompts once. Returns the last logits (B V), the cache of B sequences and the mask (B T)."""
    device = model.device
    width = max(len(t.token_ids) for t in tasks)
    ids_PT = torch.full((len(tasks), width), pad_id, dtype=torch.long)
    mask_PT = torch.zeros((len(tasks), width), dtype=torch.long)
    for row, task in enumerate(tasks):
        ids_PT[row, width - len(task.token_ids) :] = torch.tensor(task.token_ids)
        mask_PT[row, width - len(task.token_ids) :] = 1
    mask_PT = mask_PT.to(device)
    position_PT = (mask_PT.cumsum(dim=-1) - 1).clamp(min=0)
    name = _cache_name(model)
    output = model(
        input_ids=ids_PT.to(device),
        attention_mask=mask_PT,
        position_ids=position_PT,
        use_cache=True,
        logits_to_keep=1,
        **{name: DynamicCache(config=model.config)},
    )
    cache = output[name]
    cache.batch_repeat_interleave(copies)
    logits_BV = output.logits[:, -1].repeat_interleave(copies, dim=0)
    return logits_BV, cache, mask_PT.repeat_interleave(copies, dim=0)


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[PromptTask],
    *,
    decoding: Decoding,
    ends: frozenset[int],
    on_token: Callable[[int], None],
) -> list[Generation]:
    """Generate all samples of a few prompts together; finished sequences leave the batch."""
    decode, strip = decoder(tokenizer, strip=decoding.strip), decoding.strip
    sequences = [
        begin(task, index=index, decode=decode, decoding=decoding)
        for task in tasks
        for index in range(decoding.per_prompt)
        # a prompt's samples share a cache here, so those that there are already are drawn with the others
    ]
    pad_id = next(iter(ends), 0)
    name = _cache_name(model)
    logits_BV, cache, mask_BT = _prefill(model, tasks, copies=decoding.per_prompt, pad_id=pad_id)
    active = list(sequences)
    seen_BV = None
    if decoding.repetition_penalty != 1:
        seen_BV = seen_tokens([s.task.token_ids for s in sequences], like_BV=logits_BV)
    for step in range(decoding.max_new_tokens):
        uniform_B = torch.tensor([s.uniforms[step] for s in active], device=logits_BV.device)
        ties = logits_BV.dtype == torch.float32
        choice = choose_by(decoding, logits_BV, uniform_B=uniform_B, seen_BV=seen_BV, ties=ties)
        going: list[int] = []
        near = [None] * len(active) if choice.near_B is None else choice.near_B.tolist()
        chosen = zip(active, choice.token_B.tolist(), choice.logprob_B.tolist(), near, strict=True)
        for row, (sequence, token, logprob, is_near) in enumerate(chosen):
            if sequence.take(token, logprob=logprob, ends=ends, near=is_near):
                going.append(row)
        on_token(len(active))
        if not going or step + 1 == decoding.max_new_tokens:
            break
        token_B = choice.token_B
        if seen_BV is not None:
            seen_BV.scatter_(1, token_B[:, None], True)
        if len(going) < len(active):
            rows = torch.tensor(going, device=mask_BT.device)
            cache.batch_select_indices(rows)
            mask_BT, token_B = mask_BT[rows], token_B[rows]
            active = [active[row] for row in going]
            seen_BV = None if seen_BV is None else seen_BV[rows]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones((len(active), 1))], dim=1)
        output = model(
            input_ids=token_B[:, None],
            attention_mask=mask_BT,
            position_ids=mask_BT.sum(dim=-1, keepdim=True) - 1,
            use_cache=True,
            logits_to_keep=1,
            **{name: cache},
        )
        cache, logits_BV = output[name], output.logits[:, -1]
    for sequence in sequences:
        sequence.settle(decode=decode, stops=decoding.stop, strip=strip)
    return sequences


def _report(tokens: int, *, on_progress: Callable[[int, int], None], finished: int) -> None:
    on_progress(tokens, finished)


def sample_arm(
    model: AnyModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[PromptTask],
    *,
    decoding: Decoding,
    arm: str,
    ends: frozenset[int] = frozenset(),
    batch_sequences: int | None = None,
    way: Way = Way.SHARED,
    on_progress: Callable[[int, int], None] = lambda tokens, finished: None,
) -> Iterator[Sample]:
    """Yield k samples for each prompt, batch by batch, prompts of similar length together; or one by one.

    `way` must be right for the model: `way_probe.choose_way` finds it. A sample ends at the tokenizer's end token,
    those of the model's generation settings, or any of `ends`.

    `on_progress(tokens, finished)` hears of every decoding step: how many tokens it made and how many samples are
    finished so far. Raises UserError when a prompt and its answer exceed the model's context.
    """
    if not prompts:
        return
    base = plain_model(model)
    _check_lengths(model, prompts, decoding=decoding, arm=arm)
    if batch_sequences is None:
        batch_sequences = _CUDA_SEQUENCES if model.device.type == "cuda" else _CPU_SEQUENCES
    per_batch = max(1, batch_sequences // decoding.per_prompt)
    ends = ends | end_token_ids(base, tokenizer)
    ordered = sorted(prompts, key=lambda p: len(p.token_ids))
    model.eval()
    if way is Way.SHARED:
        engine = Engine(
            base,
            decoding,
            decoder(tokenizer, strip=decoding.strip),
            ends,
            arm,
            slots=per_batch,
            on_progress=on_progress,
        )
        yield from engine.run(prompts)
        return
    if way is not Way.BATCHED:
        yield from sample_plainly(
            model,
            tokenizer,
            ordered,
            decoding=decoding,
            arm=arm,
            ends=ends,
            way=way,
            on_progress=on_progress,
        )
        return
    finished = 0
    for start in range(0, len(ordered), per_batch):
        tasks = ordered[start : start + per_batch]
        began = time.perf_counter()
        with torch.inference_mode():
            on_token = partial(_report, on_progress=on_progress, finished=finished)
            sequences = _generate(base, tokenizer, tasks, decoding=decoding, ends=ends, on_token=on_token)
        elapsed = time.perf_counter() - began
        tokens = sum(len(s.token_ids) for s in sequences)
        finished += len(sequences)
        on_progress(0, finished)
        for s in sequences:
            if s.index in s.task.drawn:
                continue
            yield s.as_sample(arm=arm, seconds=elapsed * len(s.token_ids) / tokens)
