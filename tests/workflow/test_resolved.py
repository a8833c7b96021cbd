"""What `auto` came to is shown, recorded and consumed: a changed choice runs again exactly what it decides."""

import json

import pytest
import torch
import yaml
from tiny_trials import Lines, make_base
from transformers import AutoTokenizer

from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import HERE
from finetrial.workflow.run import run_trial, sample_arms, tune_arms
from finetrial.workflow.trial_steps import trial_steps

TRIAL = """\
trial: chatty
model: ./model
data:
  source: {train: rows.jsonl, heldout: heldout.jsonl}
  validation: 8
arms:
  base: {}
  prompted: {shots: 2}
  file: {prompt_file: prompt.txt}
  full: {method: full, learning_rate: 3e-3}
training: {epochs: 1, batch_tokens: 512, precision: float32, evaluations: 1}
sampling: {prompts: 4}
judging: {grade_prompts: 0}
"""
TURNS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
ARMS = ["base", "prompted", "file", "full"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A trial on a model with a chat template, run once."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("chatty")
    make_base(base, heldout=True)
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    tokenizer.chat_template = TURNS
    tokenizer.save_pretrained(base / "model")
    (base / "chatty.yaml").write_text(TRIAL)
    (base / "prompt.txt").write_text("Say what was lost.\n{prompt}\n")
    done = run_trial(TrialContext(load_trial(base / "chatty.yaml"), TrialFolder(base / "run"), listener=Lines()))
    assert done.failures == {}
    return base


def run(base, *overrides):
    """Tune and sample what is not current. What was said, and the folder."""
    folder, lines = TrialFolder(base / "run"), Lines()
    context = TrialContext(load_trial(base / "chatty.yaml", overrides=overrides), folder, listener=lines)
    context.open()
    with HERE.open(context) as session:
        assert sample_arms(context, failures=tune_arms(context, session=session), session=session) == {}
    return lines.take(), folder


def run_again(base, *overrides):
    """The steps that a changed trial file runs again, and then everything as it was."""
    said, _ = run(base, *overrides)
    again = {line.split(":")[0]: line for line in said if " again, " in line}
    run(base)
    return again


def samples(folder, arm):
    return list(read_rows(folder.samples(arm), Sample))


def test_every_arm_is_shown_the_chat_template_and_shots_are_turns(ran):
    folder = TrialFolder(ran / "run")
    row = samples(folder, "base")[0]
    assert row.prompt == f"user: {row.source}<|endoftext|>\nassistant: " == samples(folder, "full")[0].prompt
    turns = samples(folder, "prompted")[0].prompt.split("<|endoftext|>\n")
    assert [turn.split(":")[0] for turn in turns] == ["user", "assistant"] * 3
    assert turns[-1] == "assistant: " and turns[-2] == f"user: {row.source}" and " lost in " in turns[1]
    assert samples(folder, "file")[0].prompt.startswith(f"user: Say what was lost.\n{row.source}<|endoftext|>")


def test_tuning_sees_the_chat_and_trains_the_answer_with_the_token_that_ends_its_turn(ran):
    context = TrialContext(load_trial(ran / "chatty.yaml"), TrialFolder(ran / "run"), listener=Lines())
    example = context.splits.train[0]
    (encoded,) = context.encoded(context.arm("full"), [example]).examples
    tokenizer = context.tokenizer("full")
    trained = [t for t, carries in zip(encoded.token_ids, encoded.trained, strict=True) if carries]
    assert tokenizer.decode(trained) == f"{example.references[0]}<|endoftext|>"
    assert tokenizer.decode(encoded.token_ids[: -len(trained)]) == (
        f"user: {example.prompt}<|endoftext|>\nassistant: "
    )


def test_the_manifest_says_what_auto_chose_and_the_trial_file_does_not(ran):
    folder = TrialFolder(ran / "run")
    resolved = json.loads(folder.manifest.read_text())["resolved"]
    assert list(resolved) == ARMS
    # "owl lost in barn" and its like: ten tokens at most, so the least length; some sixty different ones, no labels
    assert resolved["prompted"] == {
        "chat": True, "stop": ["\n"], "separator": None, "max_new_tokens": 16, "temperature": 0.8, "per_prompt": 3,
        "auto": ["chat", "stop", "max_new_tokens", "temperature", "per_prompt"],
    }  # fmt: skip
    written = yaml.safe_load(folder.trial.read_text())
    assert written["sampling"] == {"prompts": 4} and "chat" not in written["data"]
    report = (folder.report / "report.md").read_text()
    assert "stop at" in report and "from the data" in report and "chat template" in report


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("sampling.stop=[]", {arm: "sampling.stop changed" for arm in ARMS}),
        ("arms.base.stop=[lost]", {"base": "sampling.stop changed"}),
        ("arms.base.chat=never", {"base": "chat changed"}),
        ("arms.base.system=Be brief.", {"base": "the system text changed"}),
        ("sampling.temperature=0.8", {}),
        ("sampling.max_new_tokens=16", {}),  # what auto had chosen
        ("sampling.max_new_tokens=12", {arm: "sampling.max_new_tokens changed" for arm in ARMS}),
        ("arms.full.stop=[lost]", {"full": "sampling.stop changed"}),
    ],
)
def test_a_changed_choice_samples_those_arms_again_and_tunes_nothing(ran, override, again):
    found = run_again(ran, override)
    assert found == {arm: f"{arm}: sampling again, {why}" for arm, why in again.items()}


