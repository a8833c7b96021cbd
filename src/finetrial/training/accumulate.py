"""Make one effective batch's gradients, in micro-batches that fit into memory.

The loss is normalised by the trained tokens of the whole batch, so that micro-batches change rounding and nothing
else. Where memory runs out the micro-batch is halved and the batch taken again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from finetrial.errors import UserError
from finetrial.models.batches import best_fit, pack, trained_tokens
from finetrial.models.out_of_memory import halving
from finetrial.training.arm_setup import TrainingSetup
from finetrial.training.checkpoint import TuneState, random_state, set_random_state
from finetrial.training.process import Interrupts
from finetrial.training.ranks import ALONE, Ranks
from finetrial.trial.examples import Encoded


def let_go(device: torch.device) -> None:
    """Hand back what a card's allocator keeps, before less is tried."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Accumulation:
    """The gradients of a run's batches. Works with the run's own state: micro-batch and loss scale."""

    def __init__(
        self,
        setup: TrainingSetup,
        state: TuneState,
        *,
        train: Sequence[Encoded],
        batches: Sequence[Sequence[int]],
        ranks: Ranks = ALONE,
        seed: int = 0,
    ) -> None:
        """`ranks` take a share of every batch each; `seed` is the run's."""
        self._setup, self._state, self._train, self._batches = setup, state, train, batches
        self._ranks, self._seed = ranks, seed
        self._lengths = [len(example.token_ids) for example in train]

    def micro_batches(self, step: int) -> list[tuple[int, ...]]:
        """The batch's trained examples, row by row; of several processes this one's share."""
        return self._all_micro_batches(step)[self._ranks.rank]

    def _all_micro_batches(self, step: int) -> list[list[tuple[int, ...]]]:
        capacity = self._state.micro_tokens if self._setup.loss_model.packed else 1
        shares = self._ranks.shares(self._trained(step), lengths=self._lengths)
        return [best_fit(places, lengths=self._lengths, capacity=capacity) for places in shares]

    def _passes(self, step: int) -> list[tuple[tuple[int, ...], bool]]:
        """The micro-batches, and whether each counts.

        Where weights are gathered from all processes, all must pass as often: who has fewer micro-batches passes
        the batch's shortest example besides, and it counts nothing.
        """
        of_all = self._all_micro_batches(step)
        found = [(row, True) for row in of_all[self._ranks.rank]]
        if self._setup.sharded is not None:
            shortest = min(self._trained(step), key=lambda i: (self._lengths[i], i), default=None)
            if shortest is not None:
                found += [((shortest,), False)] * (max(map(len, of_all)) - len(found))
        return found

    def _trained(self, step: int) -> list[int]:
        return [i for i in self._batches[step] if trained_tokens(self._train[i])]

    def _once(self, step: int, interrupts: Interrupts) -> torch.Tensor | None:
        rows = self._passes(step)
        count = sum(trained_tokens(self._train[i]) for i in self._trained(step))
        total, reached = torch.zeros((), device=self._setup.device), False
        for row, counts in rows:
            batch = self._setup.loss_model.bring(pack([self._train[i] for i in row]))
            loss = self._setup.loss_model.loss(batch, scale=self._state.loss_scale / count if counts else 0.0)
            if loss.requires_grad:  # of a mixture's experts a row may reach none that is trained
                loss.backward()
                reached = True
            total += loss.detach()
            if interrupts.asked and self._ranks.is_alone:
                return None
        if rows and not reached and step == 0:
            raise UserError(
                "what this arm trains does not reach the loss, so that nothing would be learned",
                fix="Name other targets: matrices of attention, or all-linear.",
            )
        return total

    def gradients(self, step: int, interrupts: Interrupts) -> torch.Tensor | None:
        """The batch's mean loss times the loss scale, its gradients left with the optimizer; None if interrupted.

        The loss stands on the device and may not be made yet: nothing waits for it here.
        """
        if not self._ranks.is_alone:  # so that another number of processes can go on from a checkpoint
            torch.manual_seed(self._ranks.seed(self._seed, step))
        random = random_state(device=self._setup.device)

        def halved(micro_tokens: int) -> None:
            self._setup.optimizer.forget()
            self.take_less(micro_tokens)
            set_random_state(random, device=self._setup.device)

        if self._setup.sharded is not None:  # the others wait in the middle of a pass: none can begin again alone
            loss = self._once(step, interrupts)
        else:
            loss = halving(
                lambda: self._once(step, interrupts),
                micro_tokens=self._state.micro_tokens,
                longest=max(self._lengths[i] for i in self._batches[step]),
                on_halved=halved,
            )
        loss = self._over_all(loss, interrupts)
        if loss is None:
            self._setup.optimizer.forget()
            set_random_state(random, device=self._setup.device)
        return loss

    def _over_all(self, loss: torch.Tensor | None, interrupts: Interrupts) -> torch.Tensor | None:
        """The loss and the gradients of all processes; None in all of them where one is interrupted."""
        if self._ranks.is_alone or loss is None:
            return loss
        if self._ranks.sum_numbers(float(interrupts.asked))[0]:
            interrupts.asked = True
            return None
        if self._setup.sharded is None:  # else every pass has summed its own
            self._ranks.sum_gradients(self._setup.optimizer.masters)
        return self._ranks.sum_scalar(loss)

    def take_less(self, micro_tokens: int) -> None:
        """Use micro-batches of this size from now on."""
        let_go(self._setup.device)
        self._state.micro_tokens = micro_tokens

    def try_longest(self, interrupts: Interrupts) -> None:
        """Let memory run out on the batch with the longest row at once, not hours later; nothing is learned."""
        random = random_state(device=self._setup.device)

        def longest_row(step: int) -> int:
            rows = [row for share in self._all_micro_batches(step) for row in share]  # the same in every process
            return max((sum(self._lengths[i] for i in row) for row in rows), default=0)

        self.gradients(max(range(len(self._batches)), key=longest_row), interrupts)
        self._setup.optimizer.forget()
        set_random_state(random, device=self._setup.device)
