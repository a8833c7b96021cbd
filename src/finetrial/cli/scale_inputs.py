"""Laws, rules and quantities as `finetrial scale` reads them, and the layout of its answers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from finetrial.cli.output import log, plain, print_json
from finetrial.scaling.derivation import Derivation, render_latex, render_text
from finetrial.scaling.laws import Law
from finetrial.scaling.published_laws import NAMED_LAWS
from finetrial.scaling.repeated_data import RULE_FORMS, Rule
from finetrial.scaling.target_loss import Outcome
from finetrial.units import format_count

_LARGEST_COUNT = 1e36  # assumption: a slip of the pen beyond; products stay far from a float's end
FAR_BEYOND = 10.0  # an answer at more than ten times a fit's largest run is labelled an extrapolation


class DerivationFormat(StrEnum):
    text = "text"
    latex = "latex"


LawOption = Annotated[
    str,
    typer.Option(
        "--law",
        metavar="LAW",
        help="A name ("
        + ", ".join(NAMED_LAWS)
        + "), a file of `scale fit --save`, or E=..,A=..,B=..,alpha=..,beta=..",
    ),
]
RepeatOption = Annotated[
    str,
    typer.Option(
        "--repeat",
        metavar="RULE",
        help=f"What repeated passes are worth: {RULE_FORMS}; or fitted, with a law file that holds it.",
    ),
]
UniqueOption = Annotated[
    str | None, typer.Option("--unique-tokens", help="Different tokens there are, as 4.1T.", metavar="U")
]
ParamsOption = Annotated[str, typer.Option("--params", help="Parameters, as 67B.", metavar="N")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show the derivation as a worked exercise.")]
FormatOption = Annotated[DerivationFormat, typer.Option("--format", help="How --explain is written.")]


def law_warnings(law: Law, *, flops: float | None) -> list[str]:
    """What a reader should know about this law at this compute."""
    warnings = []
    if flops is not None and law.largest_run_flops is not None:
        ratio = flops / law.largest_run_flops
        if ratio > FAR_BEYOND:
            warnings.append(
                f"extrapolation: {flops:.3g} FLOPs are {ratio:.3g} times the largest run behind {law.name} "
                f"({law.largest_run_flops:.3g})"
            )
    if law.caveat is not None and getattr(law, "unrounded_name", None) is None:
        warnings.append(f"{law.name}: {law.caveat}")
    return warnings


def repetition_warnings(rule: Rule, *, epochs: float | None, law: Law) -> list[str]:
    warnings = []
    if rule.name == "none" and epochs is not None and epochs > 1:
        warnings.append("the rule none counts repeated tokens as fresh: an upper bound on what they are worth")
    if rule.r_star_params is not None and getattr(law, "rounded", False):
        warnings.append(
            f"the rule {rule.name} uses the optimal size under {law.name}, whose rounded constants misplace it"
        )
    return warnings


def outcome_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """One run on paper, for print_rows."""
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


def describe(law: Law) -> dict[str, Any]:
    """The law as it stands in `--json`."""
    return {
        "name": law.name,
        "coefficients": getattr(law, "coefficients", None),
        "params_meaning": law.params_meaning,
        "source": law.source,
    }


def show(
    result: dict[str, Any],
    *,
    rows: list[tuple[str, str]],
    headline: str,
    as_json: bool,
    derivation: Derivation | None,
    form: DerivationFormat,
    warnings: list[str],
    after: Callable[[], object] | None = None,
) -> None:
    """Print one answer: JSON, or the derivation, a headline, rows, what `after` prints, and the warnings."""
    if as_json:
        explained = {} if derivation is None else {"explanation": derivation.as_dict()}
        print_json(plain(result) | explained | {"warnings": warnings})
        return
    if derivation is not None:
        print(render_latex(derivation) if form is DerivationFormat.latex else render_text(derivation))
        if form is DerivationFormat.text:
            print()
    if derivation is None or form is DerivationFormat.text:
        print(headline)
        print_rows(rows)
        if after is not None:
            after()
    print_notes(warnings)


def print_notes(notes: Iterable[str]) -> None:
    """What a reader should know beside the answer, on standard error, within 80 columns."""
    for text in notes:
        log(textwrap.fill(f"note: {text}", width=79, subsequent_indent="  ", break_long_words=False))


def print_rows(rows: list[tuple[str, str]]) -> None:
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        print(f"  {label:<{width}}  {value}")
