"""What do both trainers train on: which model, which examples, in which batches?

SciTLDR abstracts, loss on the summaries. The examples are dealt so that every batch has nearly the same number of
tokens: the trainer that counts examples and the one that counts tokens take the same examples each step.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from benchmarks.tuning.families import SEED, ModelName, tokenizer_of
from benchmarks.tuning.setting import LORA_RANK, LORA_TARGETS, PACKED_TOKENS, WARMUP, Method
from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.flops import step_flops
from finetrial.footprint.shapes import shape_from_config
from finetrial.models.batches import effective_batches, epoch_order
from finetrial.models.encode import encode
from finetrial.trial.examples import Encoded, Example
from finetrial.trial.form import Form

TEMPLATE = "{prompt}\n\nTL;DR:"
MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps of `batch` examples each; the first are the warm-up and are not timed."""

    steps: tuple[tuple[Encoded, ...], ...]
    batch_tokens: int  # finetrial's effective batch that gives these steps

    @property
    def packed_rows(self) -> int:
        """How many of TRL's packed rows hold about a step's examples."""
        return max(1, round(self.batch_tokens / PACKED_TOKENS))

    @property
    def examples(self) -> tuple[Encoded, ...]:
        return tuple(example for step in self.steps for example in step)

    @property
    def timed(self) -> tuple[Encoded, ...]:
        return tuple(example for step in self.steps[WARMUP:] for example in step)


def make_workload(data: Path, *, steps: int, batch: int, model: ModelName = "gpt2") -> Workload:
    """The first abstracts of the training file: `batch` a step, for the warm-up and for `steps` timed ones."""
    tokenizer = tokenizer_of(model, data=data)
    count = (steps + WARMUP) * batch
    with (data / "scitldr_train.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(count), strict=False)]
    encoded = [
        encode(
            Example(str(i), f"row {i}", row["prompt"], (row["completions"][0],), {"prompt": row["prompt"]}),
            tokenizer=tokenizer,
            form=Form(template=TEMPLATE),
            max_tokens=MAX_TOKENS,
            overlong="cut",
            assistant_loss="last",
        )
        for i, row in enumerate(rows)
    ]
    return _deal(encoded, batch=batch)


def _deal(encoded: list[Encoded], *, batch: int) -> Workload:
    """Longest first, to and fro over the steps; ids that finetrial's order keeps in this order."""
    count = len(encoded) // batch
    hands: list[list[Encoded]] = [[] for _ in range(count)]
    for place, example in enumerate(sorted(encoded, key=lambda e: -len(e.token_ids))):
        turn, seat = divmod(place, count)
        hands[seat if turn % 2 == 0 else count - 1 - seat].append(example)
    dealt = [example for hand in hands for example in hand]
    ids = [str(i) for i in range(len(dealt))]
    ordered = [ids[i] for i in epoch_order(ids, seed=SEED, epoch=0)]
    named = [dataclasses.replace(example, example_id=name) for example, name in zip(dealt, ordered, strict=True)]
    lengths = [len(example.token_ids) for example in named]
    steps = tuple(tuple(named[i : i + batch]) for i in range(0, len(named), batch))
    batch_tokens = max(sum(len(example.token_ids) for example in step) for step in steps)
    found = effective_batches(ordered, lengths=lengths, epochs=1.0, batch_tokens=batch_tokens, seed=SEED)
    assert found == [tuple(range(i, i + batch)) for i in range(0, len(named), batch)], "steps differ"
    return Workload(steps, batch_tokens)


def useful_flops(base: Path, method: Method, examples: tuple[Encoded, ...]) -> int:
    """What the mathematics of these examples needs, forward and backward, as footprint counts it."""
    return step_flops(
        shape_from_config(AutoConfig.from_pretrained(base).to_dict()),
        method=Full() if method == "full" else Lora(rank=LORA_RANK, targets=LORA_TARGETS),
        lengths=[len(example.token_ids) for example in examples],
        loss_tokens=sum(example.trained_tokens for example in examples),
    ).total
