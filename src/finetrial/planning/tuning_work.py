"""How much work tuning, evaluating and searching are: steps, tokens and FLOPs, from the examples' lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.footprint.adapters import Method
from finetrial.footprint.beside import Beside
from finetrial.footprint.flops import forward_flops, step_flops
from finetrial.footprint.structure import Shape
from finetrial.planning.token_counts import ArmTokens

# The rule of training/validation_plan.py, by which a run without `evaluations` spends a tenth of its compute on
# them; tests hold the two together.
_SHARE, _STEP_PASSES = 0.1, 2
_TIMES = (10, 8, 6, 5, 4, 3, 2)
_ENOUGH_ROWS, _FEWEST_ROWS, _LEAST_CURVE = 32, 8, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRule:
    """How learning rates are searched: in short runs, each a share of the steps but no fewer than the least."""

    rates: int
    share: float
    least_steps: int

    def share_of(self, steps: int) -> float:
        """The share of an arm's steps that each rate is tuned for."""
        return min(1.0, max(self.share, self.least_steps / steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningWork:
    """One training run."""

    steps: int
    lengths: tuple[int, ...]  # of the examples that it takes, epoch after epoch
    trained_tokens: int
    flops: float
    evaluation_flops: float
    evaluations: int  # on the curve, the start included
    curve_rows: int

    @property
    def tokens(self) -> int:
        return sum(self.lengths)


def batch_count(lengths: Sequence[int], *, batch_tokens: int) -> int:
    """How many optimizer steps take these examples, each as many as `batch_tokens` allow, but one."""
    steps, taken = 0, 0
    for length in lengths:
        if not taken or taken + length > batch_tokens:
            steps, taken = steps + 1, 0
        taken += length
    return steps


def taken_lengths(lengths: Sequence[int], *, epochs: float) -> tuple[int, ...]:
    """The lengths of the examples of so many epochs; a part of an epoch takes that share, at least one."""
    wanted = max(1, round(epochs * len(lengths)))
    whole, rest = divmod(wanted, len(lengths))
    # every k-th, so that a part of an epoch is like the whole of it
    part = [lengths[place * len(lengths) // rest] for place in range(rest)]
    return (*(tuple(lengths) * whole), *part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """When the validation loss is measured, the start included, on how many rows, and the tokens of it all."""

    times: int
    curve_rows: int
    tokens: float


def evaluations_of(
    validation: Sequence[int],
    *,
    train_tokens: int,
    evaluations: int | None,
    early_stopping: int | None = None,
) -> Evaluations:
    """What evaluating comes to for a run over `train_tokens` tokens; `evaluations` None: a tenth of the compute."""
    if not validation or evaluations == 0:
        return Evaluations(times=0, curve_rows=0, tokens=float(sum(validation)))
    whole = sum(validation)
    if evaluations is not None:
        times = evaluations + 1
        return Evaluations(times=times, curve_rows=len(validation), tokens=float(times * whole))
    budget = _SHARE * _STEP_PASSES * train_tokens
    curve = max(budget - whole, _LEAST_CURVE * budget)
    enough = min(_ENOUGH_ROWS, len(validation))
    fewest = 2 if early_stopping is None else early_stopping + 2
    mean = whole / len(validation)
    times, rows = fewest, 0
    for times in dict.fromkeys(max(fewest, candidate) for candidate in _TIMES):
        rows = min(len(validation), max(_FEWEST_ROWS, math.floor(curve / times / mean)))
        if rows >= enough:
            break
    on_curve = rows * mean
    # at the start and `times` times, and then the rest of the split
    return Evaluations(times=times + 1, curve_rows=rows, tokens=(times + 1) * on_curve + max(0.0, whole - on_curve))


def tuning_work(
    shape: Shape,
    tokens: ArmTokens,
    *,
    method: Method,
    epochs: float,
    batch_tokens: int,
    checkpointing: bool,
    evaluations: int | None,
    early_stopping: int | None = None,
) -> TuningWork:
    """One training run over the arm's examples."""
    lengths = taken_lengths(tokens.train, epochs=epochs)
    trained = round(tokens.train_loss * sum(lengths) / sum(tokens.train))
    flops = step_flops(
        shape, method=method, lengths=lengths, loss_tokens=min(trained, sum(lengths)), checkpointing=checkpointing
    ).total
    plan = evaluations_of(
        tokens.validation, train_tokens=sum(lengths), evaluations=evaluations, early_stopping=early_stopping
    )
    return TuningWork(
        steps=batch_count(lengths, batch_tokens=batch_tokens),
        lengths=lengths,
        trained_tokens=trained,
        flops=float(flops),
        evaluation_flops=evaluation_flops(shape, tokens, method=method, read=plan.tokens),
        evaluations=plan.times,
        curve_rows=plan.curve_rows,
    )


def evaluation_flops(shape: Shape, tokens: ArmTokens, *, method: Method, read: float) -> float:
    """What a loss on `read` tokens of the validation split needs."""
    if not tokens.validation or not read:
        return 0.0
    once = forward_flops(
        shape,
        lengths=tokens.validation,
        head_tokens=min(tokens.validation_loss, sum(tokens.validation)),
        adapter=method if isinstance(method, Beside) else None,
    ).total
    return once * read / sum(tokens.validation)


def search_tokens(tokens: ArmTokens, *, train_tokens: int) -> float:
    """Of the validation rows on which the rates of a search are compared, each after its short run."""
    if not tokens.validation:
        return 0.0
    count = len(tokens.validation)
    mean = sum(tokens.validation) / count
    return min(count, max(_ENOUGH_ROWS, math.floor(_SHARE * _STEP_PASSES * train_tokens / mean))) * mean
