"""Memory that runs out: the micro-batch is halved, and that is said; the longest row comes first."""

import dataclasses

import pytest
import torch
from small_tasks import make_task, points
from tiny_models import save_model

from finetrial.errors import UserError
from finetrial.training import loop as tuning
from finetrial.training.arm_setup import prepare
from finetrial.training.loop import tune, tune_with
from finetrial.workflow.forecast import Forecast
from finetrial.workflow.step_progress import TuningProgress

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")


def with_room_for(tokens, *, seen=None):
    """A model that has no room for more than so many tokens at once."""

    def make(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)

        def refuse(module, inputs):
            if seen is not None:
                seen.append(inputs[0].numel())
            if inputs[0].numel() > tokens:
                raise FULL

        ready.loss_model.base.get_input_embeddings().register_forward_pre_hook(refuse)
        return ready

    return make


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_evaluation_is_halved_too_and_nothing_is_lost(precision, tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    roomy = tune(make_task(tmp_path / "roomy", model=base, micro_tokens=200, precision=precision))
    tight_task = make_task(tmp_path / "tight", model=base, micro_tokens=200, precision=precision)
    tight = tune_with(tight_task, with_room_for(60))
    assert roomy.micro_tokens == 200 and tight.micro_tokens <= 60
    close = {"float32": 1e-4, "bfloat16": 1e-2}[precision]
    assert tight.validation_loss == pytest.approx(roomy.validation_loss, rel=close)
    losses = [[p.train_loss for p in points(tmp_path / name)[1:]] for name in ("roomy", "tight")]
    assert losses[1] == pytest.approx(losses[0], rel=close)


def test_the_longest_row_is_tried_first_where_that_helps_and_changes_nothing(tmp_path, monkeypatch):
    base = save_model("gpt2", tmp_path / "base")
    plain, tried = [], []
    task = make_task(tmp_path / "plain", model=base, validation=())
    tune_with(task, with_room_for(1000, seen=plain))
    monkeypatch.setattr(tuning, "raises_when_full", lambda device: True)
    again = dataclasses.replace(task, folder=tmp_path / "tried")
    tune_with(again, with_room_for(1000, seen=tried))
    extra = len(tried) - len(plain)
    assert extra > 0 and tried[extra:] == plain
    assert max(tried[:extra]) == max(plain)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (task.folder, again.folder)]
    assert weights[0] == weights[1]


def test_a_halved_micro_batch_is_said_once(tmp_path):
    class Lines(list):
        def line(self, text):
            self.append(text)

        def step(self, *_, **__):
            pass

    class Context:
        listener = Lines()
        forecast = Forecast(())

    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"), micro_tokens=200, epochs=4.0)
    halves_later = with_room_for(1000)

    def make(task, *, dtype, device):
        ready = halves_later(task, dtype=dtype, device=device)
        calls = []

        def refuse(module, inputs):
            calls.append(1)
            if len(calls) > 12 and inputs[0].numel() > 60:
                raise FULL

        ready.loss_model.base.get_input_embeddings().register_forward_pre_hook(refuse)
        return ready

    measured = tune_with(task, make, on_progress=TuningProgress(Context, "full"))
    said = [line for line in Context.listener if "memory ran out" in line]
    assert len(said) == 1 and f"at most {measured.micro_tokens} tokens" in said[0] and said[0].startswith("full: ")


def test_memory_that_a_smaller_batch_cannot_save_is_the_arms_failure(tmp_path):
    def make(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)

        def refuse(**_):
            raise FULL

        ready.optimizer.step = refuse
        return ready

    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"))
    with pytest.raises(UserError, match=r"does not fit into memory with its weights, gradients and moments.*1 GiB"):
        tune_with(task, make)


def test_other_errors_stay_what_they_are(tmp_path):
    def make(task, *, dtype, device):
        raise RuntimeError("shapes do not match")

    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        tune_with(task, make)
