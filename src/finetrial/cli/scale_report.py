"""Show a fitted law as one JSON object and as lines for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetrial.cli.scale_inputs import print_notes, print_rows
from finetrial.scaling.decisions import Decision, Prediction, lies_on_law
from finetrial.scaling.fitting import Fit
from finetrial.scaling.influence import Influence
from finetrial.scaling.interval import Interval
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.repeated_data_fit import RepetitionFit
from finetrial.scaling.resampling import Bootstrap
from finetrial.scaling.training_runs import COEFFICIENTS, Runs
from finetrial.units import format_count

_STRONG_GROUP = 2.0  # assumption: a coefficient that five runs move twofold deserves a warning
_MANY_AT_BOUND = 0.05  # assumption: beyond this share of refits at a bound, percentiles are doubtful

NO_NOISE = "the runs lie on the law to the last digits: they look computed from one, not measured"
_OPTIMA = 3  # second optima named before the rest is only counted
_NOTHING_SAID = "not identified"
_ROWS = 12  # held-out runs printed before the rest is left to --json


@dataclass(frozen=True)
class Report:
    """Everything `scale fit` found."""

    file: Path
    law: ParametricLaw
    fit: Fit | None  # None: the law was given, or fitted together with repetition
    used: Runs
    drop_highest: int
    huber: float
    sample: Bootstrap | None
    found_intervals: dict[str, Interval] | None  # of few runs by likelihood, of many by bootstrap
    profiles: dict[str, Interval] | None  # of thirty runs and more: of the Huber objective
    decision: Decision | None
    influence: Influence | None
    predictions: tuple[Prediction, ...] | None
    asked: tuple[Prediction, ...]  # runs not made yet
    repetition: RepetitionFit | None
    far_beyond: float
    notes: tuple[str, ...]  # how the file was read
    columns: dict[str, dict[str, str | None]]

    def residual_rows(self) -> list[dict[str, float]]:
        """One row a run: log L measured minus log L predicted."""
        rows = []
        for index in range(len(self.used)):
            params, tokens = float(self.used.params_R[index]), float(self.used.tokens_R[index])
            predicted = self.law.loss(params, tokens=tokens)
            measured = float(self.used.loss_R[index])
            rows.append(
                {
                    "line": int(self.used.lines_R[index]),
                    "params": params,
                    "tokens": tokens,
                    "loss": measured,
                    "predicted": predicted,
                    "residual": float(np.log(measured / predicted)),
                }
            )
        return rows

    def intervals(self) -> dict[str, list[float | None]] | None:
        """Of few runs the likelihood's; else the bootstrap's, or the profile's where none was made; null: open."""
        best = self.found_intervals or self.profiles
        if best is None:
            return None
        result: dict[str, list[float | None]] = {}
        for name, interval in best.items():
            profile = (self.profiles or best)[name]
            low = None if profile.low is None else interval.low
            high = None if profile.high is None else interval.high
            result[name] = [low, high]
        return result

    def intervals_by(self) -> str | None:
        """The method of the intervals, in words."""
        if self.sample is not None:
            return f"bootstrap of runs, {len(self.sample.coefficients_BP)} refits, widened percentiles"
        if self.found_intervals is not None:
            freedom = len(self.used) - len(COEFFICIENTS)
            return f"profile likelihood, Student's t with {freedom} degrees of freedom"
        return None if self.profiles is None else "profile of the Huber objective"

    def warnings(self) -> list[str]:
        lines = list(self.notes)
        if self.fit is not None:
            for name in self.fit.at_bound:
                lines.append(f"{name} ran into the bound of the search: the runs do not determine it")
            if lies_on_law(self.fit):
                lines.append(f"no intervals: {NO_NOISE}")
            for optimum in self.fit.other_optima[:_OPTIMA]:
                values = ", ".join(f"{key} {value:.4g}" for key, value in optimum.coefficients.items())
                ratio = optimum.objective / self.fit.objective
                lines.append(f"a second optimum is nearly as good ({ratio:.4g} times the objective): {values}")
            if len(self.fit.other_optima) > _OPTIMA:
                lines.append(f"and {len(self.fit.other_optima) - _OPTIMA} more such optima, in --json")
        for name, interval in (self.profiles or self.found_intervals or {}).items():
            if not interval.identified:
                side = "either side" if interval.unbounded else "one side"
                lines.append(f"{name} is not identified: the runs reject no value on {side}")
        if self.sample is not None:
            refits = len(self.sample.coefficients_BP)
            if self.sample.at_bound > _MANY_AT_BOUND * refits:
                lines.append(f"{self.sample.at_bound} of {refits} refits ran into a bound of the search")
        group = None if self.influence is None else self.influence.highest_losses
        if group is not None and group.largest_ratio >= _STRONG_GROUP:
            lines.append(
                f"the {group.dropped} highest losses move {group.moved} {group.largest_ratio:.3g}-fold: without "
                f"them it is {group.coefficients[group.moved]:.4g} (--drop-highest {group.dropped})"
            )
        if self.decision is not None and self.decision.extrapolation > self.far_beyond:
            lines.append(
                f"extrapolation: the decision is asked at {self.decision.extrapolation:.3g} times the largest run"
            )
        for row in (*(self.predictions or ()), *self.asked):
            if row.extrapolation > self.far_beyond:
                which = f"{row.params:.3g}:{row.tokens:.3g}" if row.line is None else f"of line {row.line}"
                lines.append(
                    f"extrapolation: the run {which} is {row.extrapolation:.3g} times the largest one fitted"
                )
        repeating = int((self.used.epochs_R > 1 + 1e-6).sum())
        if repeating and self.repetition is None:
            lines.append(f"{repeating} runs repeat their data; without --repeat their tokens are counted as fresh")
        for name, reason in ({} if self.repetition is None else self.repetition.reasons).items():
            lines.append(f"{name} is not identified: {reason}")
        for second in () if self.repetition is None else self.repetition.other_optima:
            params = "any" if second.r_star_params is None else f"{second.r_star_params:.4g}"
            lines.append(f"a second optimum: R* {second.r_star_tokens:.4g}, R_N* {params}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        identified = None
        judged = self.profiles or self.found_intervals
        if judged is not None:
            identified = {name: interval.identified for name, interval in judged.items()}
        found = self.fit or self.repetition
        assert found is not None
        return {
            "coefficients": self.law.coefficients,
            "objective": found.objective,
            "runs_used": len(self.used),
            "intervals": self.intervals(),
            "intervals_reason": "the base law was not fitted to these runs alone"
            if self.fit is None
            else NO_NOISE
            if lies_on_law(self.fit)
            else None,
            "intervals_by": self.intervals_by(),
            "profile_intervals": None
            if judged is None
            else {name: [interval.low, interval.high] for name, interval in judged.items()},
            "identified": identified,
            "other_optima": () if self.fit is None else [_without_theta(o) for o in self.fit.other_optima],
            "decision": self.decision,
            "influence": self.influence,
            "residuals": self.residual_rows(),
            "held_out": None
            if self.predictions is None
            else [_prediction(prediction) for prediction in self.predictions],
            "predictions": [_prediction(prediction) for prediction in self.asked],
            "repetition": None if self.repetition is None else repetition_dict(self.repetition),
            "huber": self.huber,
            "drop_highest": self.drop_highest,
            "starts": None if self.fit is None else self.fit.starts,
            "bootstrap": None
            if self.sample is None
            else {
                "count": len(self.sample.coefficients_BP),
                "seed": self.sample.seed,
                "at_bound": self.sample.at_bound,
                "not_converged": self.sample.not_converged,
            },
            "largest_run_flops": float(self.used.flops_R.max()),
            "columns": self.columns,
            "reason": None,
            "warnings": self.warnings(),
        }

    def as_law_file(self) -> dict[str, Any]:
        """What `--law FILE` reads, with where it came from."""
        repetition = self.repetition
        return {
            "name": self.file.stem,
            "coefficients": self.law.coefficients,
            "params_meaning": self.law.params_meaning,
            "source": f"fitted to {len(self.used)} runs of {self.file.name}, Huber {self.huber:g}",
            "largest_run_flops": float(self.used.flops_R.max()),
            "intervals": self.intervals(),
            "repetition": None if repetition is None else repetition_dict(repetition),
            "seed": None if self.sample is None else self.sample.seed,
        }


def _without_theta(optimum: Any) -> dict[str, Any]:
    return {"coefficients": optimum.coefficients, "objective": optimum.objective}


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        "line": prediction.line,
        "params": prediction.params,
        "tokens": prediction.tokens,
        "flops": prediction.flops,
        "predicted": prediction.predicted,
        "interval": prediction.interval,
        "measured": prediction.measured,
        "extrapolation": prediction.extrapolation,
        "error": None if prediction.measured is None else prediction.predicted / prediction.measured - 1,
        "covered": prediction.covered,
    }


