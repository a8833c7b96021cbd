"""Who grades which prompts, and in which order?

In small trials everybody grades everything. In large ones whole prompts are dealt out: a part goes to two raters,
so that agreement can be measured, the rest to one. Order and dealing follow from the seed and the names alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Assumption: at some five seconds a sample, 200 are a quarter of an hour, which everybody can be asked for.
SMALL_TRIAL_CELLS = 200
# Of a large trial, graded by two raters: at least this share and at least this many samples.
DOUBLE_SHARE = 0.2
DOUBLE_CELLS = 50


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One showing of one item (or pair) to one rater; `occurrence` 2 is a hidden repeat."""

    item_id: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Block:
    """One prompt and what is graded under it, in the order in which this rater sees it."""

    prompt: str
    cells: tuple[PlannedCell, ...]


def rank(*parts: object) -> bytes:
    """A pseudo-random rank that depends on its parts alone."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode(errors="surrogatepass")).digest()


def deal(sizes: Mapping[str, int], *, raters: int, seed: int) -> tuple[frozenset[str], ...]:
    """The prompts of each of `raters` raters; `sizes` holds each prompt's number of samples."""
    total = sum(sizes.values())
    if raters == 1 or total <= SMALL_TRIAL_CELLS:
        return (frozenset(sizes),) * raters
    wanted = min(total, max(math.ceil(DOUBLE_SHARE * total), DOUBLE_CELLS))
    hands: list[set[str]] = [set() for _ in range(raters)]
    loads = [0] * raters
    doubled = 0
    for prompt in sorted(sizes, key=lambda p: rank("deal", seed, p)):
        copies = 2 if doubled < wanted else 1
        doubled += sizes[prompt] if copies == 2 else 0
        for slot in sorted(range(raters), key=lambda s: (loads[s], s))[:copies]:
            hands[slot].add(prompt)
            loads[slot] += sizes[prompt]
    return tuple(frozenset(hand) for hand in hands)


def _repeats(blocks: Sequence[Block], *, share: float, seed: int, rater: str) -> list[Block]:
    """Second showings as blocks of their own at the end, far from the first showing."""
    cells = sum(len(block.cells) for block in blocks)
    count = max(1, round(share * cells)) if share > 0 and cells > 1 else 0
    # The last third is too fresh in memory; of a single prompt, its later half.
    early = blocks[: math.ceil(2 * len(blocks) / 3)]
    if len(blocks) == 1:
        early = [Block(blocks[0].prompt, blocks[0].cells[: len(blocks[0].cells) // 2])]
    candidates = [(block.prompt, cell.item_id) for block in early for cell in block.cells]
    candidates.sort(key=lambda c: rank("repeat", seed, rater, c[1]))
    chosen: dict[str, list[PlannedCell]] = {}
    for prompt, item_id in candidates[:count]:
        chosen.setdefault(prompt, []).append(PlannedCell(item_id, 2))
    return [Block(prompt, tuple(again)) for prompt, again in chosen.items()]


def plan_blocks(
    cells: Mapping[str, Sequence[str]],
    *,
    seed: int,
    rater: str,
    slot: int,
    raters: int,
    repeats: float = 0.0,
    kept: frozenset[str] = frozenset(),
) -> tuple[Block, ...]:
    """What one rater sees: `cells` maps each prompt to its item (or pair) ids.

    Whoever joins beyond the expected `raters` gets the hand of an earlier one again. `kept` prompts stay in the
    plan whatever the dealing says, because this rater has begun them.
    """
    hands = deal({prompt: len(ids) for prompt, ids in cells.items()}, raters=raters, seed=seed)
    mine = hands[slot % raters] | kept
    prompts = sorted((p for p in cells if p in mine), key=lambda p: rank("prompt", seed, rater, p))
    blocks = [
        Block(p, tuple(PlannedCell(i, 1) for i in sorted(cells[p], key=lambda i: rank("item", seed, rater, i))))
        for p in prompts
    ]
    return (*blocks, *_repeats(blocks, share=repeats, seed=seed, rater=rater))


def left_of(pair_id: str, *, seed: int, rater: str) -> str:
    """Which item of a pair stands on the left for this rater: `first` or `second`."""
    return "first" if rank("side", seed, rater, pair_id)[0] % 2 == 0 else "second"
