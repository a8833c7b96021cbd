"""A sampler is one file and one row: a trial names it, and its answers go the whole way to the report."""

import json

import pytest
import torch
from installing import install
from tiny_trials import TRIAL, Lines, make_base, states_of

from finetrial.errors import UserError
from finetrial.sampling.sampler_table import SAMPLERS, sampler_named
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

TOY = '''"""Answers with the prompt's own words, last word first."""

from finetrial.store.records import Sample


class Loaded:
    positions = parameters = shape = precision = device = unmerged = beside = base_unknown = sampled_alone = None
    usage = None
    checks = ()

    def __init__(self, arm):
        self.arm = arm

    def sample(self, prompts, *, on_progress):
        for done, task in enumerate(prompts, start=1):
            for index in range(self.arm.decoding.per_prompt):
                text = " ".join(reversed(task.source.split()))
                yield Sample(
                    id=f"{self.arm.name}/{task.prompt_id}/{index}", prompt_id=task.prompt_id, group=task.group,
                    arm=self.arm.name, index=index, prompt=task.text, text=text, token_ids=None,
                    references=task.references, end_reason=None, logprob=None, tokens=None, seconds=None, seed=None,
                    source=task.source,
                )
            on_progress(len(text.split()), done * self.arm.decoding.per_prompt)


class Backwards:
    name = "backwards"
    log_likelihoods = False
    common_random_numbers = False

    def load(self, to_sample):
        return Loaded(to_sample.arm)


ADDED = Backwards()
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("samplers")
    make_base(base)
    (base / "tiny.yaml").write_text(TRIAL)
    return base


def context(base, *overrides, out="run"):
    loaded = load_trial(base / "tiny.yaml", overrides=overrides)
    return TrialContext(loaded, TrialFolder(base / out), listener=Lines(), only=["base", "prompted"])


def test_torch_is_the_sampler_unless_another_is_named_and_an_unknown_one_is_refused_before_anything_runs(base):
    own, *elsewhere = SAMPLERS
    assert own.name == "torch" and own.log_likelihoods and own.common_random_numbers
    assert {one.name for one in elsewhere} == {"outputs", "endpoint", "llama.cpp", "vllm"}
    assert not any(one.log_likelihoods or one.common_random_numbers for one in elsewhere)
    with pytest.raises(UserError, match=r"unknown sampling.engine 'troch'.*Did you mean 'torch'"):
        run_trial(context(base, "sampling.engine=troch", out="unknown"))
    assert not (base / "unknown" / "samples").exists()


def test_a_package_adds_a_sampler_by_one_file_and_one_entry_point(base, tmp_path, monkeypatch):
    install(tmp_path, group="finetrial.samplers", code=TOY, module="backwards")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sampler_named("backwards").name == "backwards"
    assert run_trial(context(base)).failures == {}
    folder = TrialFolder(base / "run")
    assert read_object(folder.measured("base"), Measured).heldout_loss > 0
    other = context(base, "sampling.engine=backwards")
    assert "sampling.engine" in states_of(other).invalidated
    done = run_trial(other)
    assert done.failures == {}
    assert "base: sampling again, sampling.engine changed" in other.listener.lines
    samples = list(read_rows(folder.samples("base"), Sample))
    assert len(samples) == 12
    assert all(s.text.split() == s.source.split()[::-1] for s in samples)
    measured = read_object(folder.measured("base"), Measured)
    assert measured.heldout_loss is None, "it gives no log-likelihoods"
    results = json.loads((folder.report / "results.json").read_text())
    assert results["metrics"]["rouge1"]["base"]["mean"] > 0
    run_trial(context(base))  # back to torch
    assert read_object(folder.measured("base"), Measured).heldout_loss > 0