def repetition_dict(found: RepetitionFit) -> dict[str, Any]:
    """Both constants; `identified` speaks of those on which the runs bear at all, null stands for an open side."""
    bearing = [name for name in found.identified if getattr(found, name) is not None]
    return {
        "r_star_tokens": found.r_star_tokens,
        "r_star_params": found.r_star_params,
        "identified": all(found.identified[name] for name in bearing),
        "identified_each": found.identified,
        "intervals": {name: [interval.low, interval.high] for name, interval in found.intervals.items()},
        "reasons": found.reasons,
        "other_optima": found.other_optima,
        "objective": found.objective,
        "base": found.base_source,
        "base_coefficients": found.base.coefficients,
        "runs_repeated": found.runs_repeated,
        "runs_with_excess_params": found.runs_with_excess_params,
    }


def print_report(report: Report) -> None:
    """The fit for a person, within 80 columns."""
    if report.fit is not None:
        print(
            f"law fitted to {len(report.used)} runs: objective {report.fit.objective:.8f}, Huber {report.huber:g}, "
            f"{report.fit.starts} starts"
        )
    else:
        print(f"base law {report.law.name}, {report.law.source}")
    _print_coefficients(report)
    _print_decision(report)
    _print_influence(report)
    if report.predictions is not None:
        _print_predictions(report.predictions)
    for row in report.asked:
        interval = "" if row.interval is None else f"  ({_range(*row.interval, digits=5)})"
        run = f"{format_count(row.params)} parameters on {format_count(row.tokens)} tokens"
        print(f"predicted for {run}: loss {row.predicted:.5g}{interval}")
    if report.repetition is not None:
        _print_repetition(report.repetition)
    print_notes(report.warnings())


