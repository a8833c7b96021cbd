"""Assign prompts to raters, and put what each grades in order.

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
    """One visit to a prompt and what is graded in it, in the order in which this rater sees it.

    `number` counts prompts, from 1: the second visit to a prompt has the number of the first.
    """

    prompt: str
    cells: tuple[PlannedCell, ...]
    number: int


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


def repeat_count(n_cells: int, *, share: float) -> int:
    """How many of a rater's samples are shown a second time."""
    return max(1, round(share * n_cells)) if share > 0 and n_cells > 1 else 0


def _quotas(blocks: Sequence[Block], *, count: int, seed: int, rater: str) -> dict[int, int]:
    """How many repeats each block gives, by its place: as even as can be, at most half of a block.

    The last prompts give none, so that another prompt stands between the two showings.
    """
    early = range(max(1, min(len(blocks) - 1, math.ceil(2 * len(blocks) / 3))))
    order = sorted(early, key=lambda place: rank("repeat", seed, rater, blocks[place].prompt))
    quotas = dict.fromkeys(order, 0)
    for _ in range(count):
        free = [place for place in order if quotas[place] < math.ceil(len(blocks[place].cells) / 2)]
        if not free:
            break
        quotas[min(free, key=lambda place: quotas[place])] += 1
    return {place: quota for place, quota in quotas.items() if quota}


def _with_repeats(blocks: Sequence[Block], *, share: float, seed: int, rater: str) -> tuple[Block, ...]:
    """The blocks with second showings that nothing gives away.

    A prompt that gives repeats is visited twice: its first half now, the other half later, and among that half,
    in random order, the repeats of the first. So a second visit always brings something new, too, where the prompt
    has more than one sample, and every count and number stays as it would be without repeats.
    """
    count = repeat_count(sum(len(block.cells) for block in blocks), share=share)
    if not count:
        return tuple(blocks)
    if len(blocks) == 1:
        return (_repeated_within(blocks[0], count=count, seed=seed, rater=rater),)
    later: dict[int, list[Block]] = {}
    first = list(blocks)
    for place, quota in _quotas(blocks, count=count, seed=seed, rater=rater).items():
        block = blocks[place]
        half = math.ceil(len(block.cells) / 2)
        seen = sorted(block.cells[:half], key=lambda c: rank("repeat", seed, rater, c.item_id))
        again = [PlannedCell(cell.item_id, 2) for cell in seen[:quota]]
        mixed = sorted((*block.cells[half:], *again), key=lambda c: rank("visit", seed, rater, c.item_id))
        first[place] = Block(block.prompt, block.cells[:half], block.number)
        # a quarter of all prompts later at the earliest, at the end at the latest
        gap = math.ceil(len(blocks) / 4)
        places = range(min(place + gap, len(blocks) - 1), len(blocks))
        after = places[rank("return", seed, rater, block.prompt)[0] % len(places)]
        later.setdefault(after, []).append(Block(block.prompt, tuple(mixed), block.number))
    ordered = []
    for place, block in enumerate(first):
        ordered.append(block)
        ordered += sorted(later.get(place, ()), key=lambda b: rank("return", seed, rater, b.prompt))
    return tuple(ordered)


def _repeated_within(block: Block, *, count: int, seed: int, rater: str) -> Block:
    """A single prompt's block with repeats of its first half in its last quarter."""
    half = len(block.cells) // 2
    seen = sorted(block.cells[:half], key=lambda c: rank("repeat", seed, rater, c.item_id))
    again = [PlannedCell(cell.item_id, 2) for cell in seen[:count]]
    start = len(block.cells) - len(block.cells) // 4
    tail = sorted((*block.cells[start:], *again), key=lambda c: rank("visit", seed, rater, c.item_id))
    return Block(block.prompt, (*block.cells[:start], *tail), block.number)


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
    ordered = {p: sorted(cells[p], key=lambda i: rank("item", seed, rater, i)) for p in prompts}
    blocks = [
        Block(p, tuple(PlannedCell(i, 1) for i in ordered[p]), number) for number, p in enumerate(prompts, start=1)
    ]
    return _with_repeats(blocks, share=repeats, seed=seed, rater=rater)


def left_of(pair_id: str, *, seed: int, rater: str) -> str:
    """Which item of a pair stands on the left for this rater: `first` or `second`."""
    return "first" if rank("side", seed, rater, pair_id)[0] % 2 == 0 else "second"
