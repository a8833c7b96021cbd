"""Choose the examples of each step and pack them end to end into micro-batches.

The order depends on the seed and the examples' ids, never on the arm: every arm sees the same examples in the same
order. An effective batch takes examples until the next would exceed its tokens. A micro-batch is one row of whole
examples, packed by best fit, without padding.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from finetrial.models.kernels.block_products import BlockRuns
from finetrial.trial.examples import Encoded


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One packed row of T input tokens, of which M predict a token that carries loss."""

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    runs: BlockRuns  # of the inputs
    loss_positions_M: torch.Tensor  # where in the row the predicting hidden states stand
    labels_M: torch.Tensor

    def padded(self, tokens: int) -> MicroBatch:
        """The row filled up to `tokens` with an example that carries no loss."""
        missing = tokens - self.input_ids_T.numel()
        if missing == 0:
            return self
        return MicroBatch(
            torch.cat([self.input_ids_T, self.input_ids_T.new_zeros(missing)]),
            torch.cat([self.position_ids_T, torch.arange(missing)]),
            (*self.runs, (1, missing)),
            self.loss_positions_M,
            self.labels_M,
        )

    def repeated(self, times: int) -> MicroBatch:
        """The row so many times, end to end."""
        starts = torch.arange(times)[:, None] * self.input_ids_T.numel()
        return MicroBatch(
            self.input_ids_T.repeat(times),
            self.position_ids_T.repeat(times),
            self.runs * times,
            (self.loss_positions_M + starts).flatten(),
            self.labels_M.repeat(times),
        )

    def to(self, device: torch.device) -> MicroBatch:
        """The row on a device; a card copies it from pinned memory beside what it is doing."""
        cuda = device.type == "cuda"

        def move(t: torch.Tensor) -> torch.Tensor:
            return (t.pin_memory() if cuda else t).to(device, non_blocking=True)

        return MicroBatch(
            move(self.input_ids_T),
            move(self.position_ids_T),
            self.runs,
            move(self.loss_positions_M),
            move(self.labels_M),
        )


def epoch_order(example_ids: Sequence[str], *, seed: int, epoch: int) -> list[int]:
    """The examples' places in the order of one epoch: by a hash of seed, epoch and id."""

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"order\0{seed}\0{epoch}\0{example_ids[place]}".encode()).digest()

    return sorted(range(len(example_ids)), key=rank)


def effective_batches(
    example_ids: Sequence[str], *, lengths: Sequence[int], epochs: float, batch_tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """The examples of every step. A fraction of an epoch takes that share of the examples, at least one."""
    wanted = max(1, round(epochs * len(example_ids)))
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    tokens, taken, epoch = 0, 0, 0
    while taken < wanted:
        for place in epoch_order(example_ids, seed=seed, epoch=epoch)[: wanted - taken]:
            if current and tokens + lengths[place] > batch_tokens:
                batches.append(tuple(current))
                current, tokens = [], 0
            current.append(place)
            tokens += lengths[place]
            taken += 1
        epoch += 1
    batches.append(tuple(current))
    return batches


def best_fit(places: Sequence[int], *, lengths: Sequence[int], capacity: int) -> list[tuple[int, ...]]:
    """Best-fit decreasing: each example, longest first, goes where the least room would be left.

    An example longer than `capacity` gets a row of its own. Rows list their examples longest first.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), ascending
    for place in sorted(places, key=lambda p: (-lengths[p], p)):
        found = bisect.bisect_left(room, (lengths[place], -1))
        if found == len(room):
            rows.append([place])
            left, row = capacity - lengths[place], len(rows) - 1
        else:
            left, row = room.pop(found)
            rows[row].append(place)
            left -= lengths[place]
        if left > 0:
            bisect.insort(room, (left, row))
    return [tuple(row) for row in rows]


def pack(examples: Sequence[Encoded]) -> MicroBatch:
    """Examples end to end, sorted by length, with positions that restart.

    Tokens after the last that predicts a trained one are left out: nothing reads them.
    """
    inputs: list[np.ndarray] = []
    targets: list[tuple[np.ndarray, np.ndarray]] = []
    for example in examples:
        trained = np.asarray(example.trained, dtype=bool)
        trained[0] = False  # nothing stands before the first token to predict it from
        places = np.flatnonzero(trained)
        if not places.size:
            continue
        token_ids = np.asarray(example.token_ids, dtype=np.int64)
        inputs.append(token_ids[: places[-1]])
        targets.append((places - 1, token_ids[places]))
    assert inputs, "a micro-batch without a trained token"
    order = sorted(range(len(inputs)), key=lambda i: -inputs[i].size)
    starts = np.cumsum([0] + [inputs[i].size for i in order])
    runs = tuple((len(list(group)), size) for size, group in groupby(inputs[i].size for i in order))
    return MicroBatch(
        input_ids_T=torch.from_numpy(np.concatenate([inputs[i] for i in order])),
        position_ids_T=torch.from_numpy(np.concatenate([np.arange(inputs[i].size) for i in order])),
        runs=runs,
        loss_positions_M=torch.from_numpy(
            np.concatenate([targets[i][0] + start for i, start in zip(order, starts[:-1], strict=True)])
        ),
        labels_M=torch.from_numpy(np.concatenate([targets[i][1] for i in order])),
    )


def trained_tokens(example: Encoded) -> int:
    """Tokens of the example that carry loss; its first token cannot, nothing predicts it."""
    return example.trained_tokens - bool(example.trained and example.trained[0])


def inputs_of(example: Encoded) -> int:
    """The tokens of the example that a packed row holds: those before its last trained one."""
    return max(i for i, trained in enumerate(example.trained) if trained)
