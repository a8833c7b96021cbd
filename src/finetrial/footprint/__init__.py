"""Count what a model, a copy or an adapter weighs, and what training it takes. Pure arithmetic.

As `finetrial.footprint` in Python: shape, storage, rank, compare and train, which load when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from finetrial.footprint.estimates import compare, rank, shape, storage, train

__all__ = ["compare", "rank", "shape", "storage", "train"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'finetrial.footprint' has no attribute {name!r}")
    from finetrial.footprint import estimates as answers

    return getattr(answers, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
