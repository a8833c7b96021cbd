"""`scale loss` and `scale epochs`: the loss that a law predicts for a run, or for a budget at a size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from finetrial.api.law_inputs import Question, Size, count, read_question, require_parametric
from finetrial.cli.output import JsonOption
from finetrial.cli.scale_best import best_rows, best_warnings, print_budgets, print_losses, unrounded_best
from finetrial.cli.scale_inputs import (
    DerivationFormat,
    ExplainOption,
    FormatOption,
    LawOption,
    RepeatOption,
    describe,
    law_warnings,
    outcome_rows,
    repetition_warnings,
    show,
)
from finetrial.cli.scale_sizes import GrowOption, SizesOption, read_grow, read_sizes, sizes_note
from finetrial.cli.scale_table import show_sizes
from finetrial.scaling.allocation import allocate, spend
from finetrial.scaling.derivation import Derivation
from finetrial.scaling.law_comparison import LawBudget, LawLoss, budgets_over_laws, losses_over_laws
from finetrial.scaling.laws import FinetuningLaw, ParametricLaw
from finetrial.scaling.target_loss import Outcome, train
from finetrial.scaling.worked_steps import explain_epochs, explain_loss
from finetrial.units import parse_count


@dataclass(frozen=True)
class _Answer:
    """One size's answer in every form it is shown in."""

    outcome: Outcome
    result: dict[str, Any]
    headline: str
    rows: list[tuple[str, str]]
    derivation: Derivation | None
    warnings: list[str]
    spread: tuple[LawLoss, ...] | tuple[LawBudget, ...]


