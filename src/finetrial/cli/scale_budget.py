"""The tokens that a budget buys at a size: `scale tokens --flops`."""

from __future__ import annotations

from typing import Any

from finetrial.api.law_inputs import Question, Size, count, require_parametric
from finetrial.cli.scale_best import best_rows, best_warnings, print_budgets, unrounded_best, unrounded_of
from finetrial.cli.scale_inputs import (
    DerivationFormat,
    describe,
    law_warnings,
    outcome_rows,
    repetition_warnings,
    show,
)
from finetrial.cli.scale_sizes import sizes_note
from finetrial.cli.scale_table import show_sizes
from finetrial.errors import UserError
from finetrial.scaling.allocation import allocate, spend
from finetrial.scaling.law_comparison import budgets_over_laws
from finetrial.scaling.laws import ParametricLaw, training_flops
from finetrial.scaling.target_loss import Outcome
from finetrial.scaling.worked_steps import explain_spend
from finetrial.units import format_count


def answer_budget(
    sizes: tuple[Size, ...],
    question: Question,
    *,
    flops: str,
    unique: float | None,
    as_json: bool,
    explain: bool,
    form: DerivationFormat,
) -> None:
    """Print D = C / (6 N) for each size, its loss, and the best size at the same cost."""
    law, rule = require_parametric(question.law, purpose="`scale tokens --flops`"), question.rule
    if unique is None and rule.name != "none":
        raise UserError(f"--repeat {rule.name} needs --unique-tokens", expected="a count such as 4.1T")
    budget = count(flops, "--flops")
    best = allocate(law, flops=budget, unique_tokens=unique, rule=rule).best
    unrounded = unrounded_best(law, flops=budget, unique_tokens=unique, rule=rule)
    outcomes = [spend(law, params=size.params, flops=budget, unique_tokens=unique, rule=rule) for size in sizes]
    bought = [(size, outcome) for size, outcome in zip(sizes, outcomes, strict=True) if outcome is not None]
    derivations = [explain_spend(law, outcome=run, rule=rule, flops=budget) for _, run in bought] if explain else []
    warnings = [*sizes_note(sizes), *law_warnings(law, flops=budget)]
    longest = max((run.epochs_total or 0.0 for _, run in bought), default=0.0)
    warnings += repetition_warnings(rule, epochs=longest, law=law)
    warnings += best_warnings(law, unrounded=unrounded)
    more = {"best_at_same_cost": best, "best_unrounded": unrounded}
    rows = best_rows(law, best=best, unrounded=unrounded)
    if len(sizes) > 1:
        show_sizes(
            [_result(size, run, law=law, rule_name=rule.name) for size, run in bought],
            outcomes=[(size.label, run) for size, run in bought],
            derivations=derivations,
            law=law,
            rule=rule,
            as_json=as_json,
            form=form,
            more=more,
            rows=rows,
            warnings=warnings,
        )
        return
    ((size, run),) = bought
    spread = budgets_over_laws(params=size.params, flops=budget, unique_tokens=unique, rule=rule)
    own_law = unrounded_of(law) or law
    deserved = own_law.optimal_tokens_for_params(size.params)
    show(
        _result(size, run, law=law, rule_name=rule.name) | more | {"tokens_where_best": deserved, "spread": spread},
        headline=f"{format_count(run.tokens_processed)} tokens for {size.label} parameters at {budget:.4g} FLOPs "
        f"({run.tokens_processed / run.params:.4g} a parameter)",
        rows=[
            *outcome_rows(run),
            ("floor at this size", f"{law.floor(size.params):.6g}"),
            *rows,
            (
                "this size is best",
                f"on {format_count(deserved)} tokens, {training_flops(size.params, tokens=deserved):.4g} FLOPs, "
                f"{own_law.name}",
            ),
        ],
        as_json=as_json,
        derivation=derivations[0] if derivations else None,
        form=form,
        warnings=warnings,
        after=lambda: print_budgets(spread),
    )


def _result(size: Size, run: Outcome, *, law: ParametricLaw, rule_name: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "label": size.label,
        "params": size.params,
        "params_effective": run.params_effective,
        "tokens_processed": run.tokens_processed,
        "tokens_effective": run.tokens_effective,
        "tokens_per_param": run.tokens_processed / run.params,
        "epochs_total": run.epochs_total,
        "loss": run.loss,
        "floor": law.floor(size.params),
        "flops_processed": run.flops_processed,
        "unique_tokens": run.unique_tokens,
        "law": describe(law),
        "repeat": rule_name,
    }
    if run.epochs_total is None:
        result["epochs_reason"] = "undefined without --unique-tokens"
    return result
