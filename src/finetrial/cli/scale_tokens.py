"""`scale tokens`: the tokens and epochs that reach a loss, at two costs, or that a budget buys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from finetrial.api.law_inputs import Question, Size, optional_count, read_question, require_parametric
from finetrial.cli.output import JsonOption, plain, print_json
from finetrial.cli.scale_best import unrounded_best
from finetrial.cli.scale_budget import answer_budget
from finetrial.cli.scale_inputs import (
    DerivationFormat,
    ExplainOption,
    FormatOption,
    LawOption,
    RepeatOption,
    UniqueOption,
    describe,
    law_warnings,
    print_notes,
    print_rows,
    repetition_warnings,
    show,
)
from finetrial.cli.scale_sizes import GrowOption, SizesOption, read_grow, read_sizes, sizes_note
from finetrial.cli.scale_table import print_table
from finetrial.errors import UserError
from finetrial.scaling.allocation import SameCost, at_same_cost
from finetrial.scaling.law_comparison import LawAnswer, spread_over_laws
from finetrial.scaling.laws import Law, ParametricLaw
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.rounding import roundings
from finetrial.scaling.target_loss import Outcome, Unreachable, reach, train
from finetrial.scaling.worked_steps import explain_tokens
from finetrial.units import format_count, parse_count, parse_share

_HIGHEST_LOSS = 30.0  # guessing among a million words costs ln 1e6 = 13.8 nats a token


@dataclass(frozen=True)
class _Aim:
    """What is to be reached: a loss, or a share below the loss so far."""

    loss: float | None
    share: float | None
    from_tokens: float | None
    unique_tokens: float | None


def tokens(
    params: SizesOption,
    target: Annotated[str | None, typer.Option("--loss", help="The loss to reach.", metavar="L")] = None,
    improve: Annotated[
        str | None, typer.Option("--improve", help="Lower the loss by this share, as 1%.", metavar="SHARE")
    ] = None,
    from_tokens: Annotated[
        str | None, typer.Option("--from-tokens", help="With --improve: the tokens so far.", metavar="D")
    ] = None,
    flops: Annotated[
        str | None,
        typer.Option("--flops", help="In place of a loss: the tokens that this compute buys.", metavar="C"),
    ] = None,
    unique_tokens: UniqueOption = None,
    repeat: RepeatOption = "none",
    law: LawOption = "hoffmann2022",
    grow: GrowOption = None,
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """The tokens and epochs that reach a loss, with both costs, or that a budget buys.

    Exit status 1 when nothing reaches the loss.
    """
    question = read_question(law, repeat)
    factors = read_grow(grow)
    if (target is not None) + (improve is not None) + (flops is not None) != 1:
        raise UserError(
            "give either --loss or --improve, or --flops",
            expected="--loss 1.88, --improve 1% --from-tokens 4.1T, or --flops 1e21",
        )
    if (improve is None) != (from_tokens is None):
        raise UserError("--improve and --from-tokens belong together", expected="--improve 1% --from-tokens 4.1T")
    unique = optional_count(unique_tokens, "--unique-tokens")
    if flops is not None:
        sizes = read_sizes(params, law=question.law, grow=factors)
        answer_budget(sizes, question, flops=flops, unique=unique, as_json=as_json, explain=explain, form=form)
        return
    sizes = read_sizes(params, law=question.law)
    aim = _read_aim(question, target=target, improve=improve, from_tokens=from_tokens, unique=unique)
    found = [_reach(size.params, question, aim) for size in sizes]
    if len(sizes) > 1:
        _show_all(sizes, found, question, aim, as_json=as_json, explain=explain, grow=factors)
        return
    before, after = found[0]
    answers = spread_over_laws(
        params=sizes[0].params,
        loss=aim.loss,
        improve=aim.share,
        from_tokens=aim.from_tokens,
        unique_tokens=aim.unique_tokens,
        rule=question.rule,
    )
    if isinstance(after, Unreachable):
        _show_unreachable(
            after, law=question.law, rule=question.rule, before=before, answers=answers, as_json=as_json
        )
        raise typer.Exit(1)
    _show_reached(
        after,
        law=question.law,
        rule=question.rule,
        before=before,
        share=aim.share,
        answers=answers,
        grow=factors,
        notes=sizes_note(sizes),
        as_json=as_json,
        explain=explain,
        form=form,
    )


def _read_aim(
    question: Question, *, target: str | None, improve: str | None, from_tokens: str | None, unique: float | None
) -> _Aim:
    start = optional_count(from_tokens, "--from-tokens")
    if unique is None and question.rule.name != "none":
        unique = start  # the run so far saw each of its tokens once
        if unique is None:
            raise UserError(f"--repeat {question.rule.name} needs --unique-tokens", expected="a count such as 4.1T")
    if improve is not None:
        share = parse_share(improve, what="--improve")
        if not 0 < share < 1:
            raise UserError("--improve must lie between 0 and 100 %, both excluded", got=repr(improve))
        return _Aim(None, share, start, unique)
    assert target is not None
    loss = parse_count(target, what="--loss")
    if loss > _HIGHEST_LOSS:
        raise UserError("--loss is out of range", got=repr(target), expected=f"nats a token, to {_HIGHEST_LOSS:g}")
    return _Aim(loss, None, None, unique)


def _reach(params: float, question: Question, aim: _Aim) -> tuple[Outcome | None, Outcome | Unreachable]:
    """The run so far, where there is one, and the least training that reaches the aim."""
    before, loss = None, aim.loss
    if aim.share is not None:
        assert aim.from_tokens is not None
        before = train(
            question.law,
            params=params,
            tokens=aim.from_tokens,
            unique_tokens=aim.unique_tokens,
            rule=question.rule,
        )
        loss = (1 - aim.share) * before.loss
    assert loss is not None
    return before, reach(
        question.law, params=params, loss=loss, unique_tokens=aim.unique_tokens, rule=question.rule
    )


def _extra_epochs(found: Outcome, before: Outcome | None) -> float | None:
    if found.epochs_total is None:
        return None
    so_far = before.epochs_total if before is not None and before.epochs_total is not None else 1.0
    return max(0.0, found.epochs_total - so_far)


def _reached_dict(
    found: Outcome, *, before: Outcome | None, law: Law, rule: Rule, grow: tuple[float, ...]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "reachable": True,
        "loss": found.loss,
        "loss_before": None if before is None else before.loss,
        "flops_before": None if before is None else before.flops_processed,
        "floor": law.floor(found.params),
        "tokens_effective": found.tokens_effective,
        "flops_effective": found.flops_effective,
        "epochs_extra": _extra_epochs(found, before),
        "epochs_total": found.epochs_total,
        "tokens_processed": found.tokens_processed,
        "flops_processed": found.flops_processed,
        "params": found.params,
        "params_effective": found.params_effective,
        "unique_tokens": found.unique_tokens,
        "law": describe(law),
        "repeat": rule.name,
    }
    if found.epochs_total is None:
        result["epochs_reason"] = "undefined without --unique-tokens"
    repeated = found.epochs_total is not None and found.epochs_total > 1 and rule.name != "none"
    if (repeated or grow) and isinstance(law, ParametricLaw):
        costs = (found.flops_effective, found.flops_processed) if repeated else (found.flops_processed,)
        result["same_cost"] = [
            _same_cost(at_same_cost(law, outcome=found, flops=flops, rule=rule, grow=grow), law=law, rule=rule)
            for flops in costs
        ]
    return result


def _same_cost(found: SameCost, *, law: ParametricLaw, rule: Rule) -> dict[str, Any]:
    unique = found.same_size.unique_tokens
    return {
        "flops": found.flops,
        "same_size": found.same_size,
        "larger": found.larger,
        "grown": found.grown,
        "best": found.best,
        "best_unrounded": unrounded_best(law, flops=found.flops, unique_tokens=unique, rule=rule),
    }


def _show_reached(
    found: Outcome,
    *,
    law: Law,
    rule: Rule,
    before: Outcome | None,
    share: float | None,
    answers: tuple[LawAnswer, ...],
    grow: tuple[float, ...],
    notes: list[str],
    as_json: bool,
    explain: bool,
    form: DerivationFormat,
) -> None:
    warnings = [*notes, *law_warnings(law, flops=found.flops_processed)]
    warnings += repetition_warnings(rule, epochs=found.epochs_total, law=law)
    result = _reached_dict(found, before=before, law=law, rule=rule, grow=grow)
    extra = result["epochs_extra"]
    rows = [("floor at this size", f"{law.floor(found.params):.6g}")]
    if before is not None:
        rows.append(("loss so far", f"{before.loss:.6g}  ({before.flops_processed:.5g} FLOPs)"))
    rows.append(
        ("effective", f"{format_count(found.tokens_effective)} tokens, {found.flops_effective:.5g} FLOPs if fresh")
    )
    if found.epochs_total is not None:
        rows.append(
            (
                "processed",
                f"{format_count(found.tokens_processed)} tokens, {found.flops_processed:.5g} FLOPs to pay",
            )
        )
        rows.append(("epochs", f"{found.epochs_total:.4g} in all, {extra:.4g} further ones (rule {rule.name})"))
    for same in result.get("same_cost", ()) if grow else ():
        rows.append(("at equal cost", f"{same['flops']:.5g} FLOPs buy"))
        runs = [("N", same["same_size"])]
        runs += [(f"{factor:g} N", run) for factor, run in zip(grow, same["grown"], strict=True)]
        runs.append((f"{same['best'].params / found.params:.3g} N, best", same["best"]))
        rows += [(f"  {name}", _run_text(run)) for name, run in runs]
    derivation = None
    if explain:
        derivation = explain_tokens(
            require_parametric(law, purpose="--explain"),
            before=before,
            improve=share,
            after=found,
            rule=rule,
            grow=grow,
        )
        if before is not None and share is not None:
            assert isinstance(law, ParametricLaw)
            result["rounding"] = roundings(law, before=before, improve=share, after=found)
    show(
        result | {"spread": answers},
        headline=f"loss {found.loss:.6g} with {format_count(found.params)} parameters, {law.name}",
        rows=rows,
        as_json=as_json,
        derivation=derivation,
        form=form,
        warnings=warnings,
        after=lambda: _print_spread(answers),
    )


def _run_text(run: Outcome) -> str:
    epochs = "" if run.epochs_total is None else f", {run.epochs_total:.4g} epochs in all"
    return f"loss {run.loss:.6g} on {format_count(run.tokens_processed)} tokens{epochs}"


def _show_all(
    sizes: tuple[Size, ...],
    found: list[tuple[Outcome | None, Outcome | Unreachable]],
    question: Question,
    aim: _Aim,
    *,
    as_json: bool,
    explain: bool,
    grow: tuple[float, ...],
) -> None:
    """Several sizes in one table; exit status 1 where none reaches the loss."""
    law, rule = question.law, question.rule
    if explain:
        raise UserError("--explain takes one size", got=f"{len(sizes)} in --params", fix="Ask for one of them.")
    reached = [after for _, after in found if isinstance(after, Outcome)]
    most = max((after.flops_processed for after in reached), default=None)
    warnings = [*sizes_note(sizes), *law_warnings(law, flops=most)]
    results: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for size, (before, after) in zip(sizes, found, strict=True):
        if isinstance(after, Unreachable):
            results.append({"label": size.label} | _unreachable_dict(after, law=law, rule=rule, before=before))
            rows.append((size.label, f"{after.loss:.6g}", "unreachable", "", "", "", f"{after.nearest_loss:.5g}"))
            continue
        results.append({"label": size.label} | _reached_dict(after, before=before, law=law, rule=rule, grow=grow))
        epochs = "" if after.epochs_total is None else f"{after.epochs_total:.4g}"
        counts = [format_count(after.tokens_effective), epochs, format_count(after.tokens_processed)]
        flops = f"{after.flops_processed:.4g}"
        rows.append((size.label, f"{after.loss:.6g}", *counts, flops, f"{law.floor(after.params):.5g}"))
    if as_json:
        shared = {"sizes": results, "law": describe(law), "repeat": rule.name}
        print_json(plain(shared) | {"warnings": warnings})
    else:
        print(f"{law.name}, repetition {rule.name}" + ("" if aim.share is None else f", {aim.share:.3%} lower"))
        print_table(("parameters", "loss", "effective", "epochs in all", "processed", "FLOPs", "floor"), rows)
        print_notes(warnings)
    if not reached:
        raise typer.Exit(1)


def _show_unreachable(
    found: Unreachable,
    *,
    law: Law,
    rule: Rule,
    before: Outcome | None,
    answers: tuple[LawAnswer, ...],
    as_json: bool,
) -> None:
    show(
        _unreachable_dict(found, law=law, rule=rule, before=before) | {"spread": answers},
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
        after=lambda: _print_spread(answers),
    )


def _unreachable_dict(found: Unreachable, *, law: Law, rule: Rule, before: Outcome | None) -> dict[str, Any]:
    return {
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
    }


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
