"""What does a law say before a run: `scale loss`, `scale epochs`, `scale optimal`?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from finetrial.cli.output import JsonOption
from finetrial.cli.scale_inputs import (
    DerivationFormat,
    ExplainOption,
    FormatOption,
    LawOption,
    ParamsOption,
    RepeatOption,
    UniqueOption,
    count,
    describe,
    law_warnings,
    optional_count,
    read_question,
    repetition_warnings,
    require_parametric,
    show,
)
from finetrial.errors import UserError
from finetrial.scaling.allocation import Allocation, allocate, spend
from finetrial.scaling.exercises import explain_epochs, explain_loss, explain_optimal
from finetrial.scaling.laws import FinetuningLaw, ParametricLaw
from finetrial.scaling.named import law_by_name
from finetrial.scaling.reach import Outcome, train
from finetrial.units import format_count, parse_count


def _rows_of(outcome: Outcome) -> list[tuple[str, str]]:
    rows = [("loss", f"{outcome.loss:.6g} nats a token")]
    if outcome.epochs_total is not None:
        rows.append(
            ("epochs", f"{outcome.epochs_total:.4g} over {format_count(outcome.unique_tokens or 0)} tokens")
        )
    if outcome.tokens_effective != outcome.tokens_processed:
        rows += [
            ("tokens, effective", f"{format_count(outcome.tokens_effective)}  (they set the loss)"),
            ("tokens, processed", f"{format_count(outcome.tokens_processed)}  (they set the cost)"),
        ]
    else:
        rows.append(("tokens", format_count(outcome.tokens_processed)))
    if outcome.params_effective != outcome.params:
        rows.append(("parameters, effective", format_count(outcome.params_effective)))
    rows.append(("FLOPs", f"{outcome.flops_processed:.5g}"))
    return rows


def loss(
    params: ParamsOption,
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens of one pass, as 4.1T.", metavar="D")],
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over these tokens.", metavar="E")] = None,
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The loss that a law predicts, its compute, and the floor at this size."""
    question = read_question(law, repeat)
    size, unique = count(params, "--params"), count(tokens, "--tokens")
    passes = 1.0 if epochs is None else parse_count(epochs, what="--epochs")
    outcome = train(question.law, params=size, tokens=unique * passes, unique_tokens=unique, rule=question.rule)
    finetuning = isinstance(question.law, FinetuningLaw)
    flops = None if finetuning else outcome.flops_processed
    warnings = law_warnings(question.law, flops=flops)
    warnings += repetition_warnings(question.rule, epochs=passes, law=question.law)
    result = {
        "loss": outcome.loss,
        "flops": flops,
        "floor": question.law.floor(size),
        "params": size,
        "params_effective": outcome.params_effective,
        "epochs_total": passes,
        "tokens_effective": outcome.tokens_effective,
        "tokens_processed": outcome.tokens_processed,
        "law": describe(question.law),
        "repeat": question.rule.name,
    }
    rows = [row for row in _rows_of(outcome)[1:] if not (finetuning and row[0] == "FLOPs")]
    if finetuning:
        result["flops_reason"] = "the law counts fine-tuning examples, not tokens"
        rows = [("examples" if label == "tokens" else label, value) for label, value in rows]
    if passes == 1:
        rows = [row for row in rows if row[0] != "epochs"]
    show(
        result,
        headline=f"loss {outcome.loss:.6g} nats a token, {format_count(size)} parameters, {question.law.name}",
        rows=[("floor at this size", f"{question.law.floor(size):.6g}"), *rows],
        as_json=as_json,
        derivation=explain_loss(question.law, outcome=outcome, rule=question.rule) if explain else None,
        form=form,
        warnings=warnings,
    )


