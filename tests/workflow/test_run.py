"""A whole trial on a tiny real model: every step runs once, and again only when what it consumed has changed."""

import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base, states_of
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.store.folder_lock import folder_lock
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, Score, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import HERE
from finetrial.workflow.run import run_trial


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a tiny model, rows and the trial file, run once."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("trial")
    make_base(base)
    (base / "tiny.yaml").write_text(TRIAL)
    folder = TrialFolder(base / "run")
    lines = Lines()
    done = run_trial(TrialContext(load_trial(base / "tiny.yaml"), folder, listener=lines))
    return base, folder, done, lines.take()


def again(base, folder, *overrides, only=None):
    lines = Lines()
    loaded = load_trial(base / "tiny.yaml", overrides=overrides)
    done = run_trial(TrialContext(loaded, folder, listener=lines, only=only))
    return done, lines.take()


def test_a_trial_ends_with_every_record_in_its_place(prepared):
    _, folder, done, lines = prepared
    assert done.failures == {}
    arms = ["base", "prompted", "full", "lora"]
    samples = {arm: list(read_rows(folder.samples(arm), Sample)) for arm in arms}
    assert [len(rows) for rows in samples.values()] == [12, 12, 12, 12]
    for arm in arms:
        assert [(s.prompt_id, s.index, s.seed) for s in samples[arm]] == [
            (s.prompt_id, s.index, s.seed) for s in samples["base"]
        ], "arms must share prompts and seeds"
    scores = list(read_rows(folder.scores, Score))
    assert {s.metric for s in scores} == {"rouge1", "rouge2", "rougeL"} and len(scores) == 48 * 3
    assert done.report.html.exists() and folder.manifest.exists() and folder.data.exists() and folder.items.exists()
    assert not folder.pilots.exists() and not folder.early.exists()  # nobody asked for --early
    assert any(line.startswith("full: ") and "about" in line for line in lines)


def test_what_is_shown_is_the_template_and_the_prompted_arm_sees_a_solved_training_example(prepared):
    _, folder, _, _ = prepared
    base = next(iter(read_rows(folder.samples("base"), Sample)))
    prompted = next(iter(read_rows(folder.samples("prompted"), Sample)))
    assert base.prompt.endswith("come back.\nTL;DR:") and base.source in base.prompt
    assert prompted.prompt.endswith(base.prompt) and " lost in " in prompted.prompt


def test_tuning_helps_and_costs_what_the_formula_says(prepared):
    _, folder, _, _ = prepared
    measured = {arm: read_object(folder.measured(arm), Measured) for arm in ("base", "full", "lora")}
    assert measured["full"].heldout_loss < measured["lora"].heldout_loss < measured["base"].heldout_loss
    # rank 2 on q and v of two layers of width 32: 2 layers x 2 matrices x 2 (32 + 32) = 512
    assert measured["lora"].trained_parameters == 512
    assert measured["full"].trained_parameters == measured["full"].total_parameters
    weights = folder.arm("lora") / "adapter_model.safetensors"
    assert measured["lora"].stored_bytes == weights.stat().st_size
    assert measured["base"].trained_parameters == 0 and measured["base"].sample_tokens > 0


def test_a_second_run_does_nothing_again(prepared):
    base, folder, _, _ = prepared
    before = {p: p.stat().st_mtime_ns for p in folder.root.rglob("*.safetensors")}
    _, lines = again(base, folder)
    assert [x for x in lines if "already" in x] == [
        "full: tuned already",
        "lora: tuned already",
        *(f"{arm}: sampled already" for arm in ("base", "prompted", "full", "lora")),
    ]
    assert {p: p.stat().st_mtime_ns for p in folder.root.rglob("*.safetensors")} == before and before


def test_a_changed_rank_tunes_and_samples_that_arm_alone_and_says_why(prepared):
    base, folder, _, _ = prepared
    _, lines = again(base, folder, "arms.lora.rank=4")
    assert "lora: tuning again, arms.lora.rank changed" in lines
    assert "full: tuned already" in lines and "full: sampled already" in lines
    kept = [line for line in lines if line.startswith("lora: what another setting made is kept in kept/")]
    assert len(kept) == 2 and "kept/sample/lora/" in kept[0] and "kept/tune/lora/" in kept[1]
    assert read_object(folder.measured("lora"), Measured).trained_parameters == 1024
    assert read_object(folder.measured("lora"), Measured).heldout_loss is not None
    again(base, folder)  # back to rank 2 for the tests that follow


