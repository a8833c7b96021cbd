"""Keep a run's state, whoever holds it: one process all of it, or several a share each.

What one process holds is one file; shares are written by torch.distributed.checkpoint, every process its own.
Either is read by any number of processes, sharded or not.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from finetrial.errors import UserError
from finetrial.models.library_calls import quiet
from finetrial.training.checkpoint import (
    SHARDS,
    Checkpoint,
    begin_checkpoint,
    best_shards,
    drop_unfinished,
    finish_checkpoint,
    read_best,
    read_checkpoint,
    write_best,
    write_checkpoint,
)
from finetrial.training.optimizer import MasterOptimizer
from finetrial.training.ranks import Ranks
from finetrial.training.sharded_optimizer import ShardedOptimizer


def read_saved(root: Path, *, fingerprint: str, ranks: Ranks, shared: bool) -> Checkpoint | None:
    """The checkpoint to go on from: read by the first process, or where each takes its share, by each."""
    if not shared:
        first: Checkpoint | None = _read(root, fingerprint=fingerprint) if ranks.is_first else None
        return cast("Checkpoint | None", ranks.send(first))
    found = _read(root, fingerprint=fingerprint, mapped=True)
    if ranks.sum_numbers(float(found is not None))[0] not in (0.0, float(ranks.count)):
        raise UserError(
            "not every process sees the checkpoint",
            got=str(root),
            fix="Give the trial a folder that all machines share.",
        )
    return found


def _read(root: Path, *, fingerprint: str, mapped: bool = False) -> Checkpoint | None:
    """A checkpoint whose moments an earlier version kept in another order is none: the run begins again."""
    found = read_checkpoint(root, fingerprint=fingerprint, mapped=mapped)
    if found is not None and found.shards is None and "moments" not in found.tensors["optimizer"]:
        return None
    return found


class Saves(Protocol):
    """Writes and reads the state of a run's optimizer."""

    def write(self, values: dict[str, Any], *, random: Mapping[str, torch.Tensor]) -> None:
        """Make this the run's checkpoint."""

    def restore(self, saved: Checkpoint) -> None:
        """Give the optimizer what a checkpoint holds."""

    def write_best(self, step: int) -> None:
        """Keep the weights of the best evaluation so far."""

    def restore_best(self, step: int) -> None:
        """Take the weights that were kept at this step."""


def saves_of(optimizer: MasterOptimizer, *, root: Path, ranks: Ranks) -> Saves:
    """The way of these processes."""
    if isinstance(optimizer, ShardedOptimizer):
        return _SharedSaves(optimizer, root, ranks)
    return _WholeSaves(optimizer, root, ranks)


class _WholeSaves:
    """All processes hold the same; the first writes."""

    def __init__(self, optimizer: MasterOptimizer, root: Path, ranks: Ranks) -> None:
        self._optimizer, self._root, self._ranks = optimizer, root, ranks

    def write(self, values: dict[str, Any], *, random: Mapping[str, torch.Tensor]) -> None:
        if self._ranks.is_first:
            tensors = {"optimizer": self._optimizer.state(), "random": dict(random)}
            write_checkpoint(self._root, Checkpoint(values, tensors))

    def restore(self, saved: Checkpoint) -> None:
        if saved.shards is None:
            self._optimizer.restore(saved.tensors["optimizer"])
            return
        values, moments = _read_whole(saved.shards)
        self._optimizer.restore_parameters(values, moments)

    def write_best(self, step: int) -> None:
        if self._ranks.is_first:
            write_best(self._root, step=step, masters=[m.detach() for m in self._optimizer.masters])

    def restore_best(self, step: int) -> None:
        found = None
        if self._ranks.is_first:
            shards = best_shards(self._root, step)
            if shards.exists():
                found = self._optimizer.slices_of(_read_whole(shards)[0])
            else:
                found = read_best(self._root, step=step)
        self._optimizer.set_masters(self._ranks.send(found))


class _SharedSaves:
    """Every process writes and reads its own rows."""

    def __init__(self, optimizer: ShardedOptimizer, root: Path, ranks: Ranks) -> None:
        self._optimizer, self._root, self._ranks = optimizer, root, ranks

    def write(self, values: dict[str, Any], *, random: Mapping[str, torch.Tensor]) -> None:
        first = self._ranks.is_first
        folder: Path = self._ranks.send(begin_checkpoint(self._root, step=values["step"]) if first else None)
        try:
            self._write(self._optimizer.shared(), folder / SHARDS)
            if first:
                finish_checkpoint(folder, Checkpoint(values, {"random": dict(random)}))
        except BaseException:
            if first:
                drop_unfinished(folder)
            raise

    def _write(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        try:
            with self._ranks.together():
                save(tensors, checkpoint_id=folder)
        except CheckpointException as error:
            raise _unusable("written", folder, error) from None

    def _read(self, folder: Path) -> None:
        names = list(FileSystemReader(folder).read_metadata().state_dict_metadata)
        tensors = self._optimizer.empty(names)
        try:
            with self._ranks.together():
                load(tensors, checkpoint_id=folder)
        except CheckpointException as error:
            raise _unusable("read", folder, error) from None
        self._optimizer.take(tensors)

    def restore(self, saved: Checkpoint) -> None:
        if saved.shards is None:
            self._optimizer.restore(saved.tensors["optimizer"])
        else:
            self._read(saved.shards)

    def write_best(self, step: int) -> None:
        shards, temporary = best_shards(self._root, step), self._root / f".best-{step}"
        if self._ranks.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(shards, ignore_errors=True)
        self._ranks.sum_numbers()
        self._write(self._optimizer.masters_shared(), temporary)
        if self._ranks.is_first:
            temporary.rename(shards)
        self._ranks.sum_numbers()

    def restore_best(self, step: int) -> None:
        shards = best_shards(self._root, step)
        if shards.exists():
            self._read(shards)
        else:
            self._optimizer.restore_masters(read_best(self._root, step=step))


def _read_whole(folder: Path) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Every parameter's value and moments, of what several processes wrote."""
    found = FileSystemReader(folder).read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(one.size, dtype=one.properties.dtype)
        for name, one in found.items()
        if isinstance(one, TensorStorageMetadata)
    }
    try:
        with quiet():  # torch warns that there is one process
            load(tensors, checkpoint_id=folder, no_dist=True)
    except CheckpointException as error:
        raise _unusable("read", folder, error) from None
    count = sum(name.startswith("master.") for name in tensors)
    moments: list[dict[str, torch.Tensor]] = [{} for _ in range(count)]
    for name, value in tensors.items():
        kind, place = name.rsplit(".", 1)
        if kind != "master":
            moments[int(place)][kind] = value
    return [tensors[f"master.{i}"] for i in range(count)], moments


def _unusable(what: str, folder: Path, error: CheckpointException) -> UserError:
    causes = [str(failure[0]) for failure in error.failures.values()]
    return UserError(f"the checkpoint {folder} cannot be {what}", got=(causes or [str(error)])[0][:200])
