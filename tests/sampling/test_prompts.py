"""Prompts that are too long are refused together or cut and counted; one without tokens is refused."""

from dataclasses import replace

import pytest
from tiny_tokenizers import byte_level

from finetrial.errors import UserError
from finetrial.sampling.prompts import arm_prompts, cut_text
from finetrial.trial.examples import Example
from finetrial.trial.form import Form
from finetrial.trial.resolve import resolve_arms, resolve_sampling
from finetrial.trial.trial_file import LoadedTrial, parse_trial

TRIAL = """
trial: t
model: m
data: {source: rows.jsonl, max_tokens: 40, overlong: %s}
arms: {base: {}}
sampling: {per_prompt: 1, max_new_tokens: 8, temperature: 0, stop: []}
"""


def rows(*lengths):
    return [Example(f"r{i}", f"rows.jsonl:{i + 1}", "x" * n, ("y",), {}) for i, n in enumerate(lengths)]


def shown(tmp_path, examples, *, overlong, context=None):
    trial = parse_trial(TRIAL % overlong, origin="t")
    loaded = LoadedTrial(trial=trial, base=tmp_path)
    arms = resolve_arms(loaded, forms={"base": Form(template="{prompt}")})
    arm = resolve_sampling(trial, arms, train=examples[:1], measured=None)["base"]
    return arm_prompts(arm, examples, data=trial.data, tokenizer=byte_level(), train=examples[:1], context=context)


def test_all_prompts_that_are_too_long_are_refused_in_one_error_that_names_them(tmp_path):
    with pytest.raises(UserError, match=r"2 of 4 prompts are too long.*rows.jsonl:2, rows.jsonl:4.*at most 40"):
        shown(tmp_path, rows(9, 70, 40, 300), overlong="refuse")


def test_prompts_that_are_cut_say_how_much_and_leave_the_answer_room(tmp_path):
    tasks = shown(tmp_path, rows(9, 70, 30), overlong="cut", context=30)
    assert [len(task.token_ids) for task in tasks] == [9, 22, 22]  # the context less 8 new tokens
    assert [task.cut_tokens for task in tasks] == [0, 48, 8]
    cut = [task.prompt_id for task in tasks if task.cut_tokens]
    assert cut_text(cut, of=3) == "2 of 3 prompts are cut to leave the answer room: r1, r2"
    assert cut_text([str(i) for i in range(12)], of=20).endswith("8, 9 and 2 more")


def test_a_prompt_without_tokens_is_refused_with_its_row(tmp_path):
    (whole,) = rows(5)
    with pytest.raises(UserError, match=r"rows.jsonl:1 is empty as base is shown it"):
        shown(tmp_path, [replace(whole, prompt="")], overlong="cut")
