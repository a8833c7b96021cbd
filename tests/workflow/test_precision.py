"""`precision: auto` is settled once, when the run is planned: arms that are compared compute alike."""

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base

from finetrial.models.device import choose_precision, dtype_name, pick_device
from finetrial.planning.device_pace import keep_precision
from finetrial.planning.machine import planned_device
from finetrial.store.layout import TrialFolder
from finetrial.store.plan_record import read_plan
from finetrial.store.records import Measured, read_object
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial, sample_trial, tune_trial

AUTO = TRIAL.replace("precision: float32", "precision: auto").replace("  prompted: {shots: 1}\n", "")


@pytest.fixture
def trial(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETRIAL_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(AUTO)
    assert "precision: auto" in AUTO
    return tmp_path


def other_than_here(trial):
    """The precision that this machine would not choose, kept as if it had been measured."""
    here = dtype_name(choose_precision("auto", device=pick_device()))
    other = "float32" if here == "bfloat16" else "bfloat16"
    keep_precision(planned_device(None, folder=trial)[0].name, other)
    return other


def computed_in(folder):
    return {arm: read_object(folder.measured(arm), Measured).precision for arm in ("base", "full", "lora")}


def test_every_arm_computes_in_what_the_plan_says(trial):
    other, folder = other_than_here(trial), TrialFolder(trial / "run")
    run_trial(TrialContext(load_trial(trial / "tiny.yaml"), folder, listener=Lines()))
    assert read_plan(folder.plan).precision == other
    assert set(computed_in(folder).values()) == {other}


def test_arms_that_another_process_samples_later_compute_in_it_too(trial):
    other, folder = other_than_here(trial), TrialFolder(trial / "run")
    tune_trial(TrialContext(load_trial(trial / "tiny.yaml"), folder, listener=Lines()))
    sample_trial(TrialContext(load_trial(trial / "tiny.yaml"), folder, listener=Lines()))
    assert set(computed_in(folder).values()) == {other}


def test_a_process_chooses_once():
    first = choose_precision("auto", device=pick_device())
    assert all(choose_precision("auto", device=pick_device()) is first for _ in range(3))
