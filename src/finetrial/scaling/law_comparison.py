"""How far the published laws disagree about the same question: a loss, a budget, the tokens that reach a loss."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.scaling.allocation import allocate, spend
from finetrial.scaling.published_laws import PRETRAINING_LAWS
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.target_loss import Outcome, Unreachable, reach, train


@dataclass(frozen=True)
class LawAnswer:
    """One law's answer to the same question."""

    law: str
    loss_before: float | None
    loss: float
    reachable: bool
    tokens_effective: float | None
    epochs_total: float | None
    tokens_processed: float | None
    floor: float
    nearest_loss: float | None  # where unreachable: the infimum of what this size, data and rule can do


def spread_over_laws(
    *,
    params: float,
    loss: float | None,
    improve: float | None,
    from_tokens: float | None,
    unique_tokens: float | None,
    rule: Rule,
) -> tuple[LawAnswer, ...]:
    """The same question under every named pretraining law.

    With `improve`, every law starts from its own loss at `from_tokens`: losses of different corpora and tokenizers
    do not compare, shares of them do so roughly. With `loss`, the number is taken as it stands under each.
    """
    answers = []
    for law in PRETRAINING_LAWS.values():
        before = None
        if improve is not None:
            assert from_tokens is not None
            start = train(law, params=params, tokens=from_tokens, unique_tokens=unique_tokens, rule=rule)
            before, target = start.loss, (1 - improve) * start.loss
        else:
            assert loss is not None
            target = loss
        found = reach(law, params=params, loss=target, unique_tokens=unique_tokens, rule=rule)
        reachable = not isinstance(found, Unreachable)
        answers.append(
            LawAnswer(
                law=law.name,
                loss_before=before,
                loss=target,
                reachable=reachable,
                tokens_effective=None if isinstance(found, Unreachable) else found.tokens_effective,
                epochs_total=None if isinstance(found, Unreachable) else found.epochs_total,
                tokens_processed=None if isinstance(found, Unreachable) else found.tokens_processed,
                floor=law.floor(params),
                nearest_loss=found.nearest_loss if isinstance(found, Unreachable) else None,
            )
        )
    return tuple(answers)


@dataclass(frozen=True)
class LawLoss:
    """One law's loss of the same run, and the floor at its size."""

    law: str
    loss: float
    floor: float


def losses_over_laws(
    *, params: float, tokens: float, unique_tokens: float | None, rule: Rule
) -> tuple[LawLoss, ...]:
    """The loss of one run under every named pretraining law; losses of different corpora do not compare."""
    return tuple(
        LawLoss(
            law.name,
            train(law, params=params, tokens=tokens, unique_tokens=unique_tokens, rule=rule).loss,
            law.floor(params),
        )
        for law in PRETRAINING_LAWS.values()
    )


@dataclass(frozen=True)
class LawBudget:
    """What one law says of a budget: the loss at the size asked about (None: no size was), and the best size."""

    law: str
    loss: float | None
    best: Outcome


def budgets_over_laws(
    *,
    params: float | None,
    flops: float,
    unique_tokens: float | None,
    rule: Rule,
    inference_tokens: float = 0.0,
) -> tuple[LawBudget, ...]:
    """The same budget and data under every named pretraining law."""
    found = []
    for law in PRETRAINING_LAWS.values():
        run = None
        if params is not None:
            run = spend(
                law,
                params=params,
                flops=flops,
                unique_tokens=unique_tokens,
                rule=rule,
                inference_tokens=inference_tokens,
            )
        best = allocate(
            law, flops=flops, unique_tokens=unique_tokens, rule=rule, inference_tokens=inference_tokens
        ).best
        found.append(LawBudget(law.name, None if run is None else run.loss, best))
    return tuple(found)
