"""Does a sample depend on what was sampled beside it? Count the samples that another batch changes.

    python -m benchmarks.sampling.batches --data FOLDER [--models real,gpt2] [--precisions float32,bfloat16]

The same prompts are sampled at several batch sizes. At float32 the first token that differs must stand among the
sample's near-ties; at bfloat16 the share of samples that differ is what is published. Kept beside the table of
rates, from which docs/results/sampling.md is made.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.sampling.measure import TEMPERATURE, TOP_P, Case, make_model, make_prompts, make_tokenizer
from benchmarks.sampling.page import write_page
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.store.records import Sample
from finetrial.trial.resolve import Decoding
from tools.real_model import present

BATCHES = (144, 24, 3)  # sequences at once: the default, few, one prompt's


def _sampled(case: Case, *, batches: Sequence[int]) -> list[dict[str, Sample]]:
    tokenizer = make_tokenizer(case)
    prompts, model = make_prompts(case, tokenizer), make_model(case)
    tasks = [PromptTask(str(i), None, "", ids, (), "") for i, ids in enumerate(prompts)]
    decoding = Decoding(per_prompt=case.copies, max_new_tokens=case.tokens, temperature=TEMPERATURE, top_p=TOP_P)
    how: dict[str, Any] = {"decoding": decoding, "arm": "a"}
    return [
        {s.id: s for s in sample_arm(model, tokenizer, tasks, batch_sequences=batch, **how)} for batch in batches
    ]


def _first_difference(one: Sample, other: Sample) -> int | None:
    pairs = zip(one.token_ids or (), other.token_ids or (), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), None)


def compared(case: Case) -> dict[str, Any]:
    """How many samples another batch changes, how many of those at a near-tie, and how many ties are noted."""
    first, *others = _sampled(case, batches=BATCHES)
    changed = noted = pairs = tokens_same = 0
    for other in others:
        for name, sample in first.items():
            pairs += 1
            place = _first_difference(sample, other[name])
            tokens_same += (sample.tokens or 0) if place is None else place
            if place is not None:
                changed += 1
                noted += place in (sample.near_ties or ()) or place in (other[name].near_ties or ())
    tokens = sum(s.tokens or 0 for s in first.values())
    ties = None
    if case.precision == "float32":
        ties = sum(len(s.near_ties or ()) for s in first.values())
    return {
        "model": case.model,
        "precision": case.precision,
        "batches": list(BATCHES),
        "prompts": case.prompts,
        "copies": case.copies,
        "tokens": tokens,
        "pairs": pairs,
        "changed": changed,
        "changed_at_ties": noted,
        "ties": ties,
        "tokens_to_first": tokens_same,
        "day": str(date.today()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling.batches")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="real,gpt2")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results/sampling.md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out.with_suffix(".json")
    for model in options.models.split(","):
        for precision in options.precisions.split(","):
            case = Case(
                engine="finetrial",
                model=str(present()) if model == "real" else model,
                precision=precision,
                batch=BATCHES[0],
                prompts=options.prompts,
                copies=3,
                tokens=48,
                data=str(options.data),
                threads=options.threads,
            )
            found = compared(case) | {"model": model}
            print(json.dumps(found), flush=True)
            kept = json.loads(path.read_text())
            kept.setdefault("batches", {})[f"{model}/{precision}"] = found
            path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            write_page(options.out, kept)


if __name__ == "__main__":
    main()
