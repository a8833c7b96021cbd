"""What tuning broke: bits over bytes, the difference to the base, and its interval over documents, by hand."""

import math

import pytest

from finetrial.evidence.forgetting import forgetting_of_arms
from finetrial.store.layout import TrialFolder
from finetrial.store.records import RetainedText, write_rows
from finetrial.trial.trial_file import parse_trial

TRIAL = """
trial: t
model: m
data: {source: rows.jsonl, retain: other.txt}
arms: {base: {}, prompted: {shots: 1}, full: {method: full}}
training: {seeds: 2}
"""


def folder_with(root, **bits):
    """Documents of 100, 100 and 200 bytes; `bits` of each by training run."""
    folder = TrialFolder(root)
    for name, row in bits.items():
        sizes = (100, 100, 200)[: len(row)]
        rows = [RetainedText(i, n, float(b)) for i, (n, b) in enumerate(zip(sizes, row, strict=True))]
        write_rows(folder.retained(name.replace("_", "@")), rows)
    return folder


def test_the_difference_is_of_all_bits_over_all_bytes_with_an_interval_over_documents(tmp_path):
    folder = folder_with(tmp_path, base=(200, 210, 400), full=(230, 220, 470), full_1=(210, 240, 450))
    found = forgetting_of_arms(folder, parse_trial(TRIAL, origin="t"))
    assert list(found) == ["base", "full"]
    assert found["base"].bits_per_byte == pytest.approx(810 / 400) and found["base"].to_base is None
    # the runs' means: 220, 230, 460; against the base 20, 20, 60 more bits on 400 bytes: 0.25
    full = found["full"]
    assert full.bits_per_byte == pytest.approx(910 / 400) and full.to_base == pytest.approx(0.25)
    assert (full.worse, full.documents, full.n_bytes) == (3, 3, 400)
    # residuals (gap - 0.25 bytes) over the mean size 400/3: -5, -5, 10 -> squares 150; s² = 75 / (400/3)²;
    # t of 2 degrees at 97.5 % is 4.3027
    reach = 4.302653 * math.sqrt(75 / 3) / (400 / 3)
    assert (full.low, full.high) == (pytest.approx(0.25 - reach), pytest.approx(0.25 + reach))


def test_one_document_says_nothing_of_the_spread(tmp_path):
    found = forgetting_of_arms(
        folder_with(tmp_path, base=[200], full=[230], full_1=[250]), parse_trial(TRIAL, origin="t")
    )
    assert found["full"].to_base == pytest.approx(0.4) and found["full"].low is None
    assert "one document alone" in found["full"].reason


def test_arms_that_read_another_text_are_not_compared(tmp_path):
    found = forgetting_of_arms(
        folder_with(tmp_path, base=(200, 210), full=(1, 2, 3), full_1=(1, 2, 3)), parse_trial(TRIAL, origin="t")
    )
    assert found["full"].to_base is None and found["full"].reason == "the base read another text"


def test_an_arm_of_which_a_run_is_missing_is_left_out(tmp_path):
    found = forgetting_of_arms(folder_with(tmp_path, base=(200, 210), full=(1, 2)), parse_trial(TRIAL, origin="t"))
    assert list(found) == ["base"]


def test_nothing_is_said_where_the_trial_names_no_other_text(tmp_path):
    folder = folder_with(tmp_path, base=(200, 210))
    assert forgetting_of_arms(folder, parse_trial(TRIAL.replace(", retain: other.txt", ""), origin="t")) == {}
