"""What scored outputs support: a verdict, a recommendation, and the tables behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from finetrial.api.frames import as_table, columns_of
from finetrial.api.notebook_html import comparison_html
from finetrial.evidence.findings import Findings, Interval, Recommendation
from finetrial.evidence.findings_json import findings_object
from finetrial.store.records import Sample, Score

if TYPE_CHECKING:
    from finetrial.api.frames import Table

# with the keys of `finetrial score --json`
_PAIR_COLUMNS = (
    *("metric", "a", "b", "difference", "low", "high", "p", "p_holm", "wins", "losses", "ties", "question"),
    *("n_units", "smallest_p", "reason"),
)
_SCORE_COLUMNS = ("sample_id", "arm", "prompt_id", "index", "run", "metric", "value", "signature")


@dataclass(frozen=True, kw_only=True, repr=False)
class ScoreResult:
    """Arms compared on the same prompts.

    Tables are DataFrames where pandas is installed and lists of dicts where it is not; what is undefined is missing
    there, and `reason` says why.
    """

    findings: Findings  # everything that was concluded, as typed records
    sample_rows: tuple[Sample, ...]
    score_rows: tuple[Score, ...]
    set_aside: frozenset[str] = field(default=frozenset())  # prompts whose texts people are still to grade blind

    @property
    def verdict(self) -> str | None:
        """The conclusion in a sentence, with its uncertainty; None where there is none."""
        return self.findings.verdict

    @property
    def recommendation(self) -> Recommendation | None:
        """The cheapest arm shown to be good enough, or what is missing to name one: `text`, `arm`, `outcome`."""
        return self.findings.recommendation

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could overturn the verdict, and what to bear in mind of the numbers."""
        return (*(row.text for row in self.findings.verdict_warnings), *self.findings.warnings)

    @property
    def primary(self) -> str | None:
        """The metric that decides."""
        return self.findings.primary

    @property
    def means(self) -> Table:
        """Every arm's mean by every metric, with its 95 % interval."""
        rows = (
            {"metric": metric, "arm": arm, **asdict(row)}
            for metric, arms in self.findings.intervals.items()
            for arm, row in arms.items()
        )
        return as_table(rows, columns=("metric", "arm", "mean", *columns_of(Interval, without=("mean",))))

    @property
    def pairs(self) -> Table:
        """Every two arms compared by every metric: difference a minus b, interval, p, wins, losses and ties."""
        return as_table(findings_object(self.findings)["pairs"], columns=_PAIR_COLUMNS)

    @property
    def scores(self) -> Table:
        """One number for one sample a row."""
        return as_table(self._scores(), columns=_SCORE_COLUMNS)

    def _scores(self) -> Iterator[Mapping[str, Any]]:
        samples = {sample.id: sample for sample in self.sample_rows}
        for row in self.score_rows:
            sample = samples.get(row.sample_id)
            known = {} if sample is None else {name: getattr(sample, name) for name in _SCORE_COLUMNS[1:5]}
            yield asdict(row) | known

    @property
    def samples(self) -> Table:
        """One generation a row, with its prompt and references; none of prompts that are set aside for grading."""
        shown = (row for row in self.sample_rows if row.prompt_id not in self.set_aside)
        return as_table((asdict(row) for row in shown), columns=columns_of(Sample))

    def __str__(self) -> str:
        from finetrial.api.findings_text import view

        return view(self.findings)

    def __repr__(self) -> str:
        arms = ", ".join(dict.fromkeys(row.arm for row in self.sample_rows))
        return f"<{type(self).__name__} of {arms}: {self.verdict or 'no verdict'}>"

    def _repr_html_(self) -> str:
        return comparison_html(self.findings)
