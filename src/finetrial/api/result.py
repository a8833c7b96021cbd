"""What a trial's folder supports: the verdict, and its records as tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.api.frames import as_table, columns_of
from finetrial.api.notebook_html import comparison_html
from finetrial.api.score_result import ScoreResult
from finetrial.errors import FinetrialError
from finetrial.evidence.findings import ArmCost, Findings
from finetrial.evidence.trial_findings import read_samples, trial_findings
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Measured, Sample, Score, TrainingPoint, read_object, read_rows
from finetrial.trial.graded_prompts import graded_prompts
from finetrial.trial.schema import Trial
from finetrial.trial.subset import grading_prompts

if TYPE_CHECKING:
    from finetrial.api.frames import Table
    from finetrial.reporting.write import ReportFiles

_MEASURED = columns_of(Measured, without=("fast_paths",))
_COST_COLUMNS = tuple(dict.fromkeys(("arm", "method", "total", "unit", *columns_of(ArmCost), *_MEASURED)))


@dataclass(frozen=True, slots=True)
class SvgFigure:
    """One figure of the report, which a notebook shows."""

    path: Path

    @property
    def svg(self) -> str:
        """The figure's SVG, which stands alone."""
        return self.path.read_text(encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True, kw_only=True, repr=False)
class TrialResult(ScoreResult):
    """What the records of a trial's folder support.

    Of prompts that are set aside for blind grading `samples` has no row until the grades are locked.
    """

    trial: Trial
    folder: TrialFolder
    failures: Mapping[str, FinetrialError] = field(default_factory=dict)  # arms that did not come through
    notes: tuple[str, ...] = ()  # what was done otherwise than asked, and why
    files: ReportFiles | None = None  # of the report, where this result was written as one

    @property
    def report(self) -> Path | None:
        """The report's page; None where no report was written."""
        page = self.folder.report / "index.html"
        return page if page.exists() else None

    @property
    def costs(self) -> Table:
        """What every arm took, planned and measured: once for tuning, and for every request."""
        return as_table(self._costs(), columns=_COST_COLUMNS)

    def _costs(self) -> Iterator[Mapping[str, Any]]:
        costs = self.findings.costs
        for name, arm in self.trial.arms.items():
            row: dict[str, Any] = {"arm": name, "method": arm.method.name}
            if (path := self.folder.measured(name)).exists():
                row |= {key: getattr(read_object(path, Measured), key) for key in _MEASURED}
            if costs is not None and name in costs.arms:
                row |= asdict(costs.arms[name]) | {"total": costs.totals.get(name), "unit": costs.unit}
            yield row

    @property
    def losses(self) -> Table:
        """Every logged moment of tuning: losses in nats a trained token."""
        return as_table(self._losses(), columns=("arm", *columns_of(TrainingPoint)))

    def _losses(self) -> Iterator[Mapping[str, Any]]:
        for name in self.trial.arms:
            if (path := self.folder.metrics(name)).exists():
                yield from ({"arm": name} | asdict(point) for point in read_rows(path, TrainingPoint))

    @property
    def figures(self) -> Mapping[str, SvgFigure]:
        """The report's figures by name; none before it is written."""
        return {path.stem: SvgFigure(path) for path in sorted((self.folder.report / "figures").glob("*.svg"))}

    def _repr_html_(self) -> str:
        figures = {name: figure.svg for name, figure in self.figures.items()}
        report = None if self.report is None else str(self.report)
        return comparison_html(self.findings, figures=figures, report=report)


def read_result(
    folder: TrialFolder,
    *,
    trial: Trial,
    findings: Findings | None = None,
    scores: Sequence[Score] | None = None,
    failures: Mapping[str, FinetrialError] | None = None,
    notes: tuple[str, ...] = (),
    files: ReportFiles | None = None,
    open_grades: bool = False,
) -> TrialResult:
    """The result of a trial's folder; `findings` and `scores` stand in for the folder's own where they are given.

    It may be of a trial that is half done.
    """
    samples = read_samples(folder, arms=tuple(trial.arms), needed=False)
    if findings is None:
        findings = trial_findings(folder, open_grades=open_grades)
    if scores is None:
        scores = list(read_rows(folder.scores, Score)) if folder.scores.exists() else []
    return TrialResult(
        findings=findings,
        sample_rows=tuple(samples),
        score_rows=tuple(scores),
        set_aside=_set_aside(folder, samples, trial=trial, open_grades=open_grades),
        trial=trial,
        folder=folder,
        failures=failures or {},
        notes=notes,
        files=files,
    )


def _set_aside(
    folder: TrialFolder, samples: Sequence[Sample], *, trial: Trial, open_grades: bool
) -> frozenset[str]:
    """The prompts that people are still to grade blind; none once the grades are locked."""
    state = grading_state(folder)
    if state.settings is None or state.locked_at is not None:
        return frozenset()
    if open_grades:
        read_key(folder, open_grades=True)  # logs the opening, so that later grades do not count as blind
        return frozenset()
    prompts = [sample.prompt_id for sample in samples]
    count = graded_prompts(trial.judging, manifest=Manifest(folder.manifest).content)
    return grading_prompts(prompts, count=count, seed=trial.sampling.seed)
