"""What `auto` chooses follows from the training completions, by rules that can be worked by hand."""

import json
from pathlib import Path

import pytest

from finetrial.trial.autos import (
    choose_max_new_tokens,
    choose_per_prompt,
    choose_separator,
    choose_stops,
    choose_temperature,
    one_line,
    one_right_answer,
)
from finetrial.trial.examples import Example
from finetrial.trial.form import Form
from finetrial.trial.resolve import Measurements, resolve_arms, resolve_sampling
from finetrial.trial.trial_file import LoadedTrial, parse_trial

# -- stops


def test_one_line_completions_stop_at_the_lines_end_and_need_no_other_stop():
    completions = ["Paris", "\nRome", "Oslo \n"]  # white space around a line is none of it
    assert one_line(completions)
    assert choose_stops(completions, separator="\n\n") == ("\n",)  # it comes first in "\n\n", too
    assert choose_stops(completions, separator=None) == ("\n",)


def test_longer_completions_stop_at_the_separator_of_a_trial_with_examples_in_a_prompt_and_else_nowhere():
    completions = ["a first line\na second", "one line"]
    assert not one_line(completions)
    assert choose_stops(completions, separator="\n\n") == ("\n\n",)
    assert choose_stops(completions, separator=None) == ()


def test_the_separator_is_the_first_candidate_that_no_training_completion_contains():
    assert choose_separator(["a\nb"]) == "\n\n"
    assert choose_separator(["a\n\nb"]) == "\n\n---\n\n"
    assert choose_separator(["a\n\nb", "c\n\n---\n\nd"]) == "\n\n###\n\n"
    everything = ["\n\n---\n\n", "\n\n###\n\n", "\n\n***\n\n", "\n\n=====\n\n", "\n\n======\n\n"]
    assert choose_separator(everything) == "\n\n=======\n\n"


# -- temperature and samples


def test_labels_are_few_different_completions_that_recur():
    labels = ["good", "bad "] * 5
    assert one_right_answer(["p"] * 10, labels) == "labels: 2 different completions"
    assert one_right_answer(["p"] * 9, labels[:9]) is None, "two labels want ten rows: five each"
    many = [f"label {i}" for i in range(51)] * 5
    assert one_right_answer(["p"] * len(many), many) is None, "51 different ones are no labels"


def test_json_objects_are_extraction_and_one_row_of_text_makes_them_free_text():
    rows = [json.dumps({"name": f"n{i}"}) for i in range(6)]
    assert one_right_answer(["p"] * 6, rows) == "every completion is a JSON object or list"
    assert one_right_answer(["p"] * 6, [*rows[:5], "no name"]) is None
    assert one_right_answer(["p"] * 6, [str(i) for i in range(6)]) is None, "a number is JSON, but no object"


def test_spans_copied_from_long_prompts_are_extraction():
    prompts = [f"Anna number {i} lives in a house by the sea, and it rains." for i in range(20)]
    names = [f"Anna number {i}" for i in range(20)]  # 13 of 58 characters: less than a quarter
    assert one_right_answer(prompts, names) == "completions are copied from their prompts"
    assert one_right_answer(prompts, [*names[:18], "nobody", "no one"]) is None, "18 of 20 are less than 95 %"
    assert one_right_answer([f"Anna number {i}!" for i in range(20)], names) is None, "an echo is no extraction"


def test_greedy_with_one_sample_for_one_right_answer_and_three_samples_for_free_text():
    assert choose_temperature(one_answer=True, per_prompt=None) == 0 and choose_per_prompt(temperature=0) == 1
    assert choose_temperature(one_answer=False, per_prompt=None) == 0.8 and choose_per_prompt(temperature=0.8) == 3
    assert choose_temperature(one_answer=True, per_prompt=4) == 0.8, "four greedy samples would be one"


