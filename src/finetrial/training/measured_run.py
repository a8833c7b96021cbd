"""Say what a finished training run cost and came to: the arm's measured.json."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from finetrial.models.device import dtype_name
from finetrial.store.records import Measured
from finetrial.training.arm_setup import TrainingSetup
from finetrial.training.checkpoint import TuneState
from finetrial.training.meter import Meter
from finetrial.training.step_plan import training_flops
from finetrial.training.task import TuneTask


def measured_run(
    task: TuneTask,
    setup: TrainingSetup,
    state: TuneState,
    meter: Meter,
    *,
    batches: Sequence[Sequence[int]],
    validation_loss: float | None,
    rows: tuple[int, int],
    processes: int,
) -> Measured:
    """The record. `batches` were taken; `rows` of the validation split are on the curve, and carry loss at all."""
    return Measured(
        trained_parameters=setup.trained_parameters,
        total_parameters=setup.total_parameters,
        stored_bytes=sum(p.stat().st_size for p in task.folder.glob("*.safetensors")),
        steps=state.step,
        tokens_processed=state.tokens,
        trained_tokens=state.trained,
        flops_total=training_flops(setup.loss_model.base, task, batches=batches),
        tune_seconds=meter.seconds,
        peak_memory_bytes=meter.peak_bytes,
        learning_rate=setup.learning_rate,
        validation_loss=validation_loss,
        heldout_loss=None,
        precision=dtype_name(setup.dtype),
        device=_device_name(setup.device, processes=processes),
        trained_special_rows=setup.special_rows,
        best_step=state.best_step,
        micro_tokens=state.micro_tokens if setup.loss_model.packed else None,
        fast_paths=setup.loss_model.fast_paths,
        evaluation_seconds=state.evaluation_seconds,
        evaluation_flops=state.evaluation_flops,
        evaluation_share=state.evaluation_seconds / meter.seconds,
        evaluations=state.evaluations,
        curve_rows=rows[0],
        validation_rows=rows[1],
    )


def _device_name(device: torch.device, *, processes: int) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if processes == 1 else f"{processes} x {name}"