def _range(low: float | None, high: float | None, *, digits: int = 4) -> str:
    if low is None and high is None:
        return _NOTHING_SAID
    left = "open" if low is None else f"{low:.{digits}g}"
    right = "open" if high is None else f"{high:.{digits}g}"
    return f"{left} to {right}"


def _print_coefficients(report: Report) -> None:
    intervals = report.intervals()
    if intervals is None:
        print_rows([(name, f"{value:.5g}") for name, value in report.law.coefficients.items()])
        return
    both = report.found_intervals is not None and report.profiles is not None
    print(f"  {'':<6} {'value':>10}  {'95 % interval':<24}{' profile' if both else ''}".rstrip())
    for name in COEFFICIENTS:
        row = f"  {name:<6} {report.law.coefficients[name]:>10.5g}  {_range(*intervals[name]):<24}"
        if both:
            assert report.profiles is not None
            row += f" {_range(report.profiles[name].low, report.profiles[name].high)}"
        print(row.rstrip())
    print(f"intervals: {report.intervals_by()}")
    residual_R = np.array([row["residual"] for row in report.residual_rows()])
    worst = report.residual_rows()[int(np.abs(residual_R).argmax())]
    print(
        f"residuals of log loss: median {np.median(np.abs(residual_R)):.2g}, largest {worst['residual']:+.3g} "
        f"(line {worst['line']:.0f})"
    )


def _print_decision(report: Report) -> None:
    decision = report.decision
    if decision is None:
        return
    print(f"decision at {decision.flops:.4g} FLOPs ({decision.extrapolation:.3g} times the largest run)")
    rows = []
    for label, name in (("parameters", "params"), ("tokens", "tokens")):
        text = format_count(getattr(decision, name))
        if decision.intervals is not None:
            low, high = ("open" if end is None else format_count(end) for end in decision.intervals[name])
            text += f"  ({low} to {high})" if (low, high) != ("open", "open") else f"  ({_NOTHING_SAID})"
        rows.append((label, text))
    text = f"{decision.loss:.5g}"
    if decision.intervals is not None:
        text += f"  ({_range(*decision.intervals['loss'], digits=5)})"
    rows.append(("loss", text))
    print_rows(rows)


def _print_influence(report: Report) -> None:
    if report.influence is None or not report.influence.runs:
        return
    print("most influential runs: without each, predictions and N* at the budget move by")
    rows = [
        (
            f"line {run.line}",
            f"{run.prediction_shift:.2%}, {run.decision_params_ratio - 1:+.1%}  "
            f"({format_count(run.params)} parameters, {format_count(run.tokens)} tokens)",
        )
        for run in report.influence.runs
    ]
    print_rows(rows)


def _print_predictions(predictions: tuple[Prediction, ...]) -> None:
    covered = [row.covered for row in predictions if row.covered is not None]
    inside = f", {sum(covered)} of {len(covered)} inside their interval" if covered else ""
    print(f"held out: {len(predictions)} runs{inside}")
    rows = []
    for row in sorted(predictions, key=lambda row: -row.flops)[:_ROWS]:
        assert row.measured is not None
        interval = "" if row.interval is None else f" ({_range(*row.interval, digits=5)})"
        rows.append(
            (
                f"line {row.line}",
                f"{row.flops:.3g} FLOPs  {row.predicted:.4f}{interval}, measured {row.measured:.4f} "
                f"({row.predicted / row.measured - 1:+.1%})",
            )
        )
    if len(predictions) > _ROWS:
        rows.append(("...", f"{len(predictions) - _ROWS} smaller ones in --json"))
    print_rows(rows)


def _print_repetition(found: RepetitionFit) -> None:
    print(f"repetition, {found.runs_repeated} repeating runs, base law {found.base_source}")
    rows = []
    for label, name in (("R* (tokens)", "r_star_tokens"), ("R_N* (parameters)", "r_star_params")):
        value, interval = getattr(found, name), found.intervals[name]
        text = "undefined" if value is None else f"{value:.4g}"
        if value is not None and (interval.low, interval.high) != (None, None):
            text += f"  ({_range(interval.low, interval.high)})"
        if name in found.reasons:
            text += f"; not identified: {found.reasons[name]}"
        rows.append((label, text))
    print_rows(rows)
