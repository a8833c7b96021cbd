"""What is tuned on: SciTLDR abstracts where they are at hand, else random examples of the same lengths; full rows.

Shapes: nothing here holds tensors.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.gpu.shapes import SEED
from finetrial.models.batches import epoch_order
from finetrial.trial.examples import Encoded

WARMUP, PROFILED = 3, 3  # steps that are not timed, before and after
# SciTLDR with GPT-2's tokenizer: 242 tokens an abstract with its summary on average, a spread of 0.35 in the
# logarithm, about an eighth of them the summary. Measured on 1,200 rows; only for machines without the data
_MEAN_TOKENS, _LOG_SPREAD, _TRAINED_SHARE = 228, 0.35, 0.125
_LONGEST, _VOCABULARY = 512, 49152
SMALL_VOCABULARY = 512  # of what is rehearsed


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


def _random_example(
    generator: random.Random, *, name: str, tokens: int, trained: int, words: int = _VOCABULARY
) -> Encoded:
    """Tokens by Zipf's law, each second one decided by the one before: something can be learned."""
    ids = []
    for place in range(tokens):
        if place % 2:
            ids.append((7919 * ids[-1] + 13) % words)
        else:
            ids.append(min(words - 1, int(math.exp(generator.random() * math.log(words)))))
    return Encoded(name, tuple(ids), (False,) * (tokens - trained) + (True,) * trained)


def random_abstracts(count: int, *, seed: int = SEED, words: int = _VOCABULARY) -> list[Encoded]:
    """Examples of abstracts' lengths."""
    generator = random.Random(seed)
    found = []
    for i in range(count):
        tokens = min(_LONGEST, max(24, round(_MEAN_TOKENS * math.exp(generator.gauss(0, _LOG_SPREAD)))))
        found.append(
            _random_example(
                generator, name=str(i), tokens=tokens, trained=max(4, round(tokens * _TRAINED_SHARE)), words=words
            )
        )
    return found


def scitldr(data: Path, *, count: int, words: int) -> list[Encoded]:
    """The first abstracts of the training file with GPT-2's tokenizer, loss on the summary and its end token.

    A model of fewer words gets other tokens for the rarest ones: speed does not depend on which.
    """
    tokenizer = AutoTokenizer.from_pretrained(data / "gpt2-tokenizer")
    with (data / "scitldr_train.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(count), strict=False)]
    found = []
    for i, row in enumerate(rows):
        answer = (*tokenizer(" " + row["completions"][0]).input_ids, tokenizer.eos_token_id)
        prompt = tuple(tokenizer(row["prompt"] + "\n\nTL;DR:").input_ids)[: max(1, _LONGEST - len(answer))]
        ids = tuple(token % words for token in (*prompt, *answer))
        found.append(Encoded(str(i), ids, (False,) * len(prompt) + (True,) * len(answer)))
    return found


def deal(encoded: list[Encoded], *, batch: int) -> tuple[tuple[Encoded, ...], ...]:
    """`batch` examples a step, longest first, to and fro over the steps: every step has about as many tokens.

    Their ids are such that finetrial's own order of examples keeps these steps.
    """
    count = len(encoded) // batch
    hands: list[list[Encoded]] = [[] for _ in range(count)]
    for place, example in enumerate(sorted(encoded[: count * batch], key=lambda e: -len(e.token_ids))):
        turn, seat = divmod(place, count)
        hands[seat if turn % 2 == 0 else count - 1 - seat].append(example)
    dealt = [example for hand in hands for example in hand]
    names = [str(i) for i in range(len(dealt))]
    ordered = [names[i] for i in epoch_order(names, seed=0, epoch=0)]
    named = [dataclasses.replace(e, example_id=name) for e, name in zip(dealt, ordered, strict=True)]
    return tuple(tuple(named[i : i + batch]) for i in range(0, len(named), batch))


def abstracts(*, data: Path | None, steps: int, batch: int, words: int = _VOCABULARY) -> Work:
    """`batch` abstracts a step, dealt so that every step has about as many tokens."""
    if data is not None and (data / "scitldr_train.jsonl").exists():
        return Work(deal(scitldr(data, count=steps * batch, words=words), batch=batch), "SciTLDR abstracts")
    return Work(
        deal(random_abstracts(steps * batch, words=words), batch=batch), "random examples of SciTLDR's lengths"
    )


def full_rows(*, steps: int, rows: int, tokens: int, words: int = _VOCABULARY) -> Work:
    """`rows` examples of `tokens` tokens a step, loss on all but the first token."""
    generator = random.Random(SEED)
    found = [
        _random_example(generator, name=str(i), tokens=tokens, trained=tokens - 1, words=words)
        for i in range(steps * rows)
    ]
    return Work(deal(found, batch=rows), f"full rows of {tokens:,} tokens")


def plain_tokenizer() -> Any:
    """A tokenizer with a padding and an end token, for trainers that want one; nothing is tokenised with it."""
    words = models.WordLevel({"<end>": 0, "<pad>": 1}, unk_token="<end>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="<end>", pad_token="<pad>")
