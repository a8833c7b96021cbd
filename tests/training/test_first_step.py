"""A run that is stopped in its very first step goes on as if it had not been."""

import signal

import pytest
from small_tasks import make_task, points
from tiny_models import save_model

from finetrial.training.arm_setup import prepare
from finetrial.training.loop import tune, tune_with


def test_the_start_is_evaluated_once(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    whole = make_task(tmp_path / "whole", model=base, early_stopping=1, learning_rate=1e-4)
    tune(whole)

    def interrupted(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)

        def stop(module, inputs, output):
            if output.requires_grad:  # the first step, not the evaluation before it
                signal.raise_signal(signal.SIGINT)

        ready.loss_model.base.get_input_embeddings().register_forward_hook(stop)
        return ready

    task = make_task(tmp_path / "stopped", model=base, early_stopping=1, learning_rate=1e-4)
    with pytest.raises(KeyboardInterrupt):
        tune_with(task, interrupted)
    assert [point.step for point in points(task.folder)] == [0]
    tune(task)
    steps = [point.step for point in points(task.folder)]
    assert steps == [point.step for point in points(whole.folder)] and len(steps) > 2
    weights = [(folder / "model.safetensors").read_bytes() for folder in (whole.folder, task.folder)]
    assert weights[0] == weights[1]