def test_the_plan_names_what_a_changed_input_invalidates(prepared):
    base, folder, _, _ = prepared

    def planned(*overrides):
        return states_of(
            TrialContext(load_trial(base / "tiny.yaml", overrides=overrides), folder, listener=Lines())
        )

    assert list(planned().states) == [
        "check", "tune:full", "tune:lora", "sample:base", "sample:prompted", "sample:full", "sample:lora", "score",
        "report",
    ]  # fmt: skip
    assert planned().to_run == ("check", "report") and planned().invalidated == {}
    changed = planned("arms.lora.rank=4", "sampling.seed=9")
    assert changed.invalidated == {
        "arms.lora.rank": ("tune:lora", "sample:lora", "score", "report"),
        "sampling.seed": ("sample:base", "sample:prompted", "sample:full", "sample:lora", "score", "report"),
    }
    searched = planned("arms.lora.learning_rate=auto")
    assert searched.to_run[1:4] == ("search:lora", "tune:lora", "sample:lora")
    assert searched.states["tune:lora"].reason == "arms.lora.learning_rate changed"


def test_another_executor_is_handed_the_arms_steps_that_are_not_current_in_their_order(prepared):
    base, folder, _, _ = prepared

    class Noting:
        """Runs steps in this process, and notes their names."""

        name = "noting"
        ran: ClassVar[list[str]] = []

        def open(self, context):
            session = HERE.open(context)
            begin = session.begin
            session.begin = lambda step, **more: (self.ran.append(step.name), begin(step, **more))
            return session

    executor = Noting()
    context = TrialContext(load_trial(base / "tiny.yaml"), folder, listener=Lines())
    folder.samples("base").unlink()
    folder.samples("lora").unlink()
    assert run_trial(context, executor=executor).failures == {}
    assert executor.ran == ["sample:base", "sample:lora"]


def test_other_sampling_keeps_the_weights(prepared):
    base, folder, _, _ = prepared
    _, lines = again(base, folder, "sampling.seed=9")
    assert "full: tuned already" in lines and "full: sampling again, sampling.seed changed" in lines
    again(base, folder)


def test_a_tuned_arm_judged_as_an_external_one_answers_the_same(prepared):
    base, folder, _, _ = prepared
    assert dispatch(["split", str(base / "tiny.yaml"), "--out", str(base / "split")]) == 0
    text = TRIAL.replace(
        "training:",
        "  adapter: {adapter: ./run/arms/lora, trained_on: ./split/train.jsonl}\n"
        "  model: {model: ./run/arms/full}\ntraining:",
    )
    (base / "external.yaml").write_text(text)
    external = TrialFolder(base / "external")
    loaded = load_trial(base / "external.yaml")
    done = run_trial(TrialContext(loaded, external, listener=Lines(), only=["base", "adapter", "model"]))
    assert done.failures == {}
    for own, theirs in (("lora", "adapter"), ("full", "model")):
        assert [s.text for s in read_rows(folder.samples(own), Sample)] == [
            s.text for s in read_rows(external.samples(theirs), Sample)
        ]
    # of the one whose rows are named and were checked nobody need warn
    (warning,) = [w for w in done.findings.verdict_warnings if w.kind == "may_have_seen_heldout"]
    assert warning.arms == ("model",)


def test_an_arm_that_diverges_leaves_the_others_a_report(prepared):
    base, _, _, _ = prepared
    folder = TrialFolder(base / "diverging")
    overrides = ["arms.full.learning_rate=1e6", "training.clip=null", "training.epochs=6"]
    done, _ = again(base, folder, *overrides, only=["base", "full"])
    assert list(done.failures) == ["full"]
    assert "learning rate" in str(done.failures["full"]) and "step" in str(done.failures["full"])
    assert done.report.html.exists() and not folder.samples("full").exists()


