"""Write down how a score was computed, so that scores are compared with their like.

Two scores may be compared only where their signatures are equal. After sacreBLEU (Post, "A call for clarity in
reporting BLEU scores", 2018), which made such a line the custom.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial import __version__


@dataclass(frozen=True)
class Signature:
    """What decides a score besides the texts: `rouge1|tok:ascii|stem:porter|refs:best_per_metric|v:0.1.0`."""

    metric: str
    tokenizer: str | None = None
    stemmer: str | None = None
    reference_rule: str | None = None
    seed: int | None = None
    version: str = __version__

    def __str__(self) -> str:
        parts = [self.metric, f"tok:{self.tokenizer or 'none'}", f"stem:{self.stemmer or 'none'}"]
        parts.append(f"refs:{self.reference_rule or 'none'}")
        if self.seed is not None:
            parts.append(f"seed:{self.seed}")
        return "|".join([*parts, f"v:{self.version}"])
