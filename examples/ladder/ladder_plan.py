"""Which runs make up a ladder, how large are they, and what do they share?"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs share; losses of different settings do not compare."""

    text: str
    text_sha256: str
    vocabulary: int = 257  # bytes and the end token: a small text gives the most tokens
    context: int = 128
    batch_windows: int = 4
    init_at_width_1: float = 0.554  # first weights' deviation times the root of the width: GPT-2's 0.02 at 768
    rate_at_width_1: float = 0.32  # learning rate times the width; README.md says how it was chosen
    heldout_share: float = 0.04
    seed: int = 0  # of the split


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of rungs.csv."""

    role: str  # rung or larger
    layers: int
    width: int
    heads: int
    unique_tokens: int
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        return f"l{self.layers}-w{self.width}-u{self.unique_tokens}-e{self.epochs}-s{self.seed}"

    @property
    def feed_forward(self) -> int:
        """The inner width of a gated feed-forward: 8/3 of the width (Shazeer 2020, section 3), in eights."""
        return 8 * self.width // 3 // 8 * 8

    def params_body(self) -> int:
        """A block has four square matrices of attention, three of the feed-forward and two norms; one norm ends."""
        block = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return self.layers * block + self.width

    def params(self, settings: Settings) -> int:
        """With the token embeddings, which the head shares."""
        return self.params_body() + settings.vocabulary * self.width

    def tokens(self) -> int:
        """Tokens predicted: the text's, and its end token, in every epoch."""
        return (self.unique_tokens + 1) * self.epochs


def read_rungs(path: Path) -> list[Run]:
    """The rows of rungs.csv, smallest compute first, so that a plan that is too large shows itself late."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", expected="a list of rungs such as examples/ladder/rungs.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = list(Run.__dataclass_fields__)
    if not rows or list(rows[0]) != expected:
        raise UserError(f"{path} is not a list of rungs", expected="the columns " + ",".join(expected))
    runs = []
    for line, row in enumerate(rows, 2):
        try:
            runs.append(Run(role=row["role"], **{name: int(row[name]) for name in expected if name != "role"}))
        except (TypeError, ValueError):
            raise UserError(f"{path}, line {line}: whole numbers are expected", got=str(row)) from None
    if sum(run.role == "larger" for run in runs) != 1 or {run.role for run in runs} != {"rung", "larger"}:
        raise UserError(f"{path} needs rungs, and one row with the role larger")
    return sorted(runs, key=lambda run: (run.params_body() * run.tokens(), run.name))
