"""`scale plot`: a picture of a law, of repetition or of a fit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.api.law_inputs import count, read_law, require_parametric
from finetrial.api.run_table import read_table
from finetrial.cli.output import JsonOption, print_json
from finetrial.cli.scale_inputs import law_warnings
from finetrial.cli.scale_progress import progress
from finetrial.errors import AnswerIsNo, UserError
from finetrial.plotting import load_matplotlib
from finetrial.scaling.repeated_data import HALVING, MUENNIGHOFF_TOKENS, NO_RULE, Rule, rule_by_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".svg", ".png", ".pdf")


class Picture(StrEnum):
    contours = "contours"
    repetition = "repetition"
    fit = "fit"


def plot(
    kind: Annotated[Picture, typer.Argument(help="contours of the loss, repetition of data, or a fit to runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .svg, .png or .pdf file.", metavar="FILE")],
    file: Annotated[Path | None, typer.Argument(help="For fit: the csv of runs.", metavar="[CSV]")] = None,
    law: Annotated[str, typer.Option("--law", help="For contours and repetition.")] = "hoffmann2022-unrounded",
    flops: Annotated[
        str, typer.Option("--flops", help="For contours: budgets, separated by commas.")
    ] = "1e20,1e21,1e22,1e23,1e24",
    params: Annotated[str, typer.Option("--params", help="For repetition: parameters.")] = "1B",
    unique_tokens: Annotated[str, typer.Option("--unique-tokens", help="For repetition.")] = "20B",
    repeat: Annotated[
        str | None, typer.Option("--repeat", help="For repetition: rules, separated by commas.")
    ] = None,
    columns: Annotated[str | None, typer.Option("--columns", help="For fit: the file's own names.")] = None,
    units: Annotated[str | None, typer.Option("--units", help="For fit: params=M,tokens=B.")] = None,
    drop_highest: Annotated[int, typer.Option("--drop-highest", help="For fit: leave out K highest losses.")] = 0,
    huber: Annotated[float, typer.Option("--huber", help="For fit: the Huber threshold.")] = 1e-3,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="For fit: refits of the band.", min=2)] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="For fit: seed of the bootstrap.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw the loss of a law, what repeated data are worth, or a fit with its band."""
    if output.suffix.lower() not in _SUFFIXES:
        raise UserError(
            "--output has no suffix of a picture", got=repr(str(output)), expected="one of " + ", ".join(_SUFFIXES)
        )
    warnings: list[str] = []
    if kind is Picture.fit:
        if file is None:
            raise UserError(
                "`scale plot fit` needs a csv of runs", fix="finetrial scale plot fit RUNS.csv -o fit.svg"
            )
        figure = _fit(
            file, columns=columns, units=units, drop=drop_highest, huber=huber, refits=bootstrap, seed=seed
        )
    else:
        chosen = require_parametric(read_law(law)[0], purpose=f"`scale plot {kind}`")
        warnings = law_warnings(chosen, flops=None)
        load_matplotlib()
        from finetrial.scaling import law_figures  # matplotlib

        if kind is Picture.contours:
            budgets = [count(part, "--flops") for part in flops.split(",")]
            figure = law_figures.contours(chosen, budgets=sorted(budgets))
        else:
            rules: list[Rule] = (
                [NO_RULE, HALVING, MUENNIGHOFF_TOKENS]
                if repeat is None
                else [rule_by_name(part.strip()) for part in repeat.split(",")]
            )
            if len(rules) > len(law_figures.SERIES):
                raise UserError("too many rules for one picture", got=len(rules), expected=len(law_figures.SERIES))
            figure = law_figures.repetition(
                chosen,
                params=count(params, "--params"),
                unique_tokens=count(unique_tokens, "--unique-tokens"),
                rules=rules,
            )
    _write(figure, output)
    if as_json:
        print_json({"file": output, "kind": kind.value, "warnings": warnings})
        return
    print(f"wrote {output}")


def _fit(
    file: Path, *, columns: str | None, units: str | None, drop: int, huber: float, refits: int, seed: int
) -> Figure:
    load_matplotlib()
    from finetrial.scaling import law_figures  # matplotlib, numpy and scipy, for pictures only
    from finetrial.scaling.few_runs import why_not_identified
    from finetrial.scaling.fitting import fit_law
    from finetrial.scaling.interval import FEW_RUNS
    from finetrial.scaling.resampling import bootstrap

    runs = read_table(file, columns=columns, units=units).runs
    if not 0 <= drop < len(runs):
        raise UserError("--drop-highest leaves no run", got=f"{drop} of {len(runs)} runs")
    used = runs.without_highest(drop)
    reason = why_not_identified(used)
    if reason is not None:
        raise AnswerIsNo("no law can be drawn from these runs", got=reason)
    found = fit_law(used, delta=huber)
    if len(used) < FEW_RUNS:
        return law_figures.fit(found, sample=None)
    with progress(f"bootstrap of {len(found.runs)} runs") as tell:
        sample = bootstrap(found, count=refits, seed=seed, progress=tell)
    return law_figures.fit(found, sample=sample)


def _write(figure: Figure, path: Path) -> None:
    """Write a picture whole or not at all, with nothing in it that changes from run to run."""
    from matplotlib import rc_context

    from finetrial.store.files import atomic_path

    suffix = path.suffix.lower().removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with rc_context({"svg.hashsalt": "finetrial", "svg.fonttype": "none"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
