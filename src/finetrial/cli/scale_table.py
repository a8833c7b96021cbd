"""Several sizes answered at once by `finetrial scale`: one table for a person, one JSON object for a program."""

from __future__ import annotations

from typing import Any

from finetrial.cli.output import plain, print_json
from finetrial.cli.scale_inputs import DerivationFormat, describe, print_notes, print_rows
from finetrial.scaling.derivation import Derivation, render_latex, render_text
from finetrial.scaling.laws import Law
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.target_loss import Outcome
from finetrial.units import format_count


def show_sizes(
    results: list[dict[str, Any]],
    *,
    outcomes: list[tuple[str, Outcome]],
    derivations: list[Derivation],
    law: Law,
    rule: Rule,
    as_json: bool,
    form: DerivationFormat,
    more: dict[str, Any],
    rows: list[tuple[str, str]],
    warnings: list[str],
) -> None:
    """Print every size's outcome in the order asked for; `rows` stand below the table."""
    if as_json:
        explained = {"explanations": [each.as_dict() for each in derivations]} if derivations else {}
        shared = {"sizes": results, "law": describe(law), "repeat": rule.name}
        print_json(plain(shared | more) | explained | {"warnings": warnings})
        return
    for derivation in derivations:
        print(render_latex(derivation) if form is DerivationFormat.latex else render_text(derivation) + "\n")
    if not derivations or form is DerivationFormat.text:
        print(f"{law.name}, repetition {rule.name}")
        print_table(
            ("parameters", "loss", "floor", "epochs in all", "tokens", "effective", "FLOPs"),
            table_rows(outcomes, law),
        )
        print_rows(rows)
    print_notes(warnings)


def table_rows(outcomes: list[tuple[str, Outcome]], law: Law) -> list[tuple[str, ...]]:
    return [
        (
            label,
            f"{outcome.loss:.6g}",
            f"{law.floor(outcome.params):.5g}",
            "" if outcome.epochs_total is None else f"{outcome.epochs_total:.4g}",
            format_count(outcome.tokens_processed),
            format_count(outcome.tokens_effective),
            f"{outcome.flops_processed:.4g}",
        )
        for label, outcome in outcomes
    ]


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell, the first flush left."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    for row in (header, *rows):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([f"  {row[0]:<{widths[0]}}", *cells]).rstrip())