def loss(
    params: SizesOption,
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens of one pass, as 4.1T.", metavar="D")],
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over these tokens.", metavar="E")] = None,
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    grow: GrowOption = None,
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The loss that a law predicts, its compute, and the floor at this size; beside it every law's."""
    question = read_question(law, repeat)
    sizes = read_sizes(params, law=question.law, grow=read_grow(grow))
    unique = count(tokens, "--tokens")
    passes = 1.0 if epochs is None else parse_count(epochs, what="--epochs")
    answers = [_loss_of(size, question, unique=unique, passes=passes, explain=explain) for size in sizes]
    if len(answers) > 1:
        _show_all(answers, sizes, question, as_json=as_json, form=form)
        return
    (answer,) = answers
    losses = tuple(row for row in answer.spread if isinstance(row, LawLoss))
    show(
        answer.result | {"spread": answer.spread},
        headline=answer.headline,
        rows=answer.rows,
        as_json=as_json,
        derivation=answer.derivation,
        form=form,
        warnings=[*sizes_note(sizes), *answer.warnings],
        after=lambda: print_losses(losses) if losses else None,
    )


def _loss_of(size: Size, question: Question, *, unique: float, passes: float, explain: bool) -> _Answer:
    law, rule = question.law, question.rule
    outcome = train(law, params=size.params, tokens=unique * passes, unique_tokens=unique, rule=rule)
    finetuning = isinstance(law, FinetuningLaw)
    flops = None if finetuning else outcome.flops_processed
    result = {
        "loss": outcome.loss,
        "flops": flops,
        "floor": law.floor(size.params),
        "params": size.params,
        "params_effective": outcome.params_effective,
        "epochs_total": passes,
        "tokens_effective": outcome.tokens_effective,
        "tokens_processed": outcome.tokens_processed,
        "law": describe(law),
        "repeat": rule.name,
    }
    rows = [row for row in outcome_rows(outcome)[1:] if not (finetuning and row[0] == "FLOPs")]
    if finetuning:
        result["flops_reason"] = "the law counts fine-tuning examples, not tokens"
        rows = [("examples" if label == "tokens" else label, value) for label, value in rows]
    if passes == 1:
        rows = [row for row in rows if row[0] != "epochs"]
    spread: tuple[LawLoss, ...] = ()
    if isinstance(law, ParametricLaw):
        spread = losses_over_laws(params=size.params, tokens=unique * passes, unique_tokens=unique, rule=rule)
    return _Answer(
        outcome,
        result,
        headline=f"loss {outcome.loss:.6g} nats a token, {size.label} parameters, {law.name}",
        rows=[("floor at this size", f"{law.floor(size.params):.6g}"), *rows],
        derivation=explain_loss(law, outcome=outcome, rule=rule) if explain else None,
        warnings=law_warnings(law, flops=flops) + repetition_warnings(rule, epochs=passes, law=law),
        spread=spread,
    )


def epochs(
    params: SizesOption,
    unique_tokens: Annotated[str, typer.Option("--unique-tokens", help="Different tokens, as 4.1T.", metavar="U")],
    flops: Annotated[str, typer.Option("--flops", help="The compute to spend, as 3.03e24.", metavar="C")],
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    grow: GrowOption = None,
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The epochs that a budget buys at a size, their loss, and the best size at the same cost."""
    question = read_question(law, repeat)
    parametric = require_parametric(question.law, purpose="`scale epochs`")
    sizes = read_sizes(params, law=parametric, grow=read_grow(grow))
    unique, budget = count(unique_tokens, "--unique-tokens"), count(flops, "--flops")
    best = allocate(parametric, flops=budget, unique_tokens=unique, rule=question.rule).best
    unrounded = unrounded_best(parametric, flops=budget, unique_tokens=unique, rule=question.rule)
    answers = [
        _epochs_of(size, parametric, question, budget=budget, unique=unique, best=best, explain=explain)
        for size in sizes
    ]
    of_best = {"best_at_same_cost": best, "best_unrounded": unrounded}
    if len(answers) > 1:
        _show_all(
            answers,
            sizes,
            question,
            as_json=as_json,
            form=form,
            more=of_best,
            rows=best_rows(parametric, best=best, unrounded=unrounded),
            warnings=best_warnings(parametric, unrounded=unrounded),
        )
        return
    (answer,) = answers
    show(
        answer.result | of_best | {"spread": answer.spread},
        headline=answer.headline,
        rows=[*answer.rows, *best_rows(parametric, best=best, unrounded=unrounded)],
        as_json=as_json,
        derivation=answer.derivation,
        form=form,
        warnings=[*sizes_note(sizes), *answer.warnings, *best_warnings(parametric, unrounded=unrounded)],
        after=lambda: print_budgets(tuple(row for row in answer.spread if isinstance(row, LawBudget))),
    )


def _epochs_of(
    size: Size,
    law: ParametricLaw,
    question: Question,
    *,
    budget: float,
    unique: float,
    best: Outcome,
    explain: bool,
) -> _Answer:
    rule = question.rule
    outcome = spend(law, params=size.params, flops=budget, unique_tokens=unique, rule=rule)
    assert outcome is not None
    assert outcome.epochs_total is not None
    result = {
        "epochs_total": outcome.epochs_total,
        "epochs_extra": max(0.0, outcome.epochs_total - 1),
        "loss": outcome.loss,
        "floor": law.floor(size.params),
        "tokens_processed": outcome.tokens_processed,
        "tokens_effective": outcome.tokens_effective,
        "flops_processed": outcome.flops_processed,
        "flops_effective": outcome.flops_effective,
        "params": size.params,
        "params_effective": outcome.params_effective,
        "unique_tokens": unique,
        "law": describe(law),
        "repeat": rule.name,
    }
    rows = outcome_rows(outcome)
    if outcome.epochs_total > 1:
        both = f"{outcome.epochs_total:.4g} in all, {outcome.epochs_total - 1:.4g} beyond the first"
        rows = [(label, both if label == "epochs" else value) for label, value in rows]
    return _Answer(
        outcome,
        result,
        headline=f"{outcome.epochs_total:.4g} epochs for {budget:.5g} FLOPs, {size.label} parameters, {law.name}",
        rows=rows,
        derivation=explain_epochs(law, outcome=outcome, rule=rule, best=best, flops=budget) if explain else None,
        warnings=law_warnings(law, flops=budget) + repetition_warnings(rule, epochs=outcome.epochs_total, law=law),
        spread=budgets_over_laws(params=size.params, flops=budget, unique_tokens=unique, rule=rule),
    )


def _show_all(
    answers: list[_Answer],
    sizes: tuple[Size, ...],
    question: Question,
    *,
    as_json: bool,
    form: DerivationFormat,
    more: dict[str, Any] | None = None,
    rows: list[tuple[str, str]] | None = None,
    warnings: list[str] | None = None,
) -> None:
    """Several sizes: one table, or one JSON object that lists them."""
    said = [*sizes_note(sizes), *(line for answer in answers for line in answer.warnings), *(warnings or [])]
    show_sizes(
        [
            {"label": size.label} | answer.result | {"spread": answer.spread}
            for size, answer in zip(sizes, answers, strict=True)
        ],
        outcomes=[(size.label, answer.outcome) for size, answer in zip(sizes, answers, strict=True)],
        derivations=[answer.derivation for answer in answers if answer.derivation is not None],
        law=question.law,
        rule=question.rule,
        as_json=as_json,
        form=form,
        more=more or {},
        rows=rows or [],
        warnings=list(dict.fromkeys(said)),
    )
