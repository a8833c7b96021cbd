"""What has been graded, for other rooms: the records' readers under one name, and who still owes what."""

from __future__ import annotations

from finetrial.store.grade_key import unblinded_grades, unblinded_guesses, unblinded_pairs
from finetrial.store.grades import consistency, grading_state, read_grades, read_guesses, read_pair_grades

__all__ = [
    "consistency",
    "grading_state",
    "read_grades",
    "read_guesses",
    "read_pair_grades",
    "unblinded_grades",
    "unblinded_guesses",
    "unblinded_pairs",
]
