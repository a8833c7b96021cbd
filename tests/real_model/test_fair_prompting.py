"""A prompted arm of a real model is scored for its answer, not for what it writes after it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cut_answers import cut

from finetrial.metrics.answers import squad_match
from finetrial.models.encode import end_ids
from finetrial.models.loading import load_model
from finetrial.sampling.prompts import arm_prompts
from finetrial.sampling.sample import sample_arm
from finetrial.store.layout import TrialFolder
from finetrial.store.records import write_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext

ROOT = Path(__file__).parents[2]
TRIAL = ROOT / "examples" / "short_answers" / "short_answers.yaml"
SCRIPT = ROOT / "tools" / "cut_answers.py"


class Silent:
    def line(self, text):
        pass

    def step(self, label, **what):
        pass

    def end(self):
        pass


@pytest.fixture(scope="module")
def model(real_model):
    return load_model(str(real_model))


def sampled(model, real_model, tmp_path, *overrides, arm="prompted"):
    """The arm's samples of a trial with these overrides, in a file, and how it was resolved."""
    loaded = load_trial(TRIAL, overrides=[f"model={real_model}", "data.chat=auto", *overrides])
    context = TrialContext(loaded, TrialFolder(tmp_path / "run"), listener=Silent())
    tokenizer, resolved = context.tokenizer(arm), context.resolved[arm]
    prompts = arm_prompts(
        resolved, context.heldout, data=loaded.trial.data, tokenizer=tokenizer, train=context.splits.train,
        context=context.bases.positions_of(arm),
    )  # fmt: skip
    ends = end_ids(tokenizer, chat=resolved.form.chat)
    drawn = sample_arm(model, tokenizer, prompts, decoding=resolved.decoding, arm=arm, ends=ends)
    samples = sorted(drawn, key=lambda sample: sample.id)  # they come as they end
    path = tmp_path / f"{arm}-{len(overrides)}.jsonl"
    write_rows(path, samples)
    return samples, path, resolved


def outside(path, *stops):
    """The same figures by a script that knows nothing of finetrial."""
    command = [sys.executable, str(SCRIPT), str(path), *(part for stop in stops for part in ("--at", stop))]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def exact(samples):
    return sum(squad_match(s.text, s.references).value for s in samples) / len(samples)


@pytest.mark.parametrize("chat", ["never", "auto"])
def test_three_examples_in_the_prompt_are_scored_as_if_the_rest_had_been_cut_away_by_hand(
    chat, model, real_model, tmp_path
):
    few = [f"data.chat={chat}", "sampling.prompts=12", "sampling.per_prompt=1"]
    samples, path, resolved = sampled(model, real_model, tmp_path, *few)
    assert (
        resolved.form.chat is (chat == "auto") and resolved.decoding.stop == ("\n",) and "stop" in resolved.chosen
    )
    free, free_path, unstopped = sampled(model, real_model, tmp_path, *few, "sampling.stop=[]")
    assert unstopped.decoding.stop == () and [s.seed for s in free] == [s.seed for s in samples]
    by_hand = outside(free_path, "\\n", "\\n\\n")
    assert len(samples) == by_hand["samples"] == 12
    assert exact(samples) > 0.4 and abs(exact(samples) - by_hand["exact"]) <= 0.05
    assert abs(exact(samples) - outside(path)["exact"]) < 1e-9, "both know the same answers"
    assert sum(s.end_reason == "length" for s in samples) <= 0.1 * len(samples)
    assert sum(s.tokens for s in samples) <= sum(s.tokens for s in free)
    print(chat, exact(samples), by_hand, outside(path), outside(free_path))


def test_a_base_whose_first_token_is_a_line_break_yields_its_first_line(model, real_model, tmp_path):
    bare = ["data.chat=never", 'data.template="{prompt}"', "sampling.temperature=0", "sampling.prompts=12"]
    samples, *_ = sampled(model, real_model, tmp_path, *bare, arm="base")
    free, *_ = sampled(model, real_model, tmp_path, *bare, "sampling.stop=[]", arm="base")
    broken = [(mine, whole) for mine, whole in zip(samples, free, strict=True) if whole.text.startswith("\n")]
    assert len(broken) >= 3, "this model begins an answer to a bare question with a line break"
    for mine, whole in broken:
        assert mine.text == cut(whole.text, ["\n"]) != ""


@pytest.mark.long
@pytest.mark.parametrize("chat", ["never", "auto"])
def test_a_whole_trial_says_of_the_prompted_arm_what_cutting_by_hand_says(chat, real_model, tmp_path):
    command = [
        sys.executable, "-m", "finetrial.cli.main", "run", str(TRIAL), "--json", "--arm", "base",
        "--arm", "prompted", "--set", f"model={real_model}", "--set", f"data.chat={chat}", "--out",
    ]  # fmt: skip
    subprocess.run([*command, str(tmp_path / "stopped")], check=True, capture_output=True)
    subprocess.run([*command, str(tmp_path / "free"), "--set", "sampling.stop=[]"], check=True, capture_output=True)
    by_hand = outside(tmp_path / "free" / "samples" / "prompted.jsonl", "\\n", "\\n\\n")
    as_it_is = outside(tmp_path / "stopped" / "samples" / "prompted.jsonl")
    results = json.loads((tmp_path / "stopped" / "report" / "results.json").read_text())
    mean = results["metrics"]["exact_squad"]["prompted"]["mean"]
    print(
        chat,
        {
            "exact": mean,
            "by hand": by_hand,
            "stopped": as_it_is,
            "base": results["metrics"]["exact_squad"]["base"]["mean"],
        },
    )
    assert as_it_is["samples"] == by_hand["samples"] == 40  # prompts; short answers are drawn once, greedily
    assert mean > 0.4 and abs(mean - by_hand["exact"]) <= 0.05 and as_it_is["by_length"] <= 0.1
    written = json.loads((tmp_path / "stopped" / "manifest.json").read_text())["resolved"]["prompted"]
    assert written["stop"] == ["\n"] and written["chat"] is (chat == "auto")
