"""The methods that `finetrial footprint` counts on paper, each by its word: `ia3:k,v,down`, `vera:256:q,v`.

Such a method says which of rank and targets it takes (`paper_keys`). `matrices` is full tuning of some matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetrial.errors import unknown_name
from finetrial.footprint.adapters import Method as Counted
from finetrial.footprint.method_words import WORDS, Word
from finetrial.methods.method import TunedMethod
from finetrial.methods.method_table import all_methods


def paper_words() -> Mapping[str, Word]:
    """Every word there is: footprint's own, then those of the methods."""
    tuned = [method for method in all_methods() if issubclass(method, TunedMethod)]
    return {**WORDS, **{m.name: _word(m, m.paper_keys) for m in tuned if m.paper_keys and m.name not in WORDS}}


def paper_word(name: str) -> Word:
    """What a word means. Raises UserError that lists the words."""
    words = paper_words()
    if name not in words:
        raise unknown_name("method", name, words)
    return words[name]


def _word(method: type[TunedMethod], keys: tuple[str, ...]) -> Word:
    def make(rank: int, targets: tuple[str, ...]) -> Counted:  # footprint checks rank and targets itself
        given: dict[str, Any] = {"rank": rank, "targets": targets}
        counted = method.model_construct(**{key: given[key] for key in keys}).counted()
        assert counted is not None, f"{method.name} says that it can be counted on paper"
        return counted

    return Word(method.title, keys, make)
