"""Scores and diagnostics of one generated text: arithmetic on strings, no files and no network."""

from finetrial.metrics.rouge import ReferenceRule, RougeResult, RougeScore, rouge
from finetrial.metrics.signature import Signature

__all__ = ["ReferenceRule", "RougeResult", "RougeScore", "Signature", "rouge"]