def test_an_arm_that_fails_is_not_reported_with_what_it_answered_under_another_setting(prepared):
    base, _, _, _ = prepared
    folder = TrialFolder(base / "failing")
    again(base, folder, only=["base", "prompted"])
    assert folder.samples("prompted").exists()
    done, said = again(base, folder, "arms.prompted.shots=9", "data.overlong=refuse", only=["base", "prompted"])
    assert list(done.failures) == ["prompted"] and "9 solved examples" in str(done.failures["prompted"])
    assert any("prompted will fail" in line for line in said[: said.index("base: sampled already")])
    assert any("prompted: what another setting made is kept in kept/sample/prompted/" in line for line in said)
    assert {score.sample_id.split("/")[0] for score in read_rows(folder.scores, Score)} == {"base"}


def test_a_second_run_in_the_folder_of_one_that_is_at_work_is_refused_and_changes_nothing(prepared, tmp_path):
    base, _, _, _ = prepared
    folder = TrialFolder(tmp_path / "shared")
    with folder_lock(folder.root):
        with pytest.raises(UserError, match=r"another run is at work in .*shared.*--out"):
            again(base, folder, only=["base"])
        for verb in ("tune", "sample"):
            assert dispatch([verb, str(base / "tiny.yaml"), "--out", str(folder.root)]) == 2
        assert not list(folder.root.iterdir())
    done, _ = again(base, folder, only=["base"])
    assert done.failures == {} and folder.samples("base").exists()


def test_an_unknown_arm_or_target_is_named(prepared):
    base, _, _, _ = prepared
    with pytest.raises(UserError, match=r"unknown arm 'lorra'.*Did you mean 'lora'"):
        again(base, TrialFolder(base / "x"), only=["lorra"])
    with pytest.raises(UserError, match="queries"):
        again(base, TrialFolder(base / "y"), "arms.lora.targets=[queries]", only=["lora"])


def test_an_interrupted_run_continues_to_the_weights_of_one_that_was_not(prepared, tmp_path):
    base, *_ = prepared
    overrides = ["--set", "training.epochs=60", "--set", "arms.full.learning_rate=1e-4", "--arm", "full"]
    command = [sys.executable, "-m", "finetrial.cli.main", "tune", str(base / "tiny.yaml"), *overrides, "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    stopped = subprocess.Popen([*command, str(tmp_path / "stopped")], env=environment, stderr=subprocess.PIPE)
    journal = tmp_path / "stopped" / "arms" / "full" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and len(journal.read_text().splitlines()) > 3):
        assert time.monotonic() < deadline and stopped.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, stderr = stopped.communicate(timeout=60)
    assert stopped.returncode == 130 and b"Traceback" not in stderr
    weights = "arms/full/model.safetensors"
    assert not (tmp_path / "stopped" / weights).exists()
    subprocess.run([*command, str(tmp_path / "stopped")], check=True, env=environment, capture_output=True)
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_the_prompted_arms_loss_is_that_of_the_completions_behind_its_examples(prepared):
    base, _, _, _ = prepared
    folder = TrialFolder(base / "every-prompt")
    loaded = load_trial(base / "tiny.yaml", overrides=["sampling.prompts=10"])
    run_trial(TrialContext(loaded, folder, listener=Lines(), only=("prompted",)))
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    model = AutoModelForCausalLM.from_pretrained(base / "model")
    shown = {s.prompt_id: s for s in read_rows(folder.samples("prompted"), Sample)}
    assert len(shown) == 10, "all that is held out"
    losses = []
    for sample in shown.values():
        assert sample.prompt.count("TL;DR:") == 2, "an example before the prompt"
        before = tokenizer(sample.prompt).input_ids
        completion = [*tokenizer(" " + sample.references[0]).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            logits_TV = model(torch.tensor([before + completion])).logits[0]
        chosen_TV = logits_TV[len(before) - 1 : -1].double()
        losses += cross_entropy(chosen_TV, torch.tensor(completion), reduction="none").tolist()
    measured = read_object(folder.measured("prompted"), Measured).heldout_loss
    assert measured == pytest.approx(sum(losses) / len(losses), rel=1e-5)
