"""Detect whether a base model has read what it is tested on.

A base made by `finetrial pretrain` keeps a fingerprint of the text it has read: hashed runs of thirteen words, a
sample of them when the text is long. The data gate looks up the runs of the held-out examples in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetrial.errors import UserError
from finetrial.trial.examples import Example
from finetrial.trial.shingles import WordHasher, shingle_hashes
from finetrial.trial.template import seam

# GPT-3 looked for common 13-grams between its training text and its benchmarks (Brown et al. 2020, appendix C).
RUN_WORDS = 13
# 2^20 hashes are 8 MiB beside a model (assumption: nobody minds).
MOST_HASHES = 2**20
# Words of text that are hashed at a time, so that memory stays bounded.
_BLOCK_WORDS = 2**20


@dataclass(frozen=True, slots=True)
class Contamination:
    """How much of the examples a base has read."""

    run_share: float | None  # of the examples' runs that were looked up; None when none could be
    runs_looked_up: int
    examples: tuple[str, ...]  # origins of those with at least half of their looked-up runs found


def _merge(kept: np.ndarray, waiting: list[np.ndarray], *, k: int, most_hashes: int) -> tuple[int, np.ndarray]:
    """Both together, each hash once, thinned by a larger k where they are too many."""
    kept = np.unique(np.concatenate([kept, *waiting]))
    while True:
        kept = kept[kept % np.uint64(k) == 0]
        if len(kept) <= most_hashes:
            return k, kept
        k *= 2


def fingerprint(texts: str | Iterable[str], *, most_hashes: int = MOST_HASHES) -> np.ndarray:
    """The fingerprint of text that a model reads: sorted uint64, for `np.save` beside the model.

    The first number is k, a power of two; the rest are the hashes of the runs of 13 words that k divides, each
    once. k is the smallest that leaves at most `most_hashes`. Being a multiple of k, no hash but 0 sorts below it,
    and 0 is left out.
    """
    hasher = WordHasher()
    k = 1
    kept = np.empty(0, dtype=np.uint64)
    waiting: list[np.ndarray] = []  # merged now and then: one merge a text would sort everything once a text
    held = 0
    for text in [texts] if isinstance(texts, str) else texts:
        words = hasher.words(text)
        for start in range(0, max(1, len(words) - RUN_WORDS + 1), _BLOCK_WORDS):
            block = shingle_hashes(words[start : start + _BLOCK_WORDS + RUN_WORDS - 1], words=RUN_WORDS)
            waiting.append(block[(block % np.uint64(k) == 0) & (block != 0)])
            held += len(waiting[-1])
            if held >= _BLOCK_WORDS:
                k, kept = _merge(kept, waiting, k=k, most_hashes=most_hashes)
                waiting, held = [], 0
    k, kept = _merge(kept, waiting, k=k, most_hashes=most_hashes)
    return np.concatenate([np.array([k], dtype=np.uint64), kept])


def overlap(examples: Sequence[Example], known: np.ndarray) -> Contamination:
    """How much of the examples' prompts and references stands in the text behind a fingerprint.

    Only the runs whose hash k divides can be looked up; their share estimates the share of all runs without bias.
    """
    hasher = WordHasher()
    k, hashes = known[0], known[1:]
    looked_up = found = 0
    read: list[str] = []
    for example in examples:
        first = example.references[0] if example.references else ""
        parts = [example.prompt + seam(example.prompt, first) + first, *example.references[1:]]
        runs = np.unique(np.concatenate([hasher.shingles(part, words=RUN_WORDS) for part in parts]))
        runs = runs[(runs % k == 0) & (runs != 0)]
        hits = int(np.isin(runs, hashes, assume_unique=True).sum())
        looked_up += len(runs)
        found += hits
        if hits and 2 * hits >= len(runs):
            read.append(example.origin)
    return Contamination(found / looked_up if looked_up else None, looked_up, tuple(read))


def read_fingerprint(model_folder: Path) -> np.ndarray | None:
    """The fingerprint that a pretrained base's manifest names; None for a model that keeps none."""
    manifest = model_folder / "manifest.json"
    if not manifest.is_file():
        return None
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{manifest} is not JSON", fix="It was changed by hand; pretrain the base again.") from None
    name = content.get("shingles") if isinstance(content, dict) else None
    if not isinstance(name, str):
        return None
    try:
        known: np.ndarray = np.load(model_folder / name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the fingerprint of {model_folder} cannot be read", got=str(error), expected=f"the file {name}"
        ) from None
    if known.dtype != np.uint64 or known.ndim != 1 or len(known) < 1 or known[0] < 1:
        raise UserError(f"{model_folder / name} is not a fingerprint", got=f"{known.dtype}, shape {known.shape}")
    return known