def epochs(
    params: ParamsOption,
    unique_tokens: Annotated[str, typer.Option("--unique-tokens", help="Different tokens, as 4.1T.", metavar="U")],
    flops: Annotated[str, typer.Option("--flops", help="The compute to spend, as 3.03e24.", metavar="C")],
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The epochs that a budget buys at a size, their loss, and the best size at the same cost."""
    question = read_question(law, repeat)
    parametric = require_parametric(question.law, purpose="`scale epochs`")
    size, unique = count(params, "--params"), count(unique_tokens, "--unique-tokens")
    budget = count(flops, "--flops")
    outcome = spend(parametric, params=size, flops=budget, unique_tokens=unique, rule=question.rule)
    assert outcome is not None
    best = allocate(parametric, flops=budget, unique_tokens=unique, rule=question.rule).best
    warnings = law_warnings(parametric, flops=budget)
    warnings += repetition_warnings(question.rule, epochs=outcome.epochs_total, law=parametric)
    if parametric.rounded:
        warnings.append(f"{parametric.name} has rounded constants: its best size is biased, its losses less so")
    result = {
        "epochs_total": outcome.epochs_total,
        "loss": outcome.loss,
        "floor": parametric.floor(size),
        "tokens_processed": outcome.tokens_processed,
        "tokens_effective": outcome.tokens_effective,
        "flops_processed": outcome.flops_processed,
        "flops_effective": outcome.flops_effective,
        "params": size,
        "params_effective": outcome.params_effective,
        "unique_tokens": unique,
        "best_at_same_cost": best,
        "law": describe(parametric),
        "repeat": question.rule.name,
    }
    show(
        result,
        headline=f"{outcome.epochs_total:.4g} epochs for {budget:.5g} FLOPs, {format_count(size)} parameters, "
        f"{parametric.name}",
        rows=[
            *_rows_of(outcome),
            (
                "best at this cost",
                f"{format_count(best.params)} parameters, {best.epochs_total:.4g} epochs, loss {best.loss:.6g}",
            ),
        ],
        as_json=as_json,
        derivation=explain_epochs(parametric, outcome=outcome, rule=question.rule, best=best, flops=budget)
        if explain
        else None,
        form=form,
        warnings=warnings,
    )


def optimal(
    flops: Annotated[str, typer.Option("--flops", help="The compute to spend, as 3.03e24.", metavar="C")],
    unique_tokens: UniqueOption = None,
    repeat: RepeatOption = "none",
    inference_tokens: Annotated[
        str | None,
        typer.Option("--inference-tokens", help="Tokens to be served out of the same budget.", metavar="T"),
    ] = None,
    law: LawOption = "hoffmann2022-unrounded",
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The size and the data with the least loss for a budget, and how flat that optimum is."""
    question = read_question(law, repeat)
    parametric = require_parametric(question.law, purpose="`scale optimal`")
    budget = count(flops, "--flops")
    unique = optional_count(unique_tokens, "--unique-tokens")
    if unique is None and question.rule.name != "none":
        raise UserError(f"--repeat {question.rule.name} needs --unique-tokens", expected="a count such as 4.1T")
    served = 0.0
    if inference_tokens is not None:
        served = parse_count(inference_tokens, what="--inference-tokens", zero=True)

    def solve(under: ParametricLaw) -> Allocation:
        return allocate(under, flops=budget, unique_tokens=unique, rule=question.rule, inference_tokens=served)

    found = solve(parametric)
    best = found.best
    warnings = law_warnings(parametric, flops=budget)
    warnings += repetition_warnings(question.rule, epochs=best.epochs_total, law=parametric)
    unrounded = None
    if parametric.rounded and parametric.unrounded_name is not None:
        other = law_by_name(parametric.unrounded_name)
        assert isinstance(other, ParametricLaw)
        unrounded = solve(other).best
        warnings.append(
            f"{parametric.name} has rounded constants, which place an optimum badly: "
            f"{best.tokens_processed / best.params:.0f} tokens a parameter here, "
            f"{unrounded.tokens_processed / unrounded.params:.0f} with {other.name} "
            f"({format_count(unrounded.params)} parameters, {format_count(unrounded.tokens_processed)} tokens)"
        )
    elif parametric.rounded:
        warnings.append(f"{parametric.name} has rounded constants, which place an optimum badly")
    result: dict[str, Any] = {
        "params": best.params,
        "tokens": best.tokens_processed,
        "epochs_total": best.epochs_total,
        "loss": best.loss,
        "tokens_effective": best.tokens_effective,
        "params_effective": best.params_effective,
        "tokens_per_param": best.tokens_processed / best.params,
        "flops": budget,
        "flops_training": best.flops_processed,
        "unique_tokens": unique,
        "inference_tokens": served,
        "neighbours": {"half": found.half, "twice": found.twice},
        "unrounded": unrounded,
        "law": describe(parametric),
        "repeat": question.rule.name,
    }
    if best.epochs_total is None:
        result["epochs_reason"] = "undefined without --unique-tokens"
    neighbours = [("half the size", found.half), ("twice the size", found.twice)]
    rows = [
        *_rows_of(best),
        *(
            (
                label,
                "no budget left after serving"
                if run is None
                else f"loss {run.loss:.6g} ({run.loss - best.loss:+.5f}), "
                f"{format_count(run.tokens_processed)} tokens",
            )
            for label, run in neighbours
        ),
    ]
    show(
        result,
        headline=f"{format_count(best.params)} parameters on {format_count(best.tokens_processed)} tokens "
        f"({best.tokens_processed / best.params:.3g} a parameter), {parametric.name}",
        rows=rows,
        as_json=as_json,
        derivation=explain_optimal(parametric, allocation=found, rule=question.rule) if explain else None,
        form=form,
        warnings=warnings,
    )
