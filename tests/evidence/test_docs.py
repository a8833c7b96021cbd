"""docs/statistics.md names what the code knows, in the code's own words."""

from __future__ import annotations

from pathlib import Path

from finetrial.evidence.diagnose import MOST_TEXTS
from finetrial.metrics.checks import CHECKS
from finetrial.metrics.metric_table import METRICS

DOCS = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_every_check_stands_in_the_docs_with_its_definition_and_source():
    rows = [f"| {check.name} | {check.definition} | {check.source or 'ours'} |" for check in CHECKS]
    assert len(rows) == 23 and [row for row in rows if row not in DOCS] == []


def test_every_metric_stands_in_the_docs():
    listed = [metric.name for metric in METRICS if f"`{metric.name}`" in DOCS]
    # rouge2 to rouge8 stand for themselves between rouge1 and rouge9
    assert {metric.name for metric in METRICS} == set(listed) | {f"rouge{n}" for n in range(2, 9)}


def test_the_number_of_texts_that_are_looked_at_is_the_codes():
    assert f"Beyond {MOST_TEXTS:,} texts" in DOCS