# -- length


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ([3, 4, 5], 16),  # 5 x 1.25 = 6.25, 8 after rounding: under the least
        ([90], 120),  # 112.5, the next multiple of 8
        ([64] * 100, 80),  # 80 exactly
        ([20] * 99 + [40], 56),  # the longest is twice the usual length: covered; 50 and up
        ([20] * 99 + [41], 32),  # more than twice: one in a hundred is left out; 25 and up
        ([20] * 98 + [41] * 2, 56),  # two in a hundred are not: 51.25 and up
    ],
)
def test_the_length_covers_99_in_100_completions_with_a_quarter_more(lengths, chosen):
    assert choose_max_new_tokens(lengths) == chosen


def test_the_headroom_gives_way_to_the_context_and_the_usual_length_does_not():
    # 100 tokens want 128. Behind a prompt of 900 in 1,024 positions there are 124; behind one of 950 there is no
    # room even for 100, so that arm fails whatever is chosen, and the others are not cut for its sake.
    assert choose_max_new_tokens([100], context=1024) == 128
    assert choose_max_new_tokens([100], context=1024, longest_prompts=[10, 900]) == 124
    assert choose_max_new_tokens([100], context=1024, longest_prompts=[10, 950]) == 128
    assert choose_max_new_tokens([100], context=200) == 100  # half of it


# -- a whole trial

TRIAL = """\
trial: t
model: m
data: {source: a.jsonl}
arms:
  base: {}
  prompted: {shots: 2}
  quiet: {stop: [END], system: "Be brief."}
"""


def resolve(text, completions, *, chat=True, **measured):
    loaded = LoadedTrial(trial=parse_trial(text, origin="t"), base=Path())
    train = [Example(f"e{i}", f"a:{i}", f"p{i}", (c,), {}) for i, c in enumerate(completions)]
    arms = resolve_arms(loaded, forms={name: Form(chat=chat) for name in loaded.trial.arms})
    lengths = {"completions": [10], "context": None, "longest_prompts": ()} | measured
    return resolve_sampling(loaded.trial, arms, train=train, measured=Measurements(**lengths))


def test_every_arm_has_the_same_choices_but_for_stops_of_its_own():
    arms = resolve(TRIAL, ["one\ntwo", "three"])
    assert [arm.decoding.stop for arm in arms.values()] == [("\n\n",), ("\n\n",), ("END",)]
    assert {arm.decoding.max_new_tokens for arm in arms.values()} == {16}
    everything = ("chat", "stop", "max_new_tokens", "temperature", "per_prompt")
    assert [arm.chosen for arm in arms.values()] == [
        everything,
        everything,
        tuple(k for k in everything if k != "stop"),
    ]
    assert arms["quiet"].as_dict() == {
        "chat": True, "stop": ["END"], "separator": None, "max_new_tokens": 16, "temperature": 0.8, "per_prompt": 3,
        "auto": ["chat", "max_new_tokens", "temperature", "per_prompt"],
    }  # fmt: skip


def test_without_a_prompted_arm_the_separator_is_no_stop():
    alone = TRIAL.replace("  prompted: {shots: 2}\n", "")
    assert [arm.decoding.stop for arm in resolve(alone, ["one\ntwo", "three"]).values()] == [(), ("END",)]


def test_what_the_trial_file_gives_is_taken_and_not_said_to_be_chosen():
    given = TRIAL + "sampling: {stop: [], max_new_tokens: 5, temperature: 0.3, per_prompt: 2, seed: 9}\n"
    arm = resolve(given, ["yes", "no"] * 5)["base"]
    decoding = arm.decoding
    assert (decoding.stop, decoding.max_new_tokens, decoding.temperature) == ((), 5, 0.3)
    assert (decoding.per_prompt, decoding.seed) == (2, 9) and arm.chosen == ("chat",)
    back = given.replace("base: {}", "base: {stop: auto}")
    assert resolve(back, ["yes", "no"] * 5)["base"].decoding.stop == ("\n",), "auto is the trial's default again"


def test_labels_are_sampled_greedily_once():
    decoding = resolve(TRIAL, ["yes", "no"] * 5)["base"].decoding
    assert (decoding.temperature, decoding.per_prompt, decoding.stop) == (0, 1, ("\n",))
