"""Pass the rows of several arms through one model side by side: their gradients, and their validation losses.

The arms see the same examples. A pass takes one packed row of them, as an arm alone does, once for each arm, one
arm's after another's, as many arms at once as fit into the micro-batch; each arm's loss is normalised by its own
count and scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from finetrial.models.batches import best_fit, pack, trained_tokens
from finetrial.models.evaluate import default_micro_tokens
from finetrial.models.forward import LossModel
from finetrial.models.kernels.arm_slices import ArmSlices
from finetrial.models.out_of_memory import halving
from finetrial.training.accumulate import let_go
from finetrial.training.arm_run import ArmRun
from finetrial.training.mounted_arms import SharedSetup
from finetrial.training.process import Interrupts
from finetrial.trial.examples import Encoded


def arms_at_once(arms: Sequence[int], *, row_tokens: int, micro_tokens: int) -> list[Sequence[int]]:
    """The arms in even parts whose rows fit into a micro-batch together; one at least."""
    most = max(1, micro_tokens // row_tokens)
    parts = -(-len(arms) // most)
    size, rest = divmod(len(arms), parts)
    ends = [(i + 1) * size + min(i + 1, rest) for i in range(parts)]
    return [arms[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


class SharedPasses:
    """Computes for the runs of a group, by their places in it."""

    def __init__(self, shared: SharedSetup, runs: Sequence[ArmRun], *, micro_tokens: int) -> None:
        """`micro_tokens` is the most that passes at once, of all arms together."""
        self._loss_model: LossModel = shared.loss_model
        self._slices: ArmSlices = shared.mounted.slices
        self._runs, self._device = runs, shared.arms[0].device
        self._train, self._lengths, self._batches = runs[0].task.train, runs[0].lengths, runs[0].batches
        self._alone = runs[0].task.micro_tokens or default_micro_tokens(self._device)
        self._take(micro_tokens)

    def _take(self, micro_tokens: int) -> None:
        self._micro_tokens = micro_tokens
        for run in self._runs:
            run.state.micro_tokens = micro_tokens

    def _less(self, micro_tokens: int) -> None:
        let_go(self._device)
        for run in self._runs:
            run.setup.optimizer.forget()
        self._take(micro_tokens)

    def _passes(
        self, places: Sequence[int], lengths: Sequence[int], arms: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], Sequence[int]]]:
        """Rows of examples, each with the arms that take it at once.

        A row is as long as of an arm alone: thin products of shorter ones are more, and none is saved.
        """
        for row in best_fit(places, lengths=lengths, capacity=min(self._alone, self._micro_tokens)):
            row_tokens = sum(lengths[place] for place in row)
            for part in arms_at_once(arms, row_tokens=row_tokens, micro_tokens=self._micro_tokens):
                yield row, part

    def _losses(
        self, examples: Sequence[Encoded], arms: Sequence[int], *, scales: Sequence[float]
    ) -> list[torch.Tensor]:
        row = pack(examples)
        batch = self._loss_model.bring(row.repeated(len(arms)))
        self._slices.set(arms, tokens=row.input_ids_T.numel(), total=batch.input_ids_T.numel())
        return self._loss_model.part_losses(batch, scales=scales)

    def gradients(self, arms: Sequence[int], step: int, interrupts: Interrupts) -> list[torch.Tensor] | None:
        """Each arm's mean loss of the batch times its loss scale, the gradients left with its optimizer; None if
        interrupted. The losses stand on the device and may not be made yet."""
        found = halving(
            lambda: self._gradients(arms, step, interrupts),
            micro_tokens=self._micro_tokens,
            longest=max(self._lengths[i] for i in self._batches[step]),
            on_halved=self._less,
        )
        if found is None:
            for arm in arms:
                self._runs[arm].setup.optimizer.forget()
        return found

    def _gradients(self, arms: Sequence[int], step: int, interrupts: Interrupts) -> list[torch.Tensor] | None:
        places = [i for i in self._batches[step] if trained_tokens(self._train[i])]
        count = sum(trained_tokens(self._train[i]) for i in places)
        total = {arm: torch.zeros((), device=self._device) for arm in arms}
        try:
            for row, part in self._passes(places, self._lengths, arms):
                scales = [self._runs[arm].state.loss_scale / count for arm in part]
                losses = self._losses([self._train[i] for i in row], part, scales=scales)
                summed = torch.stack(losses).sum()
                if summed.requires_grad:
                    summed.backward()
                for arm, loss in zip(part, losses, strict=True):
                    total[arm] += loss.detach()
                if interrupts.asked:
                    return None
        finally:
            self._slices.clear()
        return list(total.values())

    def try_longest(self, arms: Sequence[int], interrupts: Interrupts) -> None:
        """Let memory run out on the batch with the longest pass at once, not hours later; nothing is learned."""

        def longest_pass(step: int) -> int:
            passes = self._passes(self._batches[step], self._lengths, arms)
            return max(sum(self._lengths[i] for i in row) * len(part) for row, part in passes)

        self.gradients(arms, max(range(len(self._batches)), key=longest_pass), interrupts)
        for arm in arms:
            self._runs[arm].setup.optimizer.forget()

    def mean_losses(self, arms: Sequence[int], rows: Sequence[Encoded]) -> list[float | None]:
        """Each arm's mean loss on all trained tokens of the rows; None where there is none."""
        chosen = [i for i, example in enumerate(rows) if trained_tokens(example)]
        count = sum(trained_tokens(rows[i]) for i in chosen)
        if not count:
            return [None for _ in arms]
        lengths = [len(example.token_ids) for example in rows]
        return halving(
            lambda: [nats / count for nats in self._nats(arms, rows, chosen, lengths)],
            micro_tokens=self._micro_tokens,
            longest=max(lengths),
            on_halved=self._less,
        )

    @torch.no_grad()
    def _nats(
        self, arms: Sequence[int], rows: Sequence[Encoded], chosen: Sequence[int], lengths: Sequence[int]
    ) -> list[float]:
        wide = torch.float32 if self._device.type == "mps" else torch.float64
        total = {arm: torch.zeros((), dtype=wide, device=self._device) for arm in arms}
        try:
            for row, part in self._passes(chosen, lengths, arms):
                losses = self._losses([rows[i] for i in row], part, scales=[1.0] * len(part))
                for arm, loss in zip(part, losses, strict=True):
                    total[arm] += loss
        finally:
            self._slices.clear()
        return [float(nats) for nats in total.values()]
