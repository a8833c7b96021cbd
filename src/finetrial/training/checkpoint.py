"""The state of a run, and checkpoints of it that survive a kill at any moment, also during the write.

checkpoint/ holds a folder per checkpoint and the file `current`, which names the good one and is replaced
atomically. A checkpoint is written and flushed whole before `current` names it; what `current` does not name is
debris and is removed with the next write.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetrial.errors import UserError
from finetrial.models.library_calls import disk_errors
from finetrial.store.files import atomic_text


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


_POINTER, _TENSORS, _VALUES = "current", "state.pt", "facts.json"
SHARDS = "shards"  # the folder in a checkpoint's


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to go on: plain values and tensors."""

    values: dict[str, Any]
    tensors: dict[str, Any]
    shards: Path | None = None  # the folder of what several processes wrote, each its share


def _write_flushed(path: Path, state: Mapping[str, Any]) -> None:
    with path.open("wb") as stream, disk_errors(path.parent):
        torch.save(dict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())


def write_checkpoint(root: Path, checkpoint: Checkpoint) -> None:
    """Make this the run's checkpoint. On failure the one before stays."""
    folder = begin_checkpoint(root, step=checkpoint.values["step"])
    try:
        finish_checkpoint(folder, checkpoint)
    except BaseException:
        drop_unfinished(folder)
        raise


def drop_unfinished(folder: Path) -> None:
    """Remove a checkpoint that could not be written, unless it is the run's already."""
    if _named(folder.parent) != folder.name:
        shutil.rmtree(folder, ignore_errors=True)


def begin_checkpoint(root: Path, *, step: int) -> Path:
    """A new folder for a checkpoint, which is none before it is finished."""
    folder = root / f"step-{step}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    return folder


def finish_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the rest into the folder and make it the run's checkpoint; what stood before goes."""
    root = folder.parent
    _write_flushed(folder / _TENSORS, checkpoint.tensors)
    atomic_text(folder / _VALUES, json.dumps(checkpoint.values))
    atomic_text(root / _POINTER, folder.name)
    for other in root.iterdir():
        if other.is_dir() and other.name.startswith("step-") and other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _named(root: Path) -> str | None:
    try:
        return (root / _POINTER).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def read_checkpoint(root: Path, *, fingerprint: str, mapped: bool = False) -> Checkpoint | None:
    """The run's checkpoint, or None when there is none or it belongs to another task.

    `mapped`: its tensors stay in the file until they are read.
    """
    name = _named(root)
    if name is None or not (root / name).is_dir():
        return None
    try:
        values = json.loads((root / name / _VALUES).read_text(encoding="utf-8"))
        if values.get("fingerprint") != fingerprint:
            return None
        tensors = torch.load(root / name / _TENSORS, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint {root / name} cannot be read",
            got=str(error).splitlines()[0],
            fix=f"Remove {root}; the arm is then tuned from its start.",
        ) from None
    shards = root / name / SHARDS
    return Checkpoint(values, tensors, shards if shards.exists() else None)


def write_best(root: Path, *, step: int, masters: list[torch.Tensor]) -> None:
    """Keep the weights of the best evaluation so far; earlier ones stay until a checkpoint names this one."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".best-{secrets.token_hex(4)}"
    try:
        _write_flushed(temporary, {"masters": masters})
        temporary.replace(_best_path(root, step))
    finally:
        temporary.unlink(missing_ok=True)


def read_best(root: Path, *, step: int) -> list[torch.Tensor]:
    """The weights that `write_best` kept at this step."""
    saved: dict[str, list[torch.Tensor]] = torch.load(_best_path(root, step), map_location="cpu", weights_only=True)
    return saved["masters"]


def drop_other_bests(root: Path, *, step: int | None) -> None:
    """Remove the weights of evaluations that are no longer the best."""
    kept = () if step is None else (_best_path(root, step), best_shards(root, step))
    for path in root.glob("best-*"):
        if path in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_checkpoint(root: Path) -> None:
    """Remove everything of the run's checkpoints: the arm is finished.

    What names the checkpoint goes first: killed in between, what is left is debris, not half a checkpoint.
    """
    (root / _POINTER).unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)


def _best_path(root: Path, step: int) -> Path:
    return root / f"best-{step}.pt"


def best_shards(root: Path, step: int) -> Path:
    """The folder of what several processes kept of the best weights, each its share."""
    return root / f"best-{step}"
