"""Which tokens and epochs reach a loss, and at which two costs: `scale tokens`?"""

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
    print_rows,
    read_question,
    repetition_warnings,
    require_parametric,
    show,
)
from finetrial.errors import UserError
from finetrial.scaling.allocation import at_same_cost
from finetrial.scaling.exercises import explain_tokens
from finetrial.scaling.laws import Law, ParametricLaw
from finetrial.scaling.reach import Outcome, Unreachable, reach, train
from finetrial.scaling.repetition import Rule
from finetrial.scaling.spread import LawAnswer, spread_over_laws
from finetrial.units import format_count, parse_count, parse_share

_HIGHEST_LOSS = 30.0  # guessing among a million words costs ln 1e6 = 13.8 nats a token


def tokens(
    params: ParamsOption,
    target: Annotated[str | None, typer.Option("--loss", help="The loss to reach.", metavar="L")] = None,
    improve: Annotated[
        str | None, typer.Option("--improve", help="Lower the loss by this share, as 1%.", metavar="SHARE")
    ] = None,
    from_tokens: Annotated[
        str | None, typer.Option("--from-tokens", help="With --improve: the tokens so far.", metavar="D")
    ] = None,
    unique_tokens: UniqueOption = None,
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The tokens and epochs that reach a loss, with both costs; exit status 1 when nothing reaches it."""
    question = read_question(law, repeat)
    size = count(params, "--params")
    if (target is None) == (improve is None):
        raise UserError(
            "give either --loss or --improve", expected="--loss 1.88, or --improve 1% --from-tokens 4.1T"
        )
    if (improve is None) != (from_tokens is None):
        raise UserError("--improve and --from-tokens belong together", expected="--improve 1% --from-tokens 4.1T")
    start = optional_count(from_tokens, "--from-tokens")
    unique = optional_count(unique_tokens, "--unique-tokens")
    if unique is None and question.rule.name != "none":
        unique = start  # the run so far saw each of its tokens once
        if unique is None:
            raise UserError(f"--repeat {question.rule.name} needs --unique-tokens", expected="a count such as 4.1T")
    before, share = None, None
    if improve is not None:
        assert start is not None
        share = parse_share(improve, what="--improve")
        if not 0 < share < 1:
            raise UserError("--improve must lie between 0 and 100 %, both excluded", got=repr(improve))
        before = train(question.law, params=size, tokens=start, unique_tokens=unique, rule=question.rule)
        aim = (1 - share) * before.loss
    else:
        assert target is not None
        aim = parse_count(target, what="--loss")
        if aim > _HIGHEST_LOSS:
            raise UserError(
                "--loss is out of range", got=repr(target), expected=f"nats a token, to {_HIGHEST_LOSS:g}"
            )
    found = reach(question.law, params=size, loss=aim, unique_tokens=unique, rule=question.rule)
    answers = spread_over_laws(
        params=size,
        loss=None if share is not None else aim,
        improve=share,
        from_tokens=start,
        unique_tokens=unique,
        rule=question.rule,
    )
    if isinstance(found, Unreachable):
        _show_unreachable(
            found, law=question.law, rule=question.rule, before=before, answers=answers, as_json=as_json
        )
        raise typer.Exit(1)
    _show_reached(
        found,
        law=question.law,
        rule=question.rule,
        before=before,
        share=share,
        answers=answers,
        as_json=as_json,
        explain=explain,
        form=form,
    )


def _show_reached(
    found: Outcome,
    *,
    law: Law,
    rule: Rule,
    before: Outcome | None,
    share: float | None,
    answers: tuple[LawAnswer, ...],
    as_json: bool,
    explain: bool,
    form: DerivationFormat,
) -> None:
    extra = None
    if found.epochs_total is not None:
        epochs_before = before.epochs_total if before is not None and before.epochs_total is not None else 1.0
        extra = max(0.0, found.epochs_total - epochs_before)
    warnings = law_warnings(law, flops=found.flops_processed)
    warnings += repetition_warnings(rule, epochs=found.epochs_total, law=law)
    result: dict[str, Any] = {
        "reachable": True,
        "loss": found.loss,
        "loss_before": None if before is None else before.loss,
        "flops_before": None if before is None else before.flops_processed,
        "floor": law.floor(found.params),
        "tokens_effective": found.tokens_effective,
        "flops_effective": found.flops_effective,
        "epochs_extra": extra,
        "epochs_total": found.epochs_total,
        "tokens_processed": found.tokens_processed,
        "flops_processed": found.flops_processed,
        "params": found.params,
        "params_effective": found.params_effective,
        "unique_tokens": found.unique_tokens,
        "law": describe(law),
        "repeat": rule.name,
        "spread": answers,
    }
    if found.epochs_total is None:
        result["epochs_reason"] = "undefined without --unique-tokens"
    repeated = found.epochs_total is not None and found.epochs_total > 1 and rule.name != "none"
    if repeated and isinstance(law, ParametricLaw):
        result["same_cost"] = [
            at_same_cost(law, outcome=found, flops=flops, rule=rule)
            for flops in (found.flops_effective, found.flops_processed)
        ]
    rows = [("floor at this size", f"{law.floor(found.params):.6g}")]
    if before is not None:
        rows.append(("loss so far", f"{before.loss:.6g}  ({before.flops_processed:.5g} FLOPs)"))
    rows.append(
        ("effective", f"{format_count(found.tokens_effective)} tokens, {found.flops_effective:.5g} FLOPs if fresh")
    )
    if found.epochs_total is not None and extra is not None:
        rows.append(
            (
                "processed",
                f"{format_count(found.tokens_processed)} tokens, {found.flops_processed:.5g} FLOPs to pay",
            )
        )
        rows.append(("epochs", f"{found.epochs_total:.4g} in all, {extra:.4g} further ones (rule {rule.name})"))
    derivation = None
    if explain:
        derivation = explain_tokens(
            require_parametric(law, purpose="--explain"), before=before, improve=share, after=found, rule=rule
        )
    show(
        result,
        headline=f"loss {found.loss:.6g} with {format_count(found.params)} parameters, {law.name}",
        rows=rows,
        as_json=as_json,
        derivation=derivation,
        form=form,
        warnings=warnings,
    )
    if not as_json and form is DerivationFormat.text:
        _print_spread(answers)


def _show_unreachable(
    found: Unreachable,
    *,
    law: Law,
    rule: Rule,
    before: Outcome | None,
    answers: tuple[LawAnswer, ...],
    as_json: bool,
) -> None:
    result = {
        "reachable": False,
        "loss": found.loss,
        "loss_before": None if before is None else before.loss,
        "floor": found.floor,
        "nearest_loss": found.nearest_loss,
        "reason": found.reason,
        "tokens_effective": None,
        "flops_effective": None,
        "epochs_extra": None,
        "epochs_total": None,
        "tokens_processed": None,
        "flops_processed": None,
        "law": describe(law),
        "repeat": rule.name,
        "spread": answers,
    }
    show(
        result,
        headline=f"unreachable: loss {found.loss:.6g}, {law.name}, rule {rule.name}",
        rows=[
            ("floor at this size", f"{found.floor:.6g}  (unlimited fresh data)"),
            ("nearest loss", f"{found.nearest_loss:.6g}  (approached, never reached)"),
            ("why", found.reason),
        ],
        as_json=as_json,
        derivation=None,
        form=DerivationFormat.text,
        warnings=law_warnings(law, flops=None),
    )
    if not as_json:
        _print_spread(answers)


def _print_spread(answers: tuple[LawAnswer, ...]) -> None:
    print("the same question under every named law:")
    rows = []
    for answer in answers:
        if answer.tokens_effective is None:
            text = f"unreachable: {answer.loss:.4g} asked, {answer.nearest_loss:.4g} at the very best"
        else:
            text = f"{format_count(answer.tokens_effective)} effective tokens to {answer.loss:.4g}"
            if answer.epochs_total is not None:
                text += f", {answer.epochs_total:.3g} epochs"
        rows.append((answer.law, text))
    print_rows(rows)
