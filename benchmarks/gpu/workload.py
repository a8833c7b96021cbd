"""What is tuned on: SciTLDR abstracts where they are at hand, else random examples of the same lengths; full rows.

Shapes: nothing here holds tensors.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from benchmarks.gpu.shapes import SEED
from benchmarks.tuning.setting import WARMUP as _TUNING_WARMUP
from benchmarks.tuning.workload import _deal, make_workload
from finetrial.trial.examples import Encoded

WARMUP, PROFILED = 3, 3  # steps that are not timed, before and after
# SciTLDR with GPT-2's tokenizer: 242 tokens an abstract with its summary on average, a spread of 0.35 in the
# logarithm, about an eighth of them the summary. Measured on 1,200 rows; only for machines without the data
_MEAN_TOKENS, _LOG_SPREAD, _TRAINED_SHARE = 228, 0.35, 0.125
_LONGEST, _VOCABULARY = 512, 49152


@dataclass(frozen=True, slots=True)
class Work:
    """Steps of examples; the first are not timed, the last are profiled."""

    steps: tuple[tuple[Encoded, ...], ...]
    kind: str

    @property
    def examples(self) -> tuple[Encoded, ...]:
        return tuple(example for step in self.steps for example in step)

    @property
    def batch_tokens(self) -> int:
        return max(sum(len(example.token_ids) for example in step) for step in self.steps)

    def timed(self, count: int) -> tuple[Encoded, ...]:
        return tuple(example for step in self.steps[WARMUP : WARMUP + count] for example in step)


def _random_example(generator: random.Random, *, name: str, tokens: int, trained: int) -> Encoded:
    """Tokens by Zipf's law, each second one decided by the one before: something can be learned."""
    ids = []
    for place in range(tokens):
        if place % 2:
            ids.append((7919 * ids[-1] + 13) % _VOCABULARY)
        else:
            ids.append(min(_VOCABULARY - 1, int(math.exp(generator.random() * math.log(_VOCABULARY)))))
    return Encoded(name, tuple(ids), (False,) * (tokens - trained) + (True,) * trained)


def random_abstracts(count: int, *, seed: int = SEED) -> list[Encoded]:
    """Examples of abstracts' lengths."""
    generator = random.Random(seed)
    found = []
    for i in range(count):
        tokens = min(_LONGEST, max(24, round(_MEAN_TOKENS * math.exp(generator.gauss(0, _LOG_SPREAD)))))
        found.append(
            _random_example(generator, name=str(i), tokens=tokens, trained=max(4, round(tokens * _TRAINED_SHARE)))
        )
    return found


def abstracts(*, data: Path | None, steps: int, batch: int) -> Work:
    """`batch` abstracts a step, dealt so that every step has about as many tokens."""
    if data is not None and (data / "scitldr_train.jsonl").exists():
        found = make_workload(data, steps=steps - _TUNING_WARMUP, batch=batch)
        return Work(found.steps, "SciTLDR abstracts")
    return Work(_deal(random_abstracts(steps * batch), batch=batch).steps, "random examples of SciTLDR's lengths")


def full_rows(*, steps: int, rows: int, tokens: int) -> Work:
    """`rows` examples of `tokens` tokens a step, loss on all but the first token."""
    generator = random.Random(SEED)
    found = [
        _random_example(generator, name=str(i), tokens=tokens, trained=tokens - 1) for i in range(steps * rows)
    ]
    return Work(_deal(found, batch=rows).steps, f"full rows of {tokens:,} tokens")


def plain_tokenizer() -> Any:
    """A tokenizer with a padding and an end token, for trainers that want one; nothing is tokenised with it."""
    words = models.WordLevel({"<end>": 0, "<pad>": 1}, unk_token="<end>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="<end>", pad_token="<pad>")
