"""float16: the loss is scaled so that small gradients survive, and overflows cost no batch."""

from dataclasses import replace

import pytest
import torch
from arm_loading import load_arm
from tiny_models import make_examples, save_model

from finetrial.models.evaluate import mean_loss
from finetrial.training.arm_run import ArmRun
from finetrial.training.arm_setup import prepare
from finetrial.training.loop import take_steps, tune
from finetrial.training.meter import Meter
from finetrial.training.optimizer import MasterOptimizer, first_loss_scale, grown_loss_scale
from finetrial.training.process import Interrupts
from finetrial.training.task import TuneTask

CPU = torch.device("cpu")


def test_only_float16_is_scaled():
    assert first_loss_scale(torch.float16) == 65536
    assert first_loss_scale(torch.bfloat16) == first_loss_scale(torch.float32) == 1


def test_the_scale_doubles_after_two_thousand_steps_and_one_stays_one():
    assert grown_loss_scale(1024.0, steps=1999) == (1024.0, 1999)
    assert grown_loss_scale(1024.0, steps=2000) == (2048.0, 0)
    assert grown_loss_scale(1.0, steps=5000)[0] == 1.0


def test_the_step_is_that_of_the_unscaled_gradient():
    def stepped(scale):
        param = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        optimizer = MasterOptimizer([param], name="adamw", betas=(0.9, 0.999), weight_decay=0.0)
        (param * torch.tensor([1.0, -3.0, 0.5]) * scale).sum().backward()
        norm = optimizer.step(learning_rate=0.1, clip=1.0, loss_scale=scale)
        return param.detach().clone(), norm

    (plain, plain_norm), (scaled, norm) = stepped(1.0), stepped(65536.0)
    assert norm == plain_norm == pytest.approx((1 + 9 + 0.25) ** 0.5)
    torch.testing.assert_close(scaled, plain, rtol=0, atol=0)  # a power of two rounds nothing


def float16_run(tmp_path, *, scale=None):
    """A run at float16 on the CPU: it has the format, though too slow for a trial file to ask for it there."""
    task = TuneTask(
        model=save_model("llama", tmp_path / "base"),
        train=make_examples(12),
        validation=make_examples(4, seed=1),
        folder=tmp_path / "arm",
        batch_tokens=100,
        learning_rate=3e-3,
        precision="float32",
        device="cpu",
    )
    task.folder.mkdir()
    ready = prepare(task, dtype=torch.float16, device=CPU)
    run = ArmRun(task, ready, Meter(CPU), fingerprint="x", saved=None, on_point=lambda point: None)
    if scale is not None:
        run.state.loss_scale = scale
    with Interrupts() as interrupts:
        take_steps(run, interrupts, on_progress=lambda progress: None)
    run.take_best()
    return task, run.state, run.finish()


def test_a_float16_arm_learns_what_a_float32_arm_learns(tmp_path):
    task, state, measured = float16_run(tmp_path)
    assert state.loss_scale == 65536 and measured.precision == "float16"
    expected = tune(replace(task, folder=tmp_path / "wide"))
    assert measured.validation_loss == pytest.approx(expected.validation_loss, abs=0.02)
    start = mean_loss(load_arm(task.model), task.validation)
    assert expected.validation_loss < start - 0.1, "the test is empty unless something is learned"


def test_an_overflow_halves_the_scale_and_takes_the_same_batch_again(tmp_path):
    # At 2^40 every gradient overflows float16's 65504; halving goes on until it does not, and no step is lost.
    _, state, measured = float16_run(tmp_path, scale=2.0**40)
    assert 1 <= state.loss_scale < 2.0**30
    assert measured.steps == state.step > 2 and measured.validation_loss is not None
