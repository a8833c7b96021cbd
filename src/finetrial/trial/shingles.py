"""Normalise texts for comparison, and hash the runs of words that they share.

Texts are compared by their words: lower case, white space and punctuation left out; in scripts written without
spaces every character is a word. A shingle is a run of n words, kept as one 64-bit number that is the same on
every machine.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np

# Han, kana, Thai, Lao, Khmer and Burmese letters stand for themselves; elsewhere a run of letters and digits.
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")
_BASE = np.uint64(
    0x9E3779B97F4A7C15
)  # odd, so multiplication loses nothing; 2^64 / golden ratio (Knuth, TAOCP 6.4)
# The finaliser of splitmix64 (Steele, Lea, Flood 2014, figure 16): makes every bit depend on every other.
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def normalised(text: str) -> str:
    """The text without differences of white space and capitals."""
    return " ".join(text.casefold().split())


class WordHasher:
    """Words to 64-bit numbers; each distinct word is hashed once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def words(self, text: str) -> np.ndarray:
        """The words of a text as uint64, in order."""
        known = self._known
        numbers = []
        for word in _WORD.findall(text.casefold()):
            number = known.get(word)
            if number is None:
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                number = known[word] = int.from_bytes(digest, "little")
            numbers.append(number)
        return np.array(numbers, dtype=np.uint64)

    def shingles(self, text: str, *, words: int) -> np.ndarray:
        """The hash of every run of `words` words, uint64, in order; empty for a shorter text."""
        return shingle_hashes(self.words(text), words=words)


def shingle_hashes(word_hashes: np.ndarray, *, words: int) -> np.ndarray:
    """The hashes of the runs in a sequence of word hashes. [L] uint64 -> [max(0, L - words + 1)] uint64."""
    count = len(word_hashes) - words + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    total = np.zeros(count, dtype=np.uint64)
    for offset in range(words):  # Horner's rule modulo 2^64
        total = total * _BASE + word_hashes[offset : offset + count]
    total ^= total >> np.uint64(30)
    total *= _MIX[0]
    total ^= total >> np.uint64(27)
    total *= _MIX[1]
    total ^= total >> np.uint64(31)
    return total
