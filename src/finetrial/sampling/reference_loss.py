"""Say what references cost a model: nats a token, perplexity, and bits a byte, which other tokenizers share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from finetrial.store.records import ReferenceLikelihood


def nats_per_token(rows: Sequence[ReferenceLikelihood]) -> float | None:
    """The mean over all tokens that carry loss; its exponential is the perplexity. None where there is no token."""
    tokens = sum(row.tokens for row in rows)
    return math.fsum(row.nats for row in rows) / tokens if tokens else None


def bits_per_byte(rows: Sequence[ReferenceLikelihood]) -> float | None:
    """All bits, those of the end tokens included, over the references' bytes. None where there is no byte."""
    n_bytes = sum(row.n_bytes for row in rows)
    return math.fsum(row.nats for row in rows) / math.log(2) / n_bytes if n_bytes else None
