"""Measure how fast this device samples: the sampler's own loop on a few layers of the model's own width."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.models.special_tokens import embedding_weight
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.trial.resolve import Decoding

_STEPS = 5  # decoding steps that are timed, the first of them cold


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSeconds:
    """Reading some prompts, and one decoding step of all their sequences."""

    prompt_seconds: float
    step_seconds: float


class _Clock:
    """Hears of every decoding step and notes when."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.steps: list[float] = []

    def __call__(self, tokens: int, finished: int) -> None:
        if tokens:
            self.steps.append(time.perf_counter())


def measure_sampling(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_tokens: int,
    prompts: int,
    per_prompt: int,
    greedy: bool,
) -> SamplingSeconds:
    """The seconds of a batch of `prompts` times `per_prompt` sequences behind prompts of that length.

    Under a random model all next words are alike, where under a trained one few are likely: the temperature makes
    them few, so that choosing among them takes what it will take.
    """
    generator = torch.Generator().manual_seed(2)
    vocabulary = embedding_weight(model).shape[0]
    tasks = [_task(str(i), prompt_tokens, vocabulary=vocabulary, generator=generator) for i in range(prompts)]
    decoding = Decoding(
        per_prompt=per_prompt, max_new_tokens=_STEPS + 1, temperature=0.0 if greedy else 0.005, top_p=0.95
    )
    clock = _Clock()
    sequences = prompts * per_prompt
    for _ in sample_arm(
        model,
        tokenizer,
        tasks,
        decoding=decoding,
        arm="calibration",
        batch_sequences=sequences,
        on_progress=clock,
    ):
        pass
    gaps = [b - a for a, b in zip(clock.steps, clock.steps[1:], strict=False)]
    return SamplingSeconds(prompt_seconds=clock.steps[0] - clock.began, step_seconds=_middle(gaps))


def _middle(gaps: Sequence[float]) -> float:
    """The median without the first, which is cold."""
    return statistics.median(gaps[1:] or gaps)


def _task(name: str, length: int, *, vocabulary: int, generator: torch.Generator) -> PromptTask:
    ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
    return PromptTask(prompt_id=name, group=None, text="", token_ids=tuple(ids), references=(), source="")