def test_another_form_tunes_the_arm_again(ran):
    said, folder = run(ran, "data.chat=never")
    assert "full: tuning again, chat changed" in said
    shown = {arm: samples(folder, arm)[0].prompt for arm in ARMS}
    assert shown["base"] == shown["full"] == samples(folder, "base")[0].source
    assert shown["prompted"].count("\n\n") == 2, "as text the examples stand a blank line apart"
    run(ran)


def test_another_seed_draws_other_examples(ran):
    before = {row.prompt for row in samples(TrialFolder(ran / "run"), "prompted")}
    asked = {row.source for row in samples(TrialFolder(ran / "run"), "prompted")}
    _, folder = run(ran, "sampling.seed=5", "sampling.prompts=10")
    rows = [row for row in samples(folder, "prompted") if row.source in asked]
    assert rows and not before & {row.prompt for row in rows}
    run(ran)


def test_what_a_prompt_file_holds_is_what_counts(ran):
    (ran / "prompt.txt").write_text("Who was lost, and where?\n{prompt}\n")
    assert run(ran)[0].count("file: sampling again, the template changed") == 1
    (ran / "prompt.txt").write_text("Say what was lost.\n{prompt}")  # its last line break is no part of it
    assert "file: taken back, as these settings made it before" in run(ran)[0]
    (ran / "prompt.txt").write_text("Say what was lost.\n{prompt}\n")
    assert "file: sampled already" in run(ran)[0]


def test_how_many_prompts_people_grade_is_decided_before_sampling_and_makes_the_items(ran):
    context = TrialContext(
        load_trial(ran / "chatty.yaml", overrides=["judging.grade_prompts=auto", "judging.difference=0.5"]),
        TrialFolder(ran / "auto"),
        listener=Lines(),
    )
    context.note_resolved()
    chosen = json.loads(context.folder.manifest.read_text())["resolved"]["judging.grade_prompts"]
    # six pairs, three samples: (z at .05 / 6 + z.8)^2 = (2.638 + 0.842)^2 = 12.11; 12.11 / 6 / 0.25 = 8.07, and the
    # sign-flip test's floor is 1 - log2(.05 / 6) = 7.9; four prompts are sampled
    assert (chosen["needed"], chosen["prompts"]) == (9, 4)
    score = next(step for step in trial_steps(context) if step.name == "score")
    assert score.inputs()["judging.grade_prompts"] == 4


def test_an_untuned_arms_loss_is_that_of_the_tokens_it_is_sampled_from(ran):
    folder = TrialFolder(ran / "run")
    losses = {arm: read_object(folder.measured(arm), Measured).heldout_loss for arm in ARMS}
    assert len(set(losses.values())) == 4 and losses["full"] == min(losses.values())
