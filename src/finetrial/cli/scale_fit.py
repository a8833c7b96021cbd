"""`scale fit`: the law that a user's own runs support, how surely, or why they support none."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from finetrial.api.law_inputs import optional_count, read_law, require_parametric
from finetrial.api.run_table import RunTable, read_table
from finetrial.api.scale_fit import why_no_law, why_not_one_experiment
from finetrial.cli.output import JsonOption, plain, print_json
from finetrial.cli.scale_inputs import FAR_BEYOND, DerivationFormat, ExplainOption, FormatOption, print_notes
from finetrial.cli.scale_progress import progress
from finetrial.errors import UserError
from finetrial.units import parse_count

if TYPE_CHECKING:
    from finetrial.scaling.fitting import Fit
    from finetrial.scaling.laws import ParametricLaw
    from finetrial.scaling.repeated_data_fit import RepetitionFit
    from finetrial.scaling.training_runs import Runs


def fit(
    file: Annotated[
        Path, typer.Argument(help="Runs: params, tokens or flops, loss, unique_tokens.", metavar="CSV")
    ],
    columns: Annotated[
        str | None,
        typer.Option("--columns", help='The file\'s own names: params="Model Size",flops="Training FLOP"'),
    ] = None,
    units: Annotated[
        str | None, typer.Option("--units", help="Units of bare numbers: params=M,tokens=B (K M B T P E Z, or 1).")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Only the rows of this value; may be given again.", metavar="COLUMN=VALUE"),
    ] = None,
    huber: Annotated[float, typer.Option("--huber", help="Huber threshold on the log of the loss.")] = 1e-3,
    drop_highest: Annotated[int, typer.Option("--drop-highest", help="Leave out the K highest losses.", min=0)] = 0,
    hold_out_above: Annotated[
        str | None, typer.Option("--hold-out-above", help="Predict runs above so many FLOPs.", metavar="FLOPS")
    ] = None,
    flops: Annotated[
        str | None,
        typer.Option("--flops", help="Budget of the decision; the largest run's if not given.", metavar="FLOPS"),
    ] = None,
    predict: Annotated[
        list[str] | None,
        typer.Option("--predict", help="Predict a run not made yet; may be given again.", metavar="N:D"),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Refits for intervals from 30 runs on; 0 for none.", min=0)
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.", min=0)] = 0,
    repeat: Annotated[bool, typer.Option("--repeat", help="Fit R* and R_N* to the runs that repeat data.")] = False,
    base: Annotated[
        str,
        typer.Option("--base", help="With --repeat: one-epoch (frozen fit of those runs), joint, or a law."),
    ] = "one-epoch",
    save: Annotated[Path | None, typer.Option("--save", help="Write the law for --law.", metavar="JSON")] = None,
    as_json: JsonOption = False,
    explain: ExplainOption = False,
    form: FormatOption = DerivationFormat.text,
) -> None:
    """Fit a law to your own runs, with intervals; exit status 1 where the runs support none."""
    from finetrial.cli.scale_report import Report, print_report  # numpy and scipy, for fits only
    from finetrial.scaling.decisions import coefficient_intervals, decide, lies_on_law, predict_held_out
    from finetrial.scaling.decisions import predict as predict_runs
    from finetrial.scaling.few_runs import why_undetermined
    from finetrial.scaling.fitting import fit_law
    from finetrial.scaling.influence import influence_of
    from finetrial.scaling.interval import FEW_RUNS
    from finetrial.scaling.profiling import profile_intervals
    from finetrial.scaling.resampling import bootstrap as resampled
    from finetrial.scaling.worked_fit import explain_fit

    if not 1e-9 <= huber <= 10:
        raise UserError("--huber must lie between 1e-9 and 10", got=huber)
    table = read_table(file, columns=columns, units=units, where=where or ())
    everything = table.runs
    used, held_out = _split(everything, drop_highest=drop_highest, threshold=hold_out_above)
    wanted = [_parse_run(text) for text in predict or ()]
    repetition, fixed = None, None
    if repeat and held_out is not None:
        raise UserError(
            "--repeat and --hold-out-above do not go together",
            expected="a prediction of runs of one epoch",
            fix="Fit without --repeat, or leave --hold-out-above out.",
        )
    _require_a_law(table, used, repeated_base=base if repeat else None, as_json=as_json)
    if repeat:
        repetition, used, fixed = _fit_repetition(used, base=base, delta=huber)
    if fixed is not None:
        assert repetition is not None
        law, fitted = fixed, None
    else:
        fitted = fit_law(used, delta=huber, name=file.stem)
        law = fitted.law
        _require_one_experiment(table, fitted, as_json=as_json)
    budget = optional_count(flops, "--flops") or float(everything.flops_R.max())
    sample = None
    noisy = fitted is None or not lies_on_law(fitted)  # runs that a law has computed have no noise to resample
    many = len(used) >= FEW_RUNS and noisy
    if fitted is not None and bootstrap > 0 and many:
        with progress(f"bootstrap of {len(used)} runs") as tell:
            sample = resampled(fitted, count=bootstrap, seed=seed, progress=tell)
    found_intervals = None if fitted is None else coefficient_intervals(fitted, sample=sample)
    profiles = profile_intervals(fitted) if fitted is not None and many else None
    judged = profiles or found_intervals
    undetermined = None if judged is None else why_undetermined(judged)
    if undetermined is not None:
        _no_law(table, reason=undetermined, fix=None, as_json=as_json)
    report = Report(
        file=file,
        law=law,
        fit=fitted,
        used=used,
        drop_highest=drop_highest,
        huber=huber,
        sample=sample,
        found_intervals=found_intervals,
        profiles=profiles,
        decision=None if fitted is None else decide(fitted, flops=budget, sample=sample),
        influence=None if fitted is None else influence_of(fitted, flops=budget),
        predictions=None
        if held_out is None or fitted is None
        else predict_held_out(fitted, held_out=held_out, sample=sample),
        asked=() if fitted is None else predict_runs(fitted, places=wanted, sample=sample),
        repetition=repetition,
        far_beyond=FAR_BEYOND,
        notes=table.notes,
        columns=table.columns(),
    )
    if save is not None:
        _save(save, report.as_law_file())
    if as_json:
        extra = {"explanation": explain_fit(report.law, fit=fitted, huber=huber).as_dict()} if explain else {}
        print_json(plain(report.as_dict()) | extra)
        return
    if explain:
        from finetrial.scaling.derivation import render_latex, render_text

        derivation = explain_fit(report.law, fit=fitted, huber=huber)
        print(render_latex(derivation) if form is DerivationFormat.latex else render_text(derivation) + "\n")
        if form is DerivationFormat.latex:
            return
    print_report(report)


def _require_a_law(table: RunTable, used: Runs, *, repeated_base: str | None, as_json: bool) -> None:
    """Stop, with exit status 1, where losses contradict each other or the design cannot tell a law."""
    refusal = why_no_law(table, used, repeated_base=repeated_base)
    if refusal is not None:
        _no_law(table, reason=refusal.reason, fix=refusal.fix, as_json=as_json)


def _require_one_experiment(table: RunTable, fitted: Fit, *, as_json: bool) -> None:
    refusal = why_not_one_experiment(table, fitted)
    if refusal is not None:
        _no_law(table, reason=refusal.reason, fix=refusal.fix, as_json=as_json)


def _no_law(table: RunTable, *, reason: str, fix: str | None, as_json: bool) -> NoReturn:
    """Print why no law is advised, with no coefficient that somebody might use, and end with exit status 1."""
    if as_json:
        print_json(
            {
                "coefficients": None,
                "reason": reason,
                "fix": fix,
                "identified": None,
                "intervals": None,
                "intervals_reason": reason,
                "decision": None,
                "runs_used": len(table.runs),
                "columns": table.columns(),
                "warnings": list(table.notes),
            }
        )
    else:
        print(f"not identified: no law is advised for these {len(table.runs)} runs")
        for text in (reason, fix):
            if text is not None:
                print(
                    textwrap.fill(
                        text, width=79, initial_indent="  ", subsequent_indent="  ", break_long_words=False
                    )
                )
        print_notes(table.notes)
    raise typer.Exit(1)


def _split(runs: Runs, *, drop_highest: int, threshold: str | None) -> tuple[Runs, Runs | None]:
    """The runs to fit and those held out."""
    if drop_highest >= len(runs):
        raise UserError("--drop-highest leaves no run", got=f"{drop_highest} of {len(runs)} runs")
    kept = runs.without_highest(drop_highest)
    if threshold is None:
        return kept, None
    limit = parse_count(threshold, what="--hold-out-above")
    above_R = kept.flops_R > limit
    if not above_R.any():
        raise UserError(
            "--hold-out-above holds out no run",
            got=f"{limit:.4g} FLOPs",
            expected=f"less than the largest run's {float(kept.flops_R.max()):.4g}",
        )
    if above_R.all():
        raise UserError(
            "--hold-out-above leaves no run to fit",
            got=f"{limit:.4g} FLOPs",
            expected=f"more than the smallest run's {float(kept.flops_R.min()):.4g}",
        )
    return kept.select(~above_R), kept.select(above_R)


def _parse_run(text: str) -> tuple[float, float]:
    """Read 10M:200M, parameters and tokens."""
    params, colon, tokens = text.partition(":")
    if not colon:
        raise UserError("--predict is not PARAMS:TOKENS", got=repr(text), expected="for instance 10M:200M")
    return parse_count(params, what="--predict, parameters"), parse_count(tokens, what="--predict, tokens")


def _fit_repetition(runs: Runs, *, base: str, delta: float) -> tuple[RepetitionFit, Runs, ParametricLaw | None]:
    """R* and R_N*, the runs that carry the base law, and that law where it is not fitted to them alone."""
    from finetrial.scaling.fitting import fit_law
    from finetrial.scaling.repeated_data_fit import fit_jointly, fit_over_base, one_epoch
    from finetrial.scaling.training_runs import COEFFICIENTS

    if runs.unique_tokens_R is None:
        raise UserError(
            "--repeat needs the number of different tokens of each run",
            expected="a column unique_tokens",
            fix='Name it with --columns unique_tokens="...".',
        )
    single = one_epoch(runs)
    if base not in ("one-epoch", "joint"):
        law = require_parametric(read_law(base)[0], purpose="--base")
        return fit_over_base(runs, base=law, delta=delta), runs, law
    if len(single) < len(COEFFICIENTS):
        raise UserError(
            "too few runs of one epoch for a base law",
            got=f"{len(single)} of {len(runs)} runs",
            expected=f"at least {len(COEFFICIENTS)}",
            fix="Name a law instead: --base muennighoff2023.",
        )
    start = fit_law(single, delta=delta).law
    if base == "joint":
        found = fit_jointly(runs, start=start, delta=delta)
        return found, runs, found.base
    return fit_over_base(runs, base=start, delta=delta, base_is_fitted=True), single, None


def _save(path: Path, content: dict[str, Any]) -> None:
    from finetrial.store.files import atomic_text

    atomic_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n")
