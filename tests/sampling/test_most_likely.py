"""Of several answers the most likely one is taken, by the likelihood of all of its tokens."""

from dataclasses import replace

import pytest

from finetrial.errors import UserError
from finetrial.sampling.most_likely import most_likely
from finetrial.store.records import Sample

ONE = Sample("a/p/0", "p", None, "a", 0, "shown", "said", (1, 2), (), "length", -3.0, 2, 0.1, 7)


def test_the_most_likely_answer_of_each_prompt_in_the_order_of_the_prompts():
    samples = [
        ONE,
        replace(ONE, id="a/p/1", index=1, logprob=-2.5),
        replace(ONE, id="a/p/2", index=2, logprob=-2.5),
        replace(ONE, id="a/q/0", prompt_id="q", logprob=-9.0),
    ]
    assert [s.id for s in most_likely(samples)] == ["a/p/1", "a/q/0"]


def test_without_likelihoods_there_is_no_best():
    with pytest.raises(UserError, match="no likelihoods"):
        most_likely([replace(ONE, logprob=None)])
