"""The fixtures of this folder."""

from hostile_trial import made

__all__ = ["made"]
