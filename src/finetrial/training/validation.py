"""The validation split while an arm is tuned: a loss on the plan's rows now and then, on all rows at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from finetrial.models.batches import trained_tokens
from finetrial.models.evaluate import loss_of, row_nats, rows_of
from finetrial.models.out_of_memory import halving
from finetrial.store.pilots import RowCost
from finetrial.store.records import write_rows
from finetrial.training.arm_setup import TrainingSetup, set_mode
from finetrial.training.checkpoint import TuneState
from finetrial.training.meter import Meter
from finetrial.training.ranks import ALONE, Ranks
from finetrial.training.step_plan import evaluation_flops_of
from finetrial.training.task import TuneTask
from finetrial.training.validation_plan import EvaluationPlan
from finetrial.trial.examples import Encoded

Measure = Callable[[Sequence[Encoded]], tuple[float | None, float]]  # the loss, and the seconds that it took


class Validation:
    """Measures losses of the model in tuning, and counts what that took in the run's state."""

    def __init__(
        self,
        task: TuneTask,
        setup: TrainingSetup,
        state: TuneState,
        *,
        plan: EvaluationPlan,
        meter: Meter,
        on_halved: Callable[[int], None],
        ranks: Ranks = ALONE,
        measure: Measure | None = None,
    ) -> None:
        """`on_halved` hears of a smaller micro-batch where memory ran out; `ranks` measure a share each.

        Losses come from `measure` where it is given.
        """
        self._ranks, self._measure = ranks, measure or self._timed
        self._task, self._setup, self._state, self._meter, self._on_halved = task, setup, state, meter, on_halved
        self._plan = plan
        chosen, rows = set(plan.rows), task.validation
        self.curve = rows if plan.whole else [rows[place] for place in plan.rows]
        self.others = [e for i, e in enumerate(() if plan.whole else rows) if i not in chosen and trained_tokens(e)]

    @property
    def curve_rows(self) -> int:
        return len(self._plan.rows)

    @property
    def all_rows(self) -> int:
        return self.curve_rows + len(self.others)

    def due(self, step: int) -> bool:
        return step in self._plan.steps

    def on_curve(self) -> float | None:
        """The loss on the plan's rows; None where none carries loss."""
        return self._loss(self.curve)

    def on_all(self, *, curve_loss: float | None) -> float | None:
        """The loss on every row. `curve_loss` is that of the same weights on the plan's rows, where it is known."""
        if self._task.keeps_row_losses:
            each = partial(self._while_evaluating, self._each_row)
            return self._loss([*self.curve, *self.others], each)
        if curve_loss is None or not self.curve:
            return self._loss([*self.curve, *self.others])
        other_loss = self._loss(self.others)
        if other_loss is None:
            return curve_loss
        on_curve, on_others = (sum(map(trained_tokens, rows)) for rows in (self.curve, self.others))
        return (curve_loss * on_curve + other_loss * on_others) / (on_curve + on_others)

    def _over_all(self, rows: Sequence[Encoded]) -> float | None:
        """The loss on the rows, of which each process measures a share."""
        if self._ranks.is_alone:
            return self._here(rows)
        lengths = [len(example.token_ids) for example in rows]
        shares = self._ranks.shares(range(len(rows)), lengths=lengths)
        of_all = [[rows[place] for place in share] for share in shares]
        mine = of_all[self._ranks.rank]
        found, count = self._here(mine) if mine else None, float(sum(map(trained_tokens, mine)))
        if self._setup.sharded is not None:
            self._keep_step(of_all)
        nats, tokens = self._ranks.sum_numbers((found or 0.0) * count, count)
        return nats / tokens if tokens else None

    def _keep_step(self, of_all: Sequence[Sequence[Encoded]]) -> None:
        """Pass as often as the process that passes most: every pass gathers weights from all."""
        model, micro_tokens = self._setup.loss_model, self._state.micro_tokens
        passes = [len(rows_of(model, share, micro_tokens=micro_tokens)) for share in of_all]
        everything = [example for share in of_all for example in share if trained_tokens(example)]
        shortest = min(everything, key=lambda example: len(example.token_ids), default=None)
        for _ in range(max(passes) - passes[self._ranks.rank]):
            assert shortest is not None
            loss_of(model, [shortest], micro_tokens=micro_tokens)

    def _here(self, rows: Sequence[Encoded]) -> float | None:
        if self._setup.sharded is not None:
            return loss_of(self._setup.loss_model, rows, micro_tokens=self._state.micro_tokens)
        return halving(
            lambda: loss_of(self._setup.loss_model, rows, micro_tokens=self._state.micro_tokens),
            micro_tokens=self._state.micro_tokens,
            longest=max(len(example.token_ids) for example in rows),
            on_halved=self._on_halved,
        )

    def _each_row(self, rows: Sequence[Encoded]) -> float | None:
        """The first process measures what each row costs and writes it; all hear the mean loss.

        Where every pass gathers weights from all processes, all pass with it.
        """
        sharded = self._setup.sharded is not None
        if not (sharded or self._ranks.is_first):
            found: float | None = self._ranks.send(None)
            return found

        def measure() -> tuple[float, ...]:
            return row_nats(self._setup.loss_model, rows, micro_tokens=self._state.micro_tokens)

        longest = max(len(example.token_ids) for example in rows)
        nats = (
            measure()
            if sharded
            else halving(measure, micro_tokens=self._state.micro_tokens, longest=longest, on_halved=self._on_halved)
        )
        if not self._ranks.is_first:
            found = self._ranks.send(None)
            return found
        costs = [RowCost(e.example_id, trained_tokens(e), n) for e, n in zip(rows, nats, strict=True)]
        write_rows(self._task.folder / "validation.jsonl", sorted(costs, key=lambda cost: cost.example_id))
        tokens = sum(cost.tokens for cost in costs)
        found = math.fsum(nats) / tokens if tokens else None
        self._ranks.send(found)
        return found

    def _timed(self, rows: Sequence[Encoded]) -> tuple[float | None, float]:
        return self._while_evaluating(self._over_all, rows)

    def _while_evaluating(
        self, measure: Callable[[Sequence[Encoded]], float | None], rows: Sequence[Encoded]
    ) -> tuple[float | None, float]:
        began = self._meter.seconds
        set_mode(self._setup.model, training=False, model_dropout=False)
        found = measure(rows)
        set_mode(self._setup.model, training=True, model_dropout=self._task.model_dropout)
        return found, self._meter.seconds - began

    def _loss(self, rows: Sequence[Encoded], measure: Measure | None = None) -> float | None:
        if not rows:
            return None
        found, seconds = (measure or self._measure)(rows)
        self._state.evaluation_seconds += seconds
        flops = evaluation_flops_of(self._setup.loss_model.base, self._task, rows)
        if flops is None or self._state.evaluation_flops is None:
            self._state.evaluation_flops = None
        else:
            self._state.evaluation_flops += flops
        return found
