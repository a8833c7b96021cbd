"""Measure how fast this device samples: the sampler's own loop on a few layers of the model's own width."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.models.special_tokens import embedding_weight
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampler import OnProgress
from finetrial.trial.resolve import Decoding

_STEPS = 5  # decoding steps that are timed, the first of them cold
_LENGTHS = 9, 33  # tokens of two runs whose difference is steps alone. Assumption


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
    if model.device.type != "cpu":
        return by_difference(model, tokenizer, tasks, decoding=decoding)
    clock = _Clock()
    _sample(model, tokenizer, tasks, decoding=decoding, on_progress=clock)
    gaps = [b - a for a, b in zip(clock.steps, clock.steps[1:], strict=False)]
    step = _middle(gaps)
    return SamplingSeconds(
        prompt_seconds=prompt_seconds(first=clock.steps[0] - clock.began, step=step), step_seconds=step
    )


def prompt_seconds(*, first: float, step: float) -> float:
    """The seconds of the prompts: those until the first step is heard of are the prompts' and one step's.

    Where a busy machine made the steps longer than that, prompts took at most the whole of it: never nothing.
    """
    return first - step if first > step else first


def by_difference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[PromptTask],
    *,
    decoding: Decoding,
    lengths: tuple[int, int] = _LENGTHS,
) -> SamplingSeconds:
    """The same from whole runs of several lengths: on a card what was chosen is looked at every few steps only, and
    graphs are captured once a run."""
    short, long = lengths
    seconds = {}
    for length in (1, 1, short, long):  # the first one is cold
        began = time.perf_counter()
        _sample(model, tokenizer, tasks, decoding=dataclasses.replace(decoding, max_new_tokens=length))
        seconds[length] = time.perf_counter() - began
    step = max(0.0, seconds[long] - seconds[short]) / (long - short)
    return SamplingSeconds(prompt_seconds=seconds[1], step_seconds=step)


def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[PromptTask],
    *,
    decoding: Decoding,
    on_progress: OnProgress = lambda tokens, finished: None,
) -> None:
    sequences = len(tasks) * decoding.per_prompt
    how = {"decoding": decoding, "arm": "calibration", "batch_sequences": sequences, "on_progress": on_progress}
    for _ in sample_arm(model, tokenizer, tasks, **how):  # type: ignore[arg-type]
        pass


def _middle(gaps: Sequence[float]) -> float:
    """The median without the first, which is cold."""
    return statistics.median(gaps[1:] or gaps)


def _task(name: str, length: int, *, vocabulary: int, generator: torch.Generator) -> PromptTask:
    ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
    return PromptTask(prompt_id=name, group=None, text="", token_ids=tuple(ids), references=(), source="")
