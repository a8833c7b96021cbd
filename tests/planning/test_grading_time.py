"""How long grading takes people, and what so many prompts can show."""

import pytest

from finetrial.planning.grading_time import grading_plan
from finetrial.trial.graded_prompts import choose_graded_prompts
from finetrial.trial.schema import Judging


def test_a_prompt_is_read_once_and_every_sample_read_and_decided():
    found = grading_plan(
        choose_graded_prompts(Judging(), arms=3, per_prompt=3, sampled=100, units=100),
        compared=3,
        prompts=5,
        arms=3,
        per_prompt=3,
        prompt_tokens=200,
        answer_tokens=40,
        raters=1,
        repeats=0.0,
    )
    # 238 words a minute at 4 tokens to 3 words: 5.289 tokens a second; 5 x 200 + 45 x 40 = 2,800 take 529.4 s;
    # 45 x 4 s
    assert found.samples == 45
    assert found.seconds == pytest.approx(529.4 + 180, abs=0.05)
    assert found.least_p == pytest.approx(3 * 2**-4)
