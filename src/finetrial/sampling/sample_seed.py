"""Derive the seed of one sample's random numbers from the trial's seed, the prompt and the sample's index."""

from __future__ import annotations

import hashlib


def sample_seed(seed: int, *, prompt_id: str, index: int) -> int:
    """The seed of one sample's random numbers: the same in every arm."""
    digest = hashlib.sha256(f"{seed}\0{prompt_id}\0{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
