"""Scores and diagnostics of generated texts: arithmetic on strings, no files and no network."""

from finetrial.metrics.answers import AnswerScore, exact_match, length_ratio, squad_match, token_f1, valid_json
from finetrial.metrics.artifacts import (
    boilerplate,
    code,
    commentary,
    copied_headers,
    language,
    other_language,
    overlong,
    role_markers,
    second_document,
)
from finetrial.metrics.beside_prompt import near_words, question_kept
from finetrial.metrics.copying import Copying, TrainingText, copied_from_training, copying
from finetrial.metrics.diversity import Diversity, sample_diversity
from finetrial.metrics.json_fields import json_fields
from finetrial.metrics.metric import ReferenceRule
from finetrial.metrics.passages import Finding, Passage, Span
from finetrial.metrics.repetition import Ending, Loop, ending, repeated_ngrams, repeated_sentences, terminal_loop
from finetrial.metrics.rouge import RougeResult, RougeScore, rouge
from finetrial.metrics.signature import Signature
from finetrial.metrics.unsupported import known_words, novel_words, unsupported_names, unsupported_numbers

__all__ = [
    "AnswerScore",
    "Copying",
    "Diversity",
    "Ending",
    "Finding",
    "Loop",
    "Passage",
    "ReferenceRule",
    "RougeResult",
    "RougeScore",
    "Signature",
    "Span",
    "TrainingText",
    "boilerplate",
    "code",
    "commentary",
    "copied_from_training",
    "copied_headers",
    "copying",
    "ending",
    "exact_match",
    "json_fields",
    "known_words",
    "language",
    "length_ratio",
    "near_words",
    "novel_words",
    "other_language",
    "overlong",
    "question_kept",
    "repeated_ngrams",
    "repeated_sentences",
    "role_markers",
    "rouge",
    "sample_diversity",
    "second_document",
    "squad_match",
    "terminal_loop",
    "token_f1",
    "unsupported_names",
    "unsupported_numbers",
    "valid_json",
]
