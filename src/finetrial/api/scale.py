"""Scaling laws in Python, as `finetrial.scale`: loss, tokens, epochs, the best size, a law fitted to your own runs.

Counts are numbers or texts such as "67B"; a size may also be a model's name or shape. A law is a name, constants
such as "E=1.8,A=482,B=2085,alpha=0.35,beta=0.37", a file of `finetrial scale fit --save`, or the `law` of a fit.
`repeat` is the rule of what repeated passes are worth. Losses are nats a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from finetrial.api.law_inputs import count, optional_count, read_question, require_parametric, size_of
from finetrial.errors import UserError
from finetrial.scaling.allocation import Allocation, allocate, spend
from finetrial.scaling.laws import Law
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.target_loss import Outcome, Unreachable, reach, train
from finetrial.units import parse_count, parse_share

if TYPE_CHECKING:
    from finetrial.api.scale_fit import FittedLaw
    from finetrial.footprint.structure import Shape

    Size: TypeAlias = str | float | Shape

Count: TypeAlias = str | float


def loss(
    params: Size,
    tokens: Count,
    *,
    epochs: float = 1.0,
    law: str | Law = "hoffmann2022",
    repeat: str | Rule = "none",
) -> Outcome:
    """The loss that a law predicts for a size and `epochs` passes over so many tokens, and its compute."""
    question = read_question(law, repeat)
    size, unique = size_of(params, law=question.law), count(tokens, "tokens")
    return train(question.law, params=size.params, tokens=unique * epochs, unique_tokens=unique, rule=question.rule)


def tokens(
    params: Size,
    *,
    loss: float | None = None,
    improve: Count | None = None,
    from_tokens: Count | None = None,
    flops: Count | None = None,
    unique_tokens: Count | None = None,
    law: str | Law = "hoffmann2022",
    repeat: str | Rule = "none",
) -> Outcome | Unreachable:
    """The least training that reaches a loss, or that lies a share below the loss of a run so far, or that `flops`
    buy; where nothing reaches the loss, why.

    Raises UserError unless one of `loss`, `improve` with `from_tokens`, and `flops` is given.
    """
    question = read_question(law, repeat)
    size, unique = size_of(params, law=question.law).params, optional_count(unique_tokens, "unique_tokens")
    so_far = optional_count(from_tokens, "from_tokens")
    aims = sum(aim is not None for aim in (loss, improve, flops))
    if aims != 1 or (improve is None) != (so_far is None):
        raise UserError(
            "give one aim: a loss, a share with the tokens so far, or a budget",
            expected='loss=1.88, improve="1%" with from_tokens="4.1T", or flops=1e21',
        )
    rule = question.rule
    if flops is not None:
        bought = spend(question.law, params=size, flops=count(flops, "flops"), unique_tokens=unique, rule=rule)
        assert bought is not None  # nothing of the budget goes to serving
        return bought
    if unique is None and rule.name != "none":
        unique = so_far  # the run so far saw each of its tokens once
        if unique is None:
            raise UserError(f"the rule {rule.name} needs unique_tokens", expected="a count such as 4.1T")
    if improve is not None:
        assert so_far is not None
        share = parse_share(improve, what="improve")
        before = train(question.law, params=size, tokens=so_far, unique_tokens=unique, rule=rule)
        loss = (1 - share) * before.loss
    assert loss is not None
    return reach(question.law, params=size, loss=loss, unique_tokens=unique, rule=rule)


def epochs(
    params: Size,
    *,
    unique_tokens: Count,
    flops: Count,
    law: str | Law = "hoffmann2022",
    repeat: str | Rule = "none",
) -> Outcome:
    """The epochs over so many different tokens that a budget buys at a size, and their loss."""
    question = read_question(law, repeat)
    outcome = spend(
        question.law,
        params=size_of(params, law=question.law).params,
        flops=count(flops, "flops"),
        unique_tokens=count(unique_tokens, "unique_tokens"),
        rule=question.rule,
    )
    assert outcome is not None  # nothing of the budget goes to serving
    return outcome


def optimal(
    flops: Count,
    *,
    unique_tokens: Count | None = None,
    inference_tokens: Count = 0,
    law: str | Law = "hoffmann2022-unrounded",
    repeat: str | Rule = "none",
) -> Allocation:
    """The size and the data with the least loss for a budget that also pays for serving `inference_tokens`."""
    question = read_question(law, repeat)
    unique = optional_count(unique_tokens, "unique_tokens")
    if unique is None and question.rule.name != "none":
        raise UserError(f"the rule {question.rule.name} needs unique_tokens", expected="a count such as 4.1T")
    return allocate(
        require_parametric(question.law, purpose="a compute-optimal size"),
        flops=count(flops, "flops"),
        unique_tokens=unique,
        rule=question.rule,
        inference_tokens=parse_count(inference_tokens, what="inference_tokens", zero=True),
    )


def fit(
    runs: Any,
    *,
    columns: str | None = None,
    units: str | None = None,
    where: tuple[str, ...] = (),
    huber: float = 1e-3,
    name: str = "fitted",
) -> FittedLaw:
    """Fit a law to your own runs: a .csv file, or rows with params, tokens or flops, and loss.

    `columns`, `units` and `where` are those of `finetrial scale fit`. Raises UserError for rows that cannot be
    read, and AnswerIsNo, with the reason, where the runs support no law.
    """
    from finetrial.api.scale_fit import fit_runs

    return fit_runs(runs, columns=columns, units=units, where=where, huber=huber, name=name)
