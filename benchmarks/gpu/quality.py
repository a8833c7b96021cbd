"""The parts that measure no training speed: the tests for a card, losses beside float32's."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.gpu.parts import Clock, Setup
from benchmarks.gpu.shapes import ShapeName, config_of
from benchmarks.gpu.workload import plain_tokenizer, random_abstracts
from finetrial.models.device import PrecisionSetting
from finetrial.models.loading import fuse_activations
from finetrial.store.records import TrainingPoint
from finetrial.training.arm_setup import TrainingSetup, set_up
from finetrial.training.loop import tune_with
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded

REFERENCE = Path(__file__).with_name("losses_on_a_cpu.json")
LOSS_STEPS, LOSS_EXAMPLES, _LOSS_RATE = 50, 1, 1e-4


def card_name(device: torch.device) -> str:
    """What is measured on."""
    if device.type == "cpu":
        return "a CPU (rehearsal)"
    torch.ones(1, device=device).add_(1).item()
    return torch.cuda.get_device_name(device)


# -- tests


def tests(setup: Setup, clock: Clock) -> None:
    """What is marked `cuda`."""
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfEs",
        "-m",
        "cuda",
        "tests/training/test_cuda.py",
        "-p",
        "no:cacheprovider",
    ]
    if setup.rehearsed:
        command.append("--collect-only")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(10.0, clock.left - 5))
        text = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace") + "\ncut: out of time"
    lines = [line for line in text.strip().splitlines() if line.strip()]
    failed = [line for line in lines if re.match(r"(FAILED|ERROR|SKIPPED|E  )", line)]
    said = "\n".join(["```", *failed[:40], (lines or ["nothing was said"])[-1], "```"])
    setup.page.add(f"### Tests marked cuda, {time.monotonic() - began:.0f} s\n\n{said}")


# -- losses


def numpy_weights(shape: ShapeName) -> PreTrainedModel:
    """The shape at random weights from numpy's generator: the same on every machine, at float32 on the CPU."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.float32)
    model = model.to_empty(device="cpu")
    generator = np.random.default_rng(0)
    for name, param in sorted(model.named_parameters()):
        if param.ndim == 1:
            param.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            values = generator.standard_normal(param.shape, dtype=np.float32) * 0.02
            param.data.copy_(torch.from_numpy(values))
    fresh = AutoModelForCausalLM.from_config(_small(shape), dtype=torch.float32)
    for name, buffer in fresh.named_buffers():
        model.get_buffer(name).data.copy_(buffer)
    model.tie_weights()
    return model.eval()


def _small(shape: ShapeName) -> Any:
    config = config_of(shape)
    config.num_hidden_layers = 1
    config.vocab_size = 8
    return config


def loss_examples(shape: ShapeName, *, steps: int) -> list[Encoded]:
    """A few abstracts a step, always the same."""
    return random_abstracts(LOSS_EXAMPLES * steps, seed=7, words=config_of(shape).vocab_size)


def losses_of(shape: ShapeName, *, device: torch.device, precision: PrecisionSetting, steps: int) -> list[float]:
    """The losses of full tuning from those weights, step by step."""

    def make(task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
        model = numpy_weights(shape).to(device)
        fuse_activations(model)
        return set_up(task, model=model, tokenizer=plain_tokenizer(), fresh=(), dtype=dtype)

    examples = loss_examples(shape, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        task = TuneTask(
            model=shape,
            train=examples,
            folder=Path(folder),
            batch_tokens=round(sum(len(e.token_ids) for e in examples) / steps),
            schedule="constant",
            warmup=0.0,
            learning_rate=_LOSS_RATE,
            precision=precision,
            checkpoint_seconds=math.inf,
            keeps_weights=False,
            evaluations=1,
            device=device.type,
        )
        points: list[TrainingPoint] = []
        tune_with(task, make, on_point=points.append)
    return [row.train_loss for row in points if row.train_loss is not None][:steps]


def distance(found: list[float], reference: list[float]) -> float:
    """Root mean square of the differences."""
    assert len(found) == len(reference)
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(found, reference, strict=True)) / len(found))


def make_reference(shape: ShapeName, *, steps: int, path: Path = REFERENCE) -> None:
    """Write float32's and bfloat16's losses on a CPU; a minute or two on 16 cores."""
    device = torch.device("cpu")
    kept: dict[str, Any] = {"shape": shape, "torch": torch.__version__}
    for precision in ("float32", "bfloat16"):
        kept[precision] = losses_of(shape, device=device, precision=precision, steps=steps)  # type: ignore[arg-type]
        print(f"{precision}: from {kept[precision][0]:.4f} to {kept[precision][-1]:.4f}", flush=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def losses(setup: Setup, clock: Clock) -> None:
    """50 steps of the 135M shape at bfloat16 on the card, beside float32 and bfloat16 on a CPU."""
    title = f"### Losses over {LOSS_STEPS} abstracts, one or two a step, SmolLM2-135M's shape, full tuning"
    if setup.rehearsed:
        found = losses_of("tiny", device=setup.device, precision="bfloat16", steps=3)
        wide = losses_of("tiny", device=setup.device, precision="float32", steps=3)
        setup.page.add(f"{title} (rehearsed: a tiny shape, 3 steps)\n\n{distance(found, wide):.1e} from float32")
        return
    if not REFERENCE.exists():
        setup.page.add(
            f"{title}\n\nnot measured: {REFERENCE.name} is missing; python -m benchmarks.gpu.quality makes it"
        )
        return
    kept = json.loads(REFERENCE.read_text(encoding="utf-8"))
    found, failed = clock.run(
        "losses", lambda: losses_of("135m", device=setup.device, precision="bfloat16", steps=LOSS_STEPS)
    )
    if found is None:
        setup.page.add(f"{title}\n\nnot measured: {failed}")
        return
    here, there = distance(found, kept["float32"]), distance(kept["bfloat16"], kept["float32"])
    setup.page.add(
        f"{title}\n\nRoot mean square distance from float32 on a CPU: {here:.2e} nats on the card, {there:.2e} at "
        f"bfloat16 on a CPU: {here / there:.2f} x (target: at most 1.5). First losses {found[0]:.4f}, "
        f"{kept['float32'][0]:.4f}, {kept['bfloat16'][0]:.4f}; last {found[-1]:.4f}, {kept['float32'][-1]:.4f}, "
        f"{kept['bfloat16'][-1]:.4f}."
    )


if __name__ == "__main__":
    make_reference("135m", steps=LOSS_STEPS)
