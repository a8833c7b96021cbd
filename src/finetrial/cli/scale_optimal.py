"""The size and the data with the least loss for a budget: `scale optimal`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from finetrial.api.law_inputs import count, optional_count, read_question, require_parametric
from finetrial.cli.output import JsonOption
from finetrial.cli.scale_best import WHY_BOTH, print_budgets, unrounded_of
from finetrial.cli.scale_inputs import (
    DerivationFormat,
    ExplainOption,
    FormatOption,
    LawOption,
    RepeatOption,
    UniqueOption,
    describe,
    law_warnings,
    outcome_rows,
    repetition_warnings,
    show,
)
from finetrial.errors import UserError
from finetrial.scaling.allocation import Allocation, allocate
from finetrial.scaling.law_comparison import budgets_over_laws
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.published_laws import HOFFMANN2022
from finetrial.scaling.worked_steps import explain_optimal
from finetrial.units import format_count, parse_count


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
    unrounded, other = None, unrounded_of(parametric)
    if other is not None:
        unrounded = solve(other).best
        warnings.append(
            f"{parametric.name} has rounded constants, which place an optimum badly: "
            f"{best.tokens_processed / best.params:.0f} tokens a parameter here, "
            f"{unrounded.tokens_processed / unrounded.params:.0f} with {other.name} "
            f"({format_count(unrounded.params)} parameters, {format_count(unrounded.tokens_processed)} tokens)"
        )
    elif parametric.name == HOFFMANN2022.unrounded_name:
        printed = solve(HOFFMANN2022).best
        warnings.append(
            f"{HOFFMANN2022.name}, by which losses, tokens and epochs are answered unless --law says otherwise, "
            f"has {format_count(printed.params)} here: {WHY_BOTH}"
        )
    elif parametric.rounded:
        warnings.append(f"{parametric.name} has rounded constants, which place an optimum badly")
    answers = budgets_over_laws(
        params=None, flops=budget, unique_tokens=unique, rule=question.rule, inference_tokens=served
    )
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
        "spread": answers,
        "law": describe(parametric),
        "repeat": question.rule.name,
    }
    if best.epochs_total is None:
        result["epochs_reason"] = "undefined without --unique-tokens"
    neighbours = [("half the size", found.half), ("twice the size", found.twice)]
    rows = [
        *outcome_rows(best),
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
        after=lambda: print_budgets(answers),
    )
