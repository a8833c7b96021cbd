"""Raters' grades as a metric: a sample's mean over its raters, good 1 and bad 0. There is nothing to compute."""

from __future__ import annotations

from finetrial.metrics.metric import GivenMetric

GRADE = "grade"
GRADES = GivenMetric(name=GRADE, title="Grades", about="the share of good among blind grades", bounds=(0.0, 1.0))
