"""Split rows whose source has no split of its own.

Rows of one group, and rows with the same prompt, are one unit and stay on one side. Every unit gets a
pseudo-random rank from the seed and its key; held-out takes the lowest ranks, validation the next, training the
rest. The rank does not depend on the other rows, so adding rows moves few of the old ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.trial.data_findings import counted
from finetrial.trial.examples import SplitName

# Where the trial file names no number: a tenth of the rows, at most 500 (assumption).
DEFAULT_SHARE = 0.1
DEFAULT_MOST = 500


@dataclass(frozen=True, slots=True)
class Cut:
    """Row indices of each side, in the data's order, and how many rows of a divided unit were left out."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    heldout: tuple[int, ...]
    left_out: int


def rank(key: str, *, seed: int) -> bytes:
    """The pseudo-random rank of a unit."""
    return hashlib.sha256(f"cut\0{seed}\0{key}".encode()).digest()


def default_count(rows: int) -> int:
    """How many rows a side gets when the trial file names no number."""
    return max(1, min(DEFAULT_MOST, int(rows * DEFAULT_SHARE)))


def choose(keys: Sequence[str], *, count: int | None, seed: int) -> tuple[int, ...]:
    """`count` of the rows by rank of their units, in the data's order; all of them when None."""
    if count is None:
        return tuple(range(len(keys)))
    order = sorted(range(len(keys)), key=lambda i: (rank(keys[i], seed=seed), i))
    return tuple(sorted(order[:count]))


def cut_rows(
    keys: Sequence[str],
    *,
    train: int | None,
    validation: int | None,
    heldout: int | None,
    seed: int,
    where: str,
) -> Cut:
    """Cut rows by the keys of their units.

    `validation` and `heldout` are None where that split comes from elsewhere and 0 is never asked; `train` None
    takes what is left. Fewer rows than asked is an error that says how many there are.
    """
    units: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        units.setdefault(key, []).append(index)
    ranked = sorted(units, key=lambda key: rank(key, seed=seed))
    sides: dict[SplitName, list[int]] = {"heldout": [], "validation": [], "train": []}
    asked: dict[SplitName, int | None] = {"heldout": heldout or 0, "validation": validation or 0, "train": train}
    position = left_out = 0
    for side, count in asked.items():
        rows = sides[side]
        while position < len(ranked) and (count is None or len(rows) < count):
            rows += units[ranked[position]]
            position += 1
        if count is not None:
            left_out += max(0, len(rows) - count)
            del rows[count:]
    short = {side: count for side, count in asked.items() if len(sides[side]) < (1 if count is None else count)}
    if short:
        wanted = ", ".join(f"{side} {count}" for side, count in reversed(asked.items()) if count)
        kinds = (
            ""
            if len(units) == len(keys)
            else f", of which those with one group or prompt make {counted(len(units), 'unit')}"
        )
        raise UserError(
            f"{where} has fewer rows than the splits ask for",
            got=counted(len(keys), "row") + kinds,
            expected=f"{wanted}" + ("" if train else ", and at least one row for train"),
            fix="Lower data.train, data.validation or data.heldout, or add rows.",
        )
    return Cut(
        train=tuple(sorted(sides["train"])),
        validation=tuple(sorted(sides["validation"])),
        heldout=tuple(sorted(sides["heldout"])),
        left_out=left_out,
    )
