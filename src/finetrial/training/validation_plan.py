"""Which validation rows are evaluated while an arm is tuned, and after which steps, for a tenth of its compute.

Counted in tokens that pass forward. A step of LoRA costs about two such passes over its tokens (forward, and the
gradient of what enters each layer), one of full tuning three (the gradient of the weights too): Kaplan et al. 2020,
section 2.1. The budget goes by LoRA's two whatever is tuned, so that all arms are looked at on the same rows after
the same steps, and stop early by the same rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.models.batches import trained_tokens
from finetrial.trial.examples import Encoded

SHARE = 0.1  # of an arm's compute: the start, the curve and the whole split at the end together
STEP_PASSES = 2  # forward passes that a step of LoRA costs
_TIMES = (10, 8, 6, 5, 4, 3, 2)  # after how many steps the loss is looked at, the end among them
LEAST_ROWS = 32  # a curve's rows, where there are as many. Assumption: below, their choice is seen in the curve
_LEAST_CURVE = 0.25  # of the budget stays for the curve where the whole split at the end takes more. Assumption
_FEWEST_ROWS = 8  # whatever the budget. Assumption


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The same rows at every evaluation, and the steps after which there is one."""

    steps: frozenset[int]
    rows: tuple[int, ...]  # places in the validation examples, ascending
    whole: bool  # they are all that carry loss


def _order(validation: Sequence[Encoded]) -> list[int]:
    """The places of the rows that carry loss in an order that depends on their ids alone: the same in every arm."""

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"evaluate\0{validation[place].example_id}".encode()).digest()

    return sorted((i for i, example in enumerate(validation) if trained_tokens(example)), key=rank)


def _first_rows(validation: Sequence[Encoded], *, tokens: float, least: int) -> tuple[int, ...]:
    """As many of the rows in that order as `tokens` allow, but `least` of them, or all; ascending."""
    chosen: list[int] = []
    for place in _order(validation):
        tokens -= len(validation[place].token_ids)
        if tokens < 0 and len(chosen) >= least:
            break
        chosen.append(place)
    return tuple(sorted(chosen))


def _spread(times: int, *, steps: int) -> frozenset[int]:
    return frozenset({0, steps, *(round(i * steps / times) for i in range(1, times))})


def plan_evaluations(
    validation: Sequence[Encoded],
    *,
    steps: int,
    train_tokens: int,
    evaluations: int | None,
    early_stopping: int | None = None,
) -> EvaluationPlan:
    """The plan for a run of `steps` steps over `train_tokens` tokens.

    `evaluations` times on every row where a number is given, none before the end for 0. None: at the start, and
    after as many steps, on as many rows, as `SHARE` of the run's compute allows when the whole split at the end has
    taken its part.
    """
    usable = _order(validation)
    if not usable or evaluations == 0:
        return EvaluationPlan(frozenset(), (), whole=False)
    if evaluations is not None:
        return EvaluationPlan(_spread(evaluations, steps=steps), tuple(sorted(usable)), whole=True)
    budget = SHARE * STEP_PASSES * train_tokens
    whole = sum(len(validation[place].token_ids) for place in usable)
    curve = max(budget - whole, _LEAST_CURVE * budget)
    enough = min(LEAST_ROWS, len(usable))
    fewest = 2 if early_stopping is None else early_stopping + 2  # else nothing could stop before the end
    rows: tuple[int, ...] = ()
    for times in dict.fromkeys(max(fewest, times) for times in _TIMES):
        # at the start and `times` times; the last is a part of the whole split at the end
        rows = _first_rows(validation, tokens=curve / times, least=_FEWEST_ROWS)
        if len(rows) >= enough:
            break
    return EvaluationPlan(_spread(times, steps=steps), rows, whole=len(rows) == len(usable))


def search_rows(validation: Sequence[Encoded], *, train_tokens: int) -> tuple[Encoded, ...]:
    """The rows on which the rates of a search are compared, each after its run over `train_tokens` tokens.

    The same for every rate: as many as a tenth of one run's compute allows, but `LEAST_ROWS`.
    """
    rows = _first_rows(validation, tokens=SHARE * STEP_PASSES * train_tokens, least=LEAST_ROWS)
    return tuple(validation[place] for place in rows)


def first_rows(validation: Sequence[Encoded], *, most: int) -> tuple[Encoded, ...]:
    """At most so many of the rows that carry loss, the same in every arm."""
    return tuple(validation[place] for place in sorted(_order(validation)[:most]))


def token_count(examples: Iterable[Encoded]) -> int:
    """Tokens that pass forward when these examples are evaluated."""
    return sum(len(example.token_ids) for example in examples)
