"""The benchmark writes its own part of docs/results/footprint.md and leaves the rest as it is."""

from pathlib import Path

import pytest

from benchmarks.footprint.page import put_between_markers

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"

PAGE = Path(__file__).parents[2] / "docs" / "results" / "footprint.md"


def test_what_was_written_by_hand_stays():
    page = f"# Title\n\nBefore.\n\n{BEGIN}\nold table\n{END}\n\n## Missed, and why\n\nBy hand.\n"
    found = put_between_markers(page, written="new table\n")
    assert found == page.replace("old table", "new table")


def test_a_page_without_the_markers_is_not_overwritten_and_an_absent_one_is_made():
    with pytest.raises(ValueError, match="benchmark:begin"):
        put_between_markers("# By hand\n", written="table")
    made = put_between_markers(None, written="table")
    assert put_between_markers(made, written="other") == made.replace("table", "other")


def test_the_page_has_the_markers():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "## What is missed, and why" in text.partition(END)[2]
