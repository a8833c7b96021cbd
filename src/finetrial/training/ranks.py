"""Let several processes tune one arm together: each takes its share of every batch, and all hold the same weights.

The gradients of a batch are summed over the processes in float32, in the order of the ranks, whatever carries them:
the same number of processes gives the same bits. Losses and counts are of the whole batch. What only one may do
(files, lines) the first does. torch.distributed carries everything: gloo on CPUs, NCCL on cards.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from finetrial.errors import EndsRun, FinetrialError

T = TypeVar("T")
_BUCKET = 1 << 24  # numbers that are summed at once: 64 MiB of float32. Assumption
_WAIT = datetime.timedelta(days=7)  # the others wait while the first one samples; a lost process is noticed at once
_JOIN = datetime.timedelta(minutes=10)  # for all processes to come
_ERROR_KEY = "finetrial/error"
_ASKS_SECONDS = 2.0  # for the error of a process that was lost


class ProcessLost(EndsRun):
    """One of the processes is gone, so that the others cannot go on."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that tune together; a process that is alone is the first of one."""

    rank: int = 0
    count: int = 1
    store: Any = None  # where processes leave word, if there is such a place

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and says the lines."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.count == 1

    @property
    def on_this_machine(self) -> int:
        """How many of the processes run here."""
        return 1 if self.is_alone else int(os.environ.get("LOCAL_WORLD_SIZE", self.count))

    def share(self, places: Sequence[int], *, lengths: Sequence[int]) -> list[int]:
        """This process's part of a batch."""
        return self.shares(places, lengths=lengths)[self.rank]

    def shares(self, places: Sequence[int], *, lengths: Sequence[int]) -> list[list[int]]:
        """The parts of a batch, all about as long: the longest example first, each to the shortest part so far."""
        parts: list[list[int]] = [[] for _ in range(self.count)]
        held = [0] * self.count
        for place in sorted(places, key=lambda i: (-lengths[i], i)):
            shortest = min(range(self.count), key=lambda part: (held[part], part))
            parts[shortest].append(place)
            held[shortest] += lengths[place]
        chosen = [set(part) for part in parts]
        return [[place for place in places if place in part] for part in chosen]

    def seed(self, seed: int, step: int) -> int:
        """The random numbers of this process in one step."""
        return (seed * 1_000_003 + step) * 4096 + self.rank

    def sum_gradients(self, masters: Sequence[torch.Tensor]) -> None:
        """Give every process the sum of all processes' gradients; a gradient that none has stays None."""
        if self.is_alone:
            return
        device = masters[0].device
        has = torch.tensor([master.grad is not None for master in masters], dtype=torch.float32, device=device)
        present = self._summed(has).tolist()
        chosen = [master for master, found in zip(masters, present, strict=True) if found]
        for master in chosen:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        for bucket in _buckets(chosen):
            gradients = [master.grad for master in bucket if master.grad is not None]
            total = self._summed(torch.cat([gradient.flatten() for gradient in gradients]).float())
            for gradient, part in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum_numbers(self, *numbers: float) -> list[float]:
        """The sum over the processes of each number."""
        if self.is_alone:
            return list(numbers)
        found: list[list[float]] = [[] for _ in range(self.count)]
        with self.together():
            dist.all_gather_object(found, list(numbers))
        return [sum(parts) for parts in zip(*found, strict=True)]

    def sum_scalar(self, scalar: torch.Tensor) -> torch.Tensor:
        """The sum over the processes of one number on the device."""
        return scalar if self.is_alone else self._summed(scalar.reshape(1)).reshape(scalar.shape)

    def _summed(self, flat: torch.Tensor) -> torch.Tensor:
        """Each process sums one slice, rank by rank, and hands it to all: as much traffic as a ring's."""
        size = -(-flat.numel() // self.count)
        padded = torch.nn.functional.pad(flat, (0, size * self.count - flat.numel()))
        mine = torch.empty_like(padded)
        with self.together():
            dist.all_to_all_single(mine, padded)
            parts = mine.view(self.count, size)
            total = parts[0].clone()
            for part in parts[1:]:
                total += part
            dist.all_gather_into_tensor(padded, total)
        return padded[: flat.numel()]

    def send(self, value: Any) -> Any:
        """What the first process has, in all of them."""
        if self.is_alone:
            return value
        held = [value]
        with self.together():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def in_turns(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in one process of a machine after another."""
        here = int(os.environ.get("LOCAL_RANK", self.rank))
        found: list[T] = []
        for turn in range(self.on_this_machine):
            if turn == here:
                found.append(work())
            self.sum_numbers()
        return found[0]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Where another process is gone, say so in its own words."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessLost(
                f"process {self.rank} of {self.count} cannot go on, for another one ended",
                got=self._word() or str(error).splitlines()[0][:200],
                fix="The same command goes on from the last checkpoint; torchrun --max-restarts does so by itself.",
            ) from None

    def leave_word(self, error: BaseException) -> None:
        """Tell the others why this process ends."""
        if self.store is not None and not isinstance(error, ProcessLost):
            with contextlib.suppress(RuntimeError):
                self.store.set(_ERROR_KEY, f"process {self.rank}: {error or type(error).__name__}")

    def _word(self) -> str | None:
        if self.store is None:
            return None
        try:
            self.store.wait([_ERROR_KEY], datetime.timedelta(seconds=_ASKS_SECONDS))
            return bytes(self.store.get(_ERROR_KEY)).decode()
        except RuntimeError:
            return None


def _buckets(masters: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    held = 0
    for master in masters:
        if bucket and held + master.numel() > _BUCKET:
            yield bucket
            bucket, held = [], 0
        bucket.append(master)
        held += master.numel()
    if bucket:
        yield bucket


ALONE = Ranks()
_now = [ALONE]


def ranks_now() -> Ranks:
    """The processes that tune together now."""
    return _now[0]


def asked_for() -> tuple[int, int]:
    """Rank and number of processes as torchrun and accelerate launch name them; (0, 1) where nobody does."""
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun or accelerate launch started, or that another library has joined.

    Alone where there is one process. The first process lets the others go at the end of the block.
    """
    if not ranks_now().is_alone:
        yield ranks_now()
        return
    if dist.is_initialized():
        with _at_work(Ranks(dist.get_rank(), dist.get_world_size())) as ranks:
            yield ranks
        return
    if asked_for()[1] == 1:
        yield ranks_now()
        return
    if cards := torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, count = next(rendezvous("env://", timeout=_JOIN))
    backend = "cpu:gloo,cuda:nccl" if cards else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_WAIT)
    try:
        with _at_work(Ranks(rank, count, store)) as ranks:
            yield ranks
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _at_work(ranks: Ranks) -> Iterator[Ranks]:
    _now[0] = ranks
    try:
        yield ranks
        if ranks.is_first:
            ranks.send(None)
    except BaseException as error:
        ranks.leave_word(error)
        raise
    finally:
        _now[0] = ALONE


@contextlib.contextmanager
def in_step(ranks: Ranks, *, alike: type[FinetrialError]) -> Iterator[None]:
    """Let a mistake of one process end the run of all, but for those that all meet `alike`.

    Another one would leave the others waiting for it.
    """
    try:
        yield
    except (alike, EndsRun):
        raise
    except FinetrialError as error:
        if ranks.is_alone:
            raise
        ranks.leave_word(error)
        raise EndsRun(error.what, got=error.got, expected=error.expected, fix=error.fix) from error


def follow(ranks: Ranks, work: Callable[[Any], object], *, alike: type[FinetrialError]) -> None:
    """Do what the first process sends until it sends None: the same work, in step with it.

    Of what all processes meet `alike` the first one tells.
    """
    while (sent := ranks.send(None)) is not None:
        with contextlib.suppress(alike):
            work(sent)
