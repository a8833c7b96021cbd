"""What does writing a report make, and from which records?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.evidence.findings import Findings
from finetrial.reporting.figures import Drawing, loss_curves, score_dots
from finetrial.reporting.gather import TrialRecords, gather
from finetrial.reporting.latex import render_latex
from finetrial.reporting.markdown import render_markdown
from finetrial.reporting.page import render_page
from finetrial.reporting.results import Results, build_results, results_object
from finetrial.reporting.transcripts import transcripts
from finetrial.store.files import atomic_bytes, atomic_text
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder, run_name


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report."""

    html: Path
    markdown: Path
    latex: Path
    results: Path
    figures: tuple[Path, ...]

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.html, self.markdown, self.latex, self.results, *self.figures)


def _hashes(records: TrialRecords) -> dict[str, str]:
    """The hash of every record file that the report was made from, by its name in the folder.

    The manifest is not among them: it records the report's own hashes.
    """
    folder = records.folder
    files = [folder.trial, folder.data, folder.plan, folder.judging, folder.scores, folder.diagnostics]
    for arm in records.arms:
        files += [folder.measured(arm.name), folder.metrics(arm.name), folder.samples(arm.name)]
        files += [
            folder.retained(run_name(arm.name, run=run)) for run in range(records.trial.runs_of(arm.name) or 1)
        ]
        files += [folder.search(arm.name)] if arm.search is not None else []
        files += [folder.measured(run_name(arm.name, run=run)) for run in range(1, records.trial.runs_of(arm.name))]
    return {path.relative_to(folder.root).as_posix(): hash_file(path) for path in files if path.exists()}


def _write_figure(folder: Path, drawing: Drawing) -> tuple[Path, Path]:
    svg, png = folder / f"{drawing.name}.svg", folder / f"{drawing.name}.png"
    atomic_text(svg, drawing.file)
    atomic_bytes(png, drawing.png)
    return svg, png


@dataclass(frozen=True, slots=True)
class ComposedReport:
    """A report before it is written."""

    results: Results
    html: str
    markdown: str
    latex: str
    drawings: tuple[Drawing, ...]
    manifest: Mapping[str, Any]


def compose_report(folder: TrialFolder, *, open_grades: bool, findings: Findings | None) -> ComposedReport:
    """The report of a trial folder's records. The same records give the same report."""
    records = gather(folder)
    if open_grades and not records.grades_locked and grading_state(folder).settings is not None:
        read_key(folder, open_grades=True)  # logs the opening, so that later grades do not count as blind
    results = build_results(records, hashes=_hashes(records), findings=findings, open_grades=open_grades)
    shown = transcripts(records, metric=results.metric, open_grades=open_grades)
    losses, dots = loss_curves(results), score_dots(results)
    return ComposedReport(
        results=results,
        html=render_page(results, shown, losses=losses, dots=dots),
        markdown=render_markdown(results, shown, losses=losses, dots=dots),
        latex=render_latex(results),
        drawings=tuple(drawing for drawing in (losses, dots) if drawing),
        manifest=records.manifest,
    )


def write_report(
    folder: TrialFolder, *, open_grades: bool = False, findings: Findings | None = None
) -> ReportFiles:
    """Write report/ of a trial folder from its records. The same records give the same bytes.

    `open_grades` also shows the prompts that were set aside for blind grading, which is logged. Raises UserError
    where nothing was sampled or scored yet.
    """
    composed = compose_report(folder, open_grades=open_grades, findings=findings)
    files = ReportFiles(
        html=folder.report / "index.html",
        markdown=folder.report / "report.md",
        latex=folder.report / "tables.tex",
        results=folder.report / "results.json",
        figures=tuple(
            path for drawing in composed.drawings for path in _write_figure(folder.report / "figures", drawing)
        ),
    )
    content = json.dumps(results_object(composed.results), ensure_ascii=False, indent=2, allow_nan=False)
    atomic_text(files.html, composed.html)
    atomic_text(files.markdown, composed.markdown)
    atomic_text(files.latex, composed.latex)
    atomic_text(files.results, content + "\n")
    return files
