"""Keep some sentences for the test: a sentence's checksum decides the split it may stand in.

Beside plots and schemes, wordings are dealt out too: a sentence's checksum says in which split it may stand. A
training text does not use a kept sentence where its material has another wording to offer. A held-out text looks
for a kept one, and does without the sentence where there is none and the post can spare it. So what a held-out post
says has, for the most part, been said before in other words only.
"""

from __future__ import annotations

from zlib import crc32

BUCKETS = 8
HELDOUT_BUCKET = 0
VALIDATION_BUCKET = 1
TRIES = 100  # of many wordings a kept one, an eighth of them, is missed with probability (7/8)^100 = 2e-6


def split_of(sentence: str) -> str:
    """The split in which this sentence may stand. CRC-32 (ISO 3309) of it in small letters without its mark."""
    bucket = crc32(sentence.lower().rstrip(".!?,;").encode()) % BUCKETS
    if bucket == HELDOUT_BUCKET:
        return "heldout"
    return "validation" if bucket == VALIDATION_BUCKET else "train"
