"""Training state: what changes step by step, the random streams of torch included."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(slots=True)
class TuneState:
    """What changes while an arm is tuned; all of it is in the checkpoint."""

    step: int = 0  # finished steps
    tokens: int = 0
    trained: int = 0
    micro_tokens: int = 0
    first_loss: float | None = None
    loss_sum: float = 0.0  # since the last point
    loss_steps: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0  # evaluations without improvement
    validation_loss: float | None = None
    stopped: bool = False  # early
    loss_scale: float = 1.0
    scale_steps: int = 0  # since it last changed
    evaluations: int = 0  # on the curve's rows
    evaluation_seconds: float = 0.0
    evaluation_flops: float | None = 0.0  # None: a shape that is not known


def random_state(*, device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], *, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
