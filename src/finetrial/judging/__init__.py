"""Judging by people: blinding, the grading page, bundles, unblinding."""
