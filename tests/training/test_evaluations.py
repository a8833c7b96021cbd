"""Which rows are evaluated when: at most a tenth of an arm's compute, the same rows throughout and in every arm."""

import math
from dataclasses import replace

import pytest
from arm_loading import load_arm
from tiny_models import make_examples, save_model

from finetrial.methods.lora.lora_method import Lora
from finetrial.models.evaluate import mean_loss
from finetrial.store.records import TrainingPoint, read_rows
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask
from finetrial.training.validation_plan import LEAST_ROWS, plan_evaluations, search_rows, token_count


def plan(train_tokens, *, validation, steps=200, evaluations=None, early_stopping=None):
    return plan_evaluations(
        validation,
        steps=steps,
        train_tokens=train_tokens,
        evaluations=evaluations,
        early_stopping=early_stopping,
    )


def forward_tokens(found, validation):
    """What the plan costs: its rows at every evaluation, the rest of the split once at the end."""
    curve = token_count(validation[place] for place in found.rows)
    return len(found.steps) * curve + token_count(validation) - curve


def test_the_start_the_curve_and_the_end_take_a_tenth_of_two_passes_over_the_training_tokens():
    validation = make_examples(200, longest=40, prefix="v")
    whole = token_count(validation)
    seen = 0
    for factor in (4, 6, 8, 12, 20, 40, 100):  # of training tokens to those of the validation split
        # LoRA passes twice forward's cost over its training tokens: a tenth of that is a fifth of them
        budget = factor * whole / 5
        if budget < whole * 1.3:
            continue
        found = plan(factor * whole, validation=validation)
        assert forward_tokens(found, validation) <= budget
        assert len(found.rows) >= LEAST_ROWS
        seen += 1
    assert seen == 5


def test_more_training_buys_more_rows_and_then_the_whole_split():
    validation = make_examples(100, prefix="v")
    whole = token_count(validation)
    sizes = [len(plan(factor * whole, validation=validation).rows) for factor in (5, 10, 50, 100)]
    assert sizes == sorted(sizes) and sizes[0] < 100 and sizes[-1] == 100
    assert plan(100 * whole, validation=validation).whole


def test_the_rows_depend_on_ids_alone_and_grow_from_the_same_start():
    validation = make_examples(100, prefix="v")
    few, more = (plan(factor * token_count(validation), validation=validation) for factor in (8, 20))
    assert set(few.rows) < set(more.rows)
    shuffled = validation[::-1]
    again = plan(8 * token_count(validation), validation=shuffled)
    assert {shuffled[p].example_id for p in again.rows} == {validation[p].example_id for p in few.rows}


def test_the_plan_is_the_same_for_full_tuning_and_lora_and_asks_the_start_and_the_end():
    validation = make_examples(100, prefix="v")
    found = plan(10 * token_count(validation), validation=validation, steps=37)
    assert {0, 37} <= found.steps and max(found.steps) == 37
    assert 3 <= len(found.steps) <= 11


def test_a_number_given_is_respected_on_the_whole_split():
    validation = make_examples(50, prefix="v")
    found = plan(100, validation=validation, evaluations=7, steps=70)
    assert found.whole and len(found.rows) == 50
    assert found.steps == {0, 10, 20, 30, 40, 50, 60, 70}
    nothing = plan(100, validation=validation, evaluations=0)
    assert not nothing.steps and not nothing.rows


def test_early_stopping_leaves_room_to_stop():
    validation = make_examples(200, prefix="v")
    found = plan(5 * token_count(validation), validation=validation, early_stopping=4)
    assert len(found.steps) >= 4 + 3  # the start, four without improvement, one more, the end


def test_rates_are_compared_on_the_same_rows_enough_of_them():
    validation = make_examples(100, prefix="v")
    few = search_rows(validation, train_tokens=10)
    assert len(few) == LEAST_ROWS
    assert search_rows(validation, train_tokens=10) == few
    assert set(few) < set(search_rows(validation, train_tokens=5 * token_count(validation)))


@pytest.fixture
def task(tmp_path):
    return TuneTask(
        model=save_model("llama", tmp_path / "base"),
        train=make_examples(200),
        validation=make_examples(60, seed=1, prefix="v"),
        folder=tmp_path / "arm",
        method=Lora(rank=4, targets=("q", "v"), alpha=8.0),
        batch_tokens=200,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )


def test_the_curve_is_of_the_subset_and_the_final_figure_of_the_whole_split(task):
    measured = tune(task)
    arm = load_arm(task.model, folder=task.folder)
    assert measured.validation_loss == pytest.approx(mean_loss(arm, task.validation), abs=1e-4)
    assert 0 < measured.curve_rows < measured.validation_rows == 60
    points = [p for p in read_rows(task.folder / "metrics.jsonl", TrainingPoint) if p.validation_loss is not None]
    assert measured.evaluations == len(points) >= 3
    found = plan_evaluations(
        task.validation, steps=measured.steps, train_tokens=measured.tokens_processed, evaluations=None
    )
    rows = [task.validation[place] for place in found.rows]
    assert points[-1].validation_loss == pytest.approx(mean_loss(arm, rows), abs=1e-4)
    assert not math.isclose(points[-1].validation_loss, measured.validation_loss, abs_tol=1e-3), "two figures"


def test_what_evaluation_took_is_counted_in_seconds_and_flops(task):
    measured = tune(task)
    assert 0 < measured.evaluation_seconds < measured.tune_seconds
    assert measured.evaluation_share == pytest.approx(measured.evaluation_seconds / measured.tune_seconds, rel=0.2)
    # 200 training examples of at most 40 tokens and 60 of validation: the whole split is more than a tenth, and of
    # the budget a quarter is the curve's; forward tokens against forward tokens, adapters and head aside
    assert 0.5 * 60 / 400 < measured.evaluation_flops / measured.flops_total < 2 * (60 / 400 + 0.025)
    explicit = tune(replace(task, evaluations=10, folder=task.folder.with_name("ten")))
    assert explicit.evaluations == 11 and explicit.curve_rows == 60
    assert explicit.evaluation_flops > 3 * measured.evaluation_flops


def test_early_stopping_keeps_the_subset_s_best_and_reports_the_whole_split_at_it(task):
    measured = tune(replace(task, learning_rate=5e-2, early_stopping=1, epochs=4, schedule="constant"))
    arm = load_arm(task.model, folder=task.folder)
    assert measured.validation_loss == pytest.approx(mean_loss(arm, task.validation), abs=1e-4)
    curve = [p for p in read_rows(task.folder / "metrics.jsonl", TrainingPoint) if p.validation_loss is not None]
    assert measured.best_step == min(curve, key=lambda p: p.validation_loss).step
