"""What more rows would bring, from arms that differ in their rows alone, beside what another setting changed."""

import dataclasses
import math

import pytest

from finetrial.evidence.early_findings import early_findings
from finetrial.evidence.more_rows import more_rows
from finetrial.store.layout import TrialFolder
from finetrial.store.pilots import PilotRecord, RowCost, write_pilot
from finetrial.store.records import Measured, ReferenceLikelihood, write_object, write_rows
from finetrial.trial.trial_file import parse_trial

TRIAL = """\
trial: t
model: starter
data: {source: rows.jsonl}
arms: {base: {}, lora: {method: lora, targets: [q, v]}}
sweep: {lora: {rank: [4, 16], rows: %s}}
"""
TOKENS = 10


def references(loss, *, texts=12):
    """Texts of ten tokens, a little harder from one to the next, of that mean loss."""
    return [
        ReferenceLikelihood(str(i), None, TOKENS, 40, TOKENS * (loss + 0.01 * (i - (texts - 1) / 2)))
        for i in range(texts)
    ]


def records(tmp_path, *, rows=(100, 200, 400), rank_gain=0.1):
    trial, folder = parse_trial(TRIAL % list(rows), origin="t.yaml"), TrialFolder(tmp_path)
    for count in rows:
        for rank, less in ((4, 0.0), (16, rank_gain)):
            arm = f"lora-r{rank}-n{count}"
            folder.arm(arm).mkdir(parents=True)
            write_rows(folder.references(arm), references(1 + 4 / math.sqrt(count) - less))
    return folder, trial


def test_every_rank_has_its_curve_and_the_other_rank_stands_beside_its_forecasts(tmp_path):
    folder, trial = records(tmp_path)
    first, second = more_rows(folder, trial)
    assert first.arms == ("lora-r4-n100", "lora-r4-n200", "lora-r4-n400") and first.rows == (100, 200, 400)
    assert first.losses == pytest.approx((1.4, 1 + 4 / math.sqrt(200), 1.2))
    # 4 / sqrt(800) - 4 / sqrt(400) and 4 / sqrt(1600) - 4 / sqrt(400), by hand
    assert [f.rows for f in first.forecasts] == [800, 1600]
    assert [f.change for f in first.forecasts] == pytest.approx([-0.0586, -0.1], abs=0.004)
    # the texts are alike but for how hard they are, which every arm finds: other texts change nothing
    assert all(f.low == pytest.approx(f.change, abs=0.02) for f in first.forecasts)
    # 1 % less of 1.2 is 1.188, reached at (4 / 0.188)^2 rows
    assert first.rows_for_less == pytest.approx((4 / 0.188) ** 2, rel=0.05)
    (higher,) = first.instead
    assert (higher.arm, higher.key, higher.was, higher.value) == ("lora-r16-n400", "rank", 4, 16)
    assert higher.change == pytest.approx(-0.1)
    (lower,) = second.instead
    assert lower.change == pytest.approx(0.1)


def test_two_sizes_are_no_curve(tmp_path):
    folder, trial = records(tmp_path, rows=(100, 400))
    assert more_rows(folder, trial) == ()


def test_an_arm_that_read_other_references_is_compared_with_none(tmp_path):
    folder, trial = records(tmp_path)
    write_rows(folder.references("lora-r4-n400"), references(1.2, texts=11))
    (left,) = more_rows(folder, trial)
    assert left.arms[0] == "lora-r16-n100" and left.instead == ()


PILOTED = """\
trial: t
model: starter
data: {source: rows.jsonl}
arms: {base: {}, low: {method: lora, rank: 4, targets: [q, v]}, high: {method: lora, rank: 16, targets: [q, v]}}
"""


def pilots(tmp_path, *, validation_rows=8):
    """Pilots on 100, 200 and 400 of 1,600 rows, and runs on all: 1 + 4 / sqrt(rows), the higher rank 0.1 less."""
    trial, folder = parse_trial(PILOTED, origin="t.yaml"), TrialFolder(tmp_path)
    for arm, less in (("low", 0.0), ("high", 0.1)):
        for part in (16, 8, 4):
            rows = 1600 // part
            loss = 1 + 4 / math.sqrt(rows) - less
            costs = tuple(RowCost(f"v{i}", TOKENS, TOKENS * loss) for i in range(8))
            record = PilotRecord(arm, part, rows, 1600, 0, 1e-3, 9, 900, 14400, 80, 1.0, None, None, costs)
            write_pilot(folder.pilot(arm, part=part), record)
        measured = Measured.untuned(total_parameters=1, is_from_elsewhere=False, precision=None, device=None)
        tuned = dataclasses.replace(measured, validation_loss=1.1 - less, validation_rows=validation_rows)
        folder.arm(arm).mkdir(parents=True)
        write_object(folder.measured(arm), tuned)
    write_object(folder.early, early_findings(folder, trial).record())
    return folder, trial


def test_pilots_and_the_run_on_all_rows_are_a_curve_too(tmp_path):
    low, high = more_rows(*pilots(tmp_path))
    assert low.arms == ("low",) and low.rows == (100, 200, 400, 1600) and low.from_pilots
    assert low.losses == pytest.approx((1.4, 1 + 4 / math.sqrt(200), 1.2, 1.1))
    # 4 / sqrt(3200) - 4 / 40 and 4 / sqrt(6400) - 4 / 40
    assert [f.change for f in low.forecasts] == pytest.approx([-0.0293, -0.05], abs=0.003)
    assert all(f.low is None for f in low.forecasts)
    # 1 % less of 1.1 is 1.089, reached at (4 / 0.089)^2 rows
    assert low.rows_for_less == pytest.approx((4 / 0.089) ** 2, rel=0.05)
    (instead,) = low.instead
    assert (instead.arm, instead.key, instead.was, instead.value) == ("high", "rank", 4, 16)
    assert instead.change == pytest.approx(-0.1)
    assert high.arms == ("high",)


def test_a_run_that_was_measured_on_other_validation_rows_than_its_pilots_is_no_curve(tmp_path):
    assert more_rows(*pilots(tmp_path, validation_rows=400)) == ()
