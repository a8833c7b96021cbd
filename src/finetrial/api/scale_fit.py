"""Fit a law to training runs, or say why they support none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.api.frames import is_rows, read_rows_given
from finetrial.api.law_inputs import count
from finetrial.api.run_table import RunTable, read_table, table_of
from finetrial.errors import AnswerIsNo, UserError

if TYPE_CHECKING:
    from finetrial.scaling.decisions import Decision, Prediction
    from finetrial.scaling.fitting import Fit
    from finetrial.scaling.interval import Interval
    from finetrial.scaling.laws import ParametricLaw
    from finetrial.scaling.resampling import Bootstrap
    from finetrial.scaling.run_checks import MixedExperiments
    from finetrial.scaling.training_runs import Runs


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why runs support no law, and how to mend it."""

    reason: str
    fix: str | None = None


@dataclass(frozen=True)
class FittedLaw:
    """A law fitted to one's own runs; every function of `finetrial.scale` takes its `law`."""

    fit: Fit
    table: RunTable  # the runs, and how they were read
    resamples: int = 1000  # of the bootstrap behind intervals, from 30 runs on
    seed: int = 0

    @property
    def law(self) -> ParametricLaw:
        """The law, with its coefficients E, A, B, alpha and beta."""
        return self.fit.law

    @property
    def coefficients(self) -> dict[str, float]:
        """E, A, B, alpha and beta of L = E + A/N^alpha + B/D^beta."""
        return self.fit.coefficients

    @cached_property
    def _sample(self) -> Bootstrap | None:
        from finetrial.scaling.decisions import lies_on_law
        from finetrial.scaling.interval import FEW_RUNS
        from finetrial.scaling.resampling import bootstrap

        if len(self.table.runs) < FEW_RUNS or not self.resamples or lies_on_law(self.fit):
            return None
        return bootstrap(self.fit, count=self.resamples, seed=self.seed)

    @cached_property
    def intervals(self) -> dict[str, Interval] | None:
        """The coefficients' 95 % intervals; None where the runs give none."""
        from finetrial.scaling.decisions import coefficient_intervals, lies_on_law
        from finetrial.scaling.interval import FEW_RUNS
        from finetrial.scaling.profiling import profile_intervals

        if len(self.table.runs) >= FEW_RUNS and not lies_on_law(self.fit):
            return profile_intervals(self.fit)
        return coefficient_intervals(self.fit, sample=None)

    def best(self, flops: str | float) -> Decision:
        """The best size and data for a budget, with intervals where the runs give them."""
        from finetrial.scaling.decisions import decide

        return decide(self.fit, flops=count(flops, "flops"), sample=self._sample)

    def predict(self, params: str | float, tokens: str | float) -> Prediction:
        """The loss of a run that was not made yet, with the interval that one run falls into."""
        from finetrial.scaling.decisions import predict

        place = (count(params, "params"), count(tokens, "tokens"))
        return predict(self.fit, places=[place], sample=self._sample)[0]


def fit_runs(
    runs: Any, *, columns: str | None, units: str | None, where: Sequence[str], huber: float, name: str
) -> FittedLaw:
    """Fit a law to the runs of a file or of rows. Raises AnswerIsNo, with the reason, where they support none."""
    from finetrial.scaling.few_runs import why_undetermined
    from finetrial.scaling.fitting import fit_law

    if is_rows(runs):
        table = _table_of_rows(runs, columns=columns, units=units, where=where)
    elif isinstance(runs, (str, Path)):
        table = read_table(Path(runs), columns=columns, units=units, where=where)
    else:
        raise UserError("runs are neither rows nor a file", got=type(runs).__name__, expected="rows or a .csv file")
    refusal = why_no_law(table, table.runs)
    if refusal is None:
        found = FittedLaw(fit_law(table.runs, delta=huber, name=name), table)
        refusal = why_not_one_experiment(table, found.fit)
        if refusal is None and found.intervals is not None:
            undetermined = why_undetermined(found.intervals)
            refusal = None if undetermined is None else Refusal(undetermined)
        if refusal is None:
            return found
    raise AnswerIsNo(f"no law is advised for these {len(table.runs)} runs", got=refusal.reason, fix=refusal.fix)


def _table_of_rows(runs: Any, *, columns: str | None, units: str | None, where: Sequence[str]) -> RunTable:
    given = read_rows_given(runs, name="the runs")
    header = list(dict.fromkeys(key for row in given for key in row))
    cells = [["" if row.get(key) is None else str(row[key]) for key in header] for row in given]
    if not given:
        raise UserError("the runs hold no rows", expected="rows with params, tokens or flops, and loss")
    rows = list(enumerate(cells, start=1))
    return table_of(Path("the runs"), header=header, rows=rows, columns=columns, units=units, where=where)


def why_no_law(table: RunTable, used: Runs, *, repeated_base: str | None = None) -> Refusal | None:
    """Why losses contradict each other or the design cannot tell a law; None where it can.

    `repeated_base` is the base law of a fit of repetition: one-epoch, joint, or a law by name.
    """
    from finetrial.scaling.few_runs import why_not_identified
    from finetrial.scaling.repeated_data_fit import one_epoch
    from finetrial.scaling.run_checks import mixed_at_same_point
    from finetrial.scaling.training_runs import COEFFICIENTS, require_enough

    stacked = mixed_at_same_point(table.runs, others=table.others)
    if stacked is not None:
        return Refusal(stacked.reason, _one_of(stacked))
    if repeated_base not in (None, "one-epoch", "joint"):
        return None  # the base law is given, and only the worth of repetition is fitted
    require_enough(used, coefficients=len(COEFFICIENTS))
    carrying = used
    if repeated_base == "one-epoch" and used.unique_tokens_R is not None:
        carrying = one_epoch(used)
        if len(carrying) < len(COEFFICIENTS):
            return None  # refused with its own advice, to name a base law
    reason = why_not_identified(carrying)
    return None if reason is None else Refusal(reason)


def why_not_one_experiment(table: RunTable, fitted: Fit) -> Refusal | None:
    """Why the runs look like several experiments; None where they look like one."""
    from finetrial.scaling.run_checks import mixed_by_residuals

    place = {int(line): index for index, line in enumerate(table.runs.lines_R)}
    rows = [place[int(line)] for line in fitted.runs.lines_R]
    others = {name: [cells[row] for row in rows] for name, cells in table.others.items()}
    stacked = mixed_by_residuals(fitted, others=others)
    return None if stacked is None else Refusal(stacked.reason, _one_of(stacked))


def _one_of(stacked: MixedExperiments) -> str:
    """How to fit one experiment alone."""
    if stacked.column is None:
        return (
            "The rows look like several experiments (another corpus, tokenizer or setting): fit each alone; or the "
            "losses fall with neither parameters nor tokens."
        )
    values = ", ".join(stacked.values[:4]) + (" ..." if len(stacked.values) > 4 else "")
    return (
        f"The rows look like several experiments, which differ in column {stacked.column!r} ({values}); fit each "
        f'alone: --where "{stacked.column}={stacked.values[0]}".'
    )
