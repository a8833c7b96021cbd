"""The report's signed error of a plan, and of the whole run's time."""

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base

from finetrial.reporting.sections.plan_accuracy import signed_error, whole_run
from finetrial.store.layout import TrialFolder
from finetrial.store.plan_record import PlannedStep, read_plan
from finetrial.store.run_time import RunTime, planned_run_seconds, read_run_time
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial, tune_trial

SMALL = TRIAL.replace("  prompted: {shots: 1}\n", "").replace("  full: {method: full, learning_rate: 3e-3}\n", "")


def test_a_plan_that_was_too_high_has_an_error_above_zero():
    assert signed_error(120, measured=100) == pytest.approx(0.2)
    assert signed_error(75, measured=100) == pytest.approx(-0.25)


def test_a_whole_run_is_planned_without_the_programs_start_and_the_report():
    steps = [
        PlannedStep(kind="start", arm=None, seconds=8.0),
        PlannedStep(kind="data", arm=None, seconds=1.0),
        PlannedStep(kind="tune", arm="lora", seconds=40.0, left=0.5),
        PlannedStep(kind="report", arm=None, seconds=6.0),
    ]
    assert planned_run_seconds(steps) == 21.0
    assert planned_run_seconds([*steps, PlannedStep(kind="sample", arm="lora", seconds=None)]) is None
    assert whole_run(RunTime(planned_seconds=90.0, seconds=100.0)).endswith(
        "was planned to take 1 min 30 s and took 1 min 40 s (−10.0 %)."
    )


@pytest.fixture
def loaded(tmp_path):
    torch.set_num_threads(1)
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SMALL)

    def load(*overrides):
        return load_trial(tmp_path / "tiny.yaml", overrides=overrides)

    return load


def test_a_runs_time_stands_in_its_report_and_only_beside_its_own_plan(loaded, tmp_path):
    folder = TrialFolder(tmp_path / "run")
    run_trial(TrialContext(loaded(), folder, listener=Lines()))
    first, plan = read_run_time(folder.run_time), read_plan(folder.plan)
    assert first.planned_seconds == pytest.approx(planned_run_seconds(plan.steps))
    assert 0 < first.seconds < 600
    assert whole_run(first) in (folder.report / "report.md").read_text()
    # nothing is left to do: what the run took is still what it took
    run_trial(TrialContext(loaded(), folder, listener=Lines()))
    assert read_run_time(folder.run_time) == first
    # another plan, of which a first run tunes and the second does the rest: neither did all of it
    tune_trial(TrialContext(loaded("arms.lora.rank=4"), folder, listener=Lines()))
    run_trial(TrialContext(loaded("arms.lora.rank=4"), folder, listener=Lines()))
    assert read_run_time(folder.run_time) is None
    assert "The whole run" not in (folder.report / "report.md").read_text()
