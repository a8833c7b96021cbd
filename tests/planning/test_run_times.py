"""Seconds of tuning and sampling from rates, by hand."""

import pytest

from finetrial.footprint.adapters import Full
from finetrial.footprint.shapes import named_shape
from finetrial.planning.device_pace import Pace
from finetrial.planning.run_times import batches_of, load_seconds, sampling_time, tuning_time
from finetrial.planning.token_counts import ArmTokens
from finetrial.planning.tuning_work import TuningWork

SHAPE = named_shape("gpt2")
PACE = Pace(
    step_flops=1e12,
    forward_flops=2e12,
    prefill_flops=1e30,  # reading prompts takes nothing here
    optimizer_bandwidth=1e9,
    decode_seconds=0.1,
    sequence_seconds=0.01,
    origin="measured",
    source="a test",
)


def test_tuning_is_its_flops_its_optimizer_steps_its_evaluations_and_loading():
    work = TuningWork(
        steps=10,
        lengths=(100,) * 20,
        trained_tokens=500,
        flops=5e12,
        evaluation_flops=4e12,
        evaluations=3,
        curve_rows=8,
    )
    found = tuning_time(SHAPE, work, method=Full(), dtype_bytes=2, pace=PACE)
    # AdamW moves 28 bytes a parameter, the norm 4, the narrow copy 2; ten steps at 1 GB/s
    optimizer = 10 * 34 * 124_439_808 / 1e9
    assert found.step_seconds == pytest.approx(5 + optimizer)
    assert found.evaluation_seconds == pytest.approx(2)
    # 1.5 s, and 2 bytes of each of 124,439,808 parameters at 500 MB/s
    assert load_seconds(SHAPE) == pytest.approx(1.5 + 0.49776, abs=1e-5)
    assert found.seconds == pytest.approx(7 + optimizer + 1.99776, abs=1e-5)


def _tokens(**changes):
    given = {
        "train": (),
        "train_loss": 0,
        "validation": (),
        "validation_loss": 0,
        "prompts": (30, 10, 20),
        "answers": (8, 4, 6),
        "max_new_tokens": 20,
        "per_prompt": 2,
    }
    return ArmTokens(**{**given, **changes})


def test_a_batch_decodes_until_its_longest_answer_and_each_sequence_adds_its_own():
    # sorted by prompt: 10 (4 tokens), 20 (6) | 30 (8); two samples each
    assert batches_of((30, 10, 20), per_prompt=2, sequences=4) == [[1, 2], [0]]
    found = sampling_time(SHAPE, _tokens(), ends=True, sequences=4, retained_tokens=0, pace=PACE)
    assert found.tokens == 2 * (4 + 6 + 8)
    assert found.seconds == pytest.approx((6 + 8) * 0.1 + 36 * 0.01)


def test_an_arm_that_has_learned_no_end_is_planned_to_the_limit():
    found = sampling_time(SHAPE, _tokens(), ends=False, sequences=4, retained_tokens=0, pace=PACE)
    assert found.tokens == 6 * 20
    assert found.seconds == pytest.approx(2 * 20 * 0.1 + 120 * 0.01)
