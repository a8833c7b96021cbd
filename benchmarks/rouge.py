"""How many pairs a second does ROUGE score on one core, beside `rouge-score` 0.1.2?

    python benchmarks/rouge.py [--data ../shared/data] [--pairs 1992]

Stemmed ROUGE-1, -2 and -L: SciTLDR abstracts against their summaries (both packages, the same pairs, the same F
values), and 100,000 pairs of 40 tokens (finetrial only). Times are processor time; finetrial's stems are forgotten
before each round, so that none of them is free.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rouge_score import rouge_scorer

from finetrial.metrics import rouge
from finetrial.metrics.rouge import forget_stems

METRICS = ("rouge1", "rouge2", "rougeL")
N_SYNTHETIC, N_TOKENS = 100_000, 40


def ours(pairs: Sequence[tuple[str, str]]) -> tuple[list[float], float]:
    """All F values, and the processor seconds they took."""
    forget_stems()
    start = time.process_time()
    scores = [rouge(prediction, reference, metrics=METRICS, stemmer=True) for prediction, reference in pairs]
    seconds = time.process_time() - start
    return [score[metric].fmeasure for score in scores for metric in METRICS], seconds


def theirs(pairs: Sequence[tuple[str, str]]) -> tuple[list[float], float]:
    """The same by rouge-score."""
    scorer = rouge_scorer.RougeScorer(list(METRICS), use_stemmer=True)
    start = time.process_time()
    scores = [scorer.score(reference, prediction) for prediction, reference in pairs]
    seconds = time.process_time() - start
    return [score[metric].fmeasure for score in scores for metric in METRICS], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pairs", type=int, default=1992, help="how many SciTLDR pairs; all of them unless given")
    options = parser.parse_args()
    path = options.data / "scitldr_train.jsonl"
    if not path.exists():
        sys.exit(f"error: {path} does not exist; --data names the folder that holds it")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [(row["prompt"], row["completions"][0]) for row in rows]
    some = pairs[: options.pairs]
    reference, reference_seconds = theirs(some)
    found, seconds = ours(some)
    worst = max(abs(a - b) for a, b in zip(found, reference, strict=True))
    print(f"SciTLDR, {len(some)} pairs: largest difference of any F value {worst:.1e}")
    print(f"  rouge-score  {len(some) / reference_seconds:9,.0f} pairs/s")
    print(f"  finetrial    {len(some) / seconds:9,.0f} pairs/s, {reference_seconds / seconds:.1f} times as many")
    rng = random.Random(0)
    vocabulary = sorted({token for prediction, _ in pairs for token in prediction.split()})
    texts = [" ".join(rng.choices(vocabulary, k=N_TOKENS)) for _ in range(2 * N_SYNTHETIC)]
    _, seconds = ours(list(zip(texts[::2], texts[1::2], strict=True)))
    print(f"{N_SYNTHETIC:,} pairs of {N_TOKENS} tokens: {seconds:.1f} s, {N_SYNTHETIC / seconds:,.0f} pairs/s")


if __name__ == "__main__":
    main()
