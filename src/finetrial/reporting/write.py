"""Compose a report from a trial's records and write its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.evidence.findings import Findings
from finetrial.reporting.compose import compose_document
from finetrial.reporting.document import Document, Drawing
from finetrial.reporting.gather import TrialRecords, gather
from finetrial.reporting.render.results_json import results_object
from finetrial.reporting.render.terminal import render_terminal
from finetrial.reporting.renderers import ARTICLE, HTML, MARKDOWN, TABLES, renderers
from finetrial.reporting.results import Material, build_results
from finetrial.store.files import atomic_bytes, atomic_text
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder, run_name


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report, and its short form for a terminal."""

    folder: Path
    pages: tuple[Path, ...]  # what the renderers wrote
    figures: tuple[Path, ...]
    terminal: str

    @property
    def html(self) -> Path:
        return self.folder / HTML.file

    @property
    def markdown(self) -> Path:
        return self.folder / MARKDOWN.file

    @property
    def tables(self) -> Path:
        return self.folder / TABLES.file

    @property
    def article(self) -> Path:
        return self.folder / ARTICLE.file

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def all(self) -> tuple[Path, ...]:
        return (*self.pages, self.results, *self.figures)


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
    """A report before it is written: its document, and what each form says of it."""

    document: Document
    results: Mapping[str, Any]  # as results.json holds them
    manifest: Mapping[str, Any]

    @property
    def pages(self) -> dict[str, str]:
        """Every form to be read, by the name of its file."""
        return {renderer.file: renderer.render(self.document) for renderer in renderers()}


def compose_report(folder: TrialFolder, *, open_grades: bool, findings: Findings | None) -> ComposedReport:
    """The report of a trial folder's records. The same records give the same report."""
    records = gather(folder)
    if open_grades and not records.grades_locked and grading_state(folder).settings is not None:
        read_key(folder, open_grades=True)  # logs the opening, so that later grades do not count as blind
    results = build_results(records, hashes=_hashes(records), findings=findings, open_grades=open_grades)
    document = compose_document(Material(records, results))
    return ComposedReport(document, results_object(document, results), records.manifest)


def write_report(
    folder: TrialFolder, *, open_grades: bool = False, findings: Findings | None = None
) -> ReportFiles:
    """Write report/ of a trial folder from its records. The same records give the same bytes.

    `open_grades` also shows the prompts that were set aside for blind grading, which is logged. Raises UserError
    where nothing was sampled or scored yet.
    """
    composed = compose_report(folder, open_grades=open_grades, findings=findings)
    pages, report = composed.pages, folder.report
    content = json.dumps(composed.results, ensure_ascii=False, indent=2, allow_nan=False)
    figures = [
        path for drawing in composed.document.drawings for path in _write_figure(report / "figures", drawing)
    ]
    for name, text in pages.items():
        atomic_text(report / name, text)
    atomic_text(report / "results.json", content + "\n")
    return ReportFiles(
        folder=report,
        pages=tuple(report / name for name in pages),
        figures=tuple(figures),
        terminal=render_terminal(composed.document),
    )
