"""Compose a report from a trial's records and write its files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from finetrial.evidence.findings import Findings
from finetrial.evidence.grading_progress import GradingProgress, grading_progress
from finetrial.reporting.compose import compose_document
from finetrial.reporting.document import Document, Drawing
from finetrial.reporting.gather import TrialRecords, gather
from finetrial.reporting.left_out_texts import findings_without_texts, records_without_texts
from finetrial.reporting.render.comma_separated import numbers_csv
from finetrial.reporting.render.results_json import results_object
from finetrial.reporting.render.terminal import render_terminal
from finetrial.reporting.renderers import ARTICLE, HTML, MARKDOWN, NUMBERS, TABLES, renderers
from finetrial.reporting.results import ArmResult, Material, build_results
from finetrial.store.files import atomic_bytes, atomic_text
from finetrial.store.grade_chain import read_chain
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.left_out import original_hashes
from finetrial.store.lock_record import write_lock_record
from finetrial.store.records import Score


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of a report, and its short form for a terminal."""

    folder: Path
    pages: tuple[Path, ...]  # what the renderers wrote
    figures: tuple[Path, ...]
    terminal: str
    digest: str | None = None  # of samples and measurements, of a trial that nobody grades; None: it is graded

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
    files = [folder.trial, folder.data, folder.plan, folder.run_time, folder.judging, folder.scores]
    files += [folder.diagnostics, folder.columns, folder.items, folder.pairs, folder.seal, folder.early]
    files += sorted(folder.pilots.glob("*/1-in-*.json")) if folder.early.exists() else []
    for arm in records.arms:
        files += [folder.measured(arm.name), folder.metrics(arm.name), folder.samples(arm.name)]
        runs = [run_name(arm.name, run=run) for run in range(records.trial.runs_of(arm.name) or 1)]
        files += [path for run in runs for path in (folder.retained(run), folder.references(run))]
        files += [folder.search(arm.name)] if arm.search is not None else []
        files += [folder.measured(run_name(arm.name, run=run)) for run in range(1, records.trial.runs_of(arm.name))]
        files += arm_files(folder, arm.name, runs=records.trial.runs_of(arm.name))
    found = {path.relative_to(folder.root).as_posix(): hash_file(path) for path in files if path.exists()}
    noted = {name: records.manifest.get(name) for name in ("steps", "resolved")}
    found |= {f"manifest.json: {name}": hash_value(value) for name, value in noted.items() if value}
    found |= _grading_hashes(records)
    originals = original_hashes(folder)
    return found | {name: noted for name, noted in originals.items() if name in found or name == "columns.jsonl"}


def arm_files(folder: TrialFolder, arm: str, *, runs: int) -> list[Path]:
    """What stands beside an arm's weights and is read with them: configuration, the adapter's, the tokenizer's."""
    suffixes = {".json", ".jinja", ".txt", ".model"}
    places = [folder.arm(run_name(arm, run=run)) for run in range(runs)]
    return [path for place in places for path in sorted(place.glob("*")) if path.suffix in suffixes]


def _grading_hashes(records: TrialRecords) -> dict[str, str]:
    """What stands for key and grades, once they are locked: before, they may change."""
    folder = records.folder
    if not records.grades_locked or (chain := read_chain(folder)) is None:
        return {}
    key = {"key.json": hash_file(folder.key)} if folder.key.exists() else {}
    return key | {"grades.sqlite: chain of events": chain.head}


def _write_figure(folder: Path, drawing: Drawing) -> tuple[Path, Path]:
    svg, png = folder / f"{drawing.name}.svg", folder / f"{drawing.name}.png"
    atomic_text(svg, drawing.file)
    atomic_bytes(png, drawing.png)
    return svg, png


@dataclass(frozen=True)
class ComposedReport:
    """A report before it is written: its document, and what each form says of it."""

    document: Document
    results: Mapping[str, Any]  # as results.json holds them
    manifest: Mapping[str, Any]
    arms: tuple[ArmResult, ...]

    @cached_property
    def pages(self) -> dict[str, str]:
        """Every form to be read, by the name of its file."""
        rendered = {renderer.file: renderer.render(self.document) for renderer in renderers()}
        return {**rendered, NUMBERS: numbers_csv(self.results)}


def _remove_figures(folder: TrialFolder, *, but: Collection[str]) -> None:
    """Remove the figures that the last report had and this one has not: nothing follows them any more."""
    results = folder.report / "results.json"
    if not results.exists():
        return
    try:
        before = json.loads(results.read_text(encoding="utf-8")).get("sections", {})
        names = {block["figure"] for section in before.values() for block in section["blocks"] if "figure" in block}
    except (ValueError, AttributeError, TypeError, KeyError):
        return  # another program's file; verification names what is strange
    for name in names - set(but):
        for form in (".svg", ".png"):
            path = folder.report / "figures" / f"{name}{form}"
            if path.parent == folder.report / "figures":
                path.unlink(missing_ok=True)


def compose_report(
    folder: TrialFolder,
    *,
    open_grades: bool,
    findings: Findings | None,
    scores: Sequence[Score] | None = None,
    provenance: dict[str, str] | None = None,
    progress: GradingProgress | None = None,
    texts: bool = True,
) -> ComposedReport:
    """The report of a trial folder's records. The same records give the same report.

    `scores` stand in for those of scores.jsonl, `provenance` for what the manifest says of the last run, and
    `progress` for how far the grading has come. Without `texts` length and hash stand for prompts, answers and
    references.
    """
    material = read_material(
        folder,
        open_grades=open_grades,
        findings=findings,
        scores=scores,
        provenance=provenance,
        progress=progress,
        texts=texts,
    )
    document = compose_document(material)
    results = material.results
    return ComposedReport(document, results_object(document, results), material.records.manifest, results.arms)


def read_material(
    folder: TrialFolder,
    *,
    open_grades: bool,
    findings: Findings | None,
    scores: Sequence[Score] | None = None,
    provenance: dict[str, str] | None = None,
    progress: GradingProgress | None = None,
    texts: bool = True,
) -> Material:
    """What a report of a trial folder is made from. `open_grades` shows what awaits blind grading, and logs it."""
    records = gather(folder, scores=scores)
    if provenance is not None:
        records = replace(records, provenance=provenance)
    if open_grades and not records.grades_locked and grading_state(folder).settings is not None:
        read_key(folder, open_grades=True)  # logs the opening, so that later grades do not count as blind
    results = build_results(
        records,
        hashes=_hashes(records),
        findings=findings,
        open_grades=open_grades,
        progress=progress or grading_progress(folder),
    )
    if not texts:  # only now: every number is of the texts themselves
        shown = findings_without_texts(results.findings)
        return Material(records_without_texts(records), replace(results, findings=shown, texts_left_out=True))
    return Material(records, results)


def report_paths(folder: TrialFolder, composed: ComposedReport) -> tuple[Path, ...]:
    """Every file of a report."""
    figures = folder.report / "figures"
    drawn = [figures / f"{one.name}{form}" for one in composed.document.drawings for form in (".svg", ".png")]
    return (*(folder.report / name for name in composed.pages), folder.report / "results.json", *drawn)


def write_report(
    folder: TrialFolder, *, open_grades: bool = False, findings: Findings | None = None, texts: bool = True
) -> ReportFiles:
    """Write report/ of a trial folder from its records. The same records give the same bytes.

    `open_grades` also shows the prompts that were set aside for blind grading, which is logged. Of a trial that is
    half done the report says what is missing. Without `texts` length and hash stand for prompts, answers and
    references.
    """
    composed = compose_report(folder, open_grades=open_grades, findings=findings, texts=texts)
    pages, report = composed.pages, folder.report
    content = json.dumps(composed.results, ensure_ascii=False, indent=2, allow_nan=False)
    _remove_figures(folder, but={drawing.name for drawing in composed.document.drawings})
    figures = [
        path for drawing in composed.document.drawings for path in _write_figure(report / "figures", drawing)
    ]
    for name, text in pages.items():
        atomic_text(report / name, text)
    atomic_text(report / "results.json", content + "\n")
    # The digest stands for what a trial holds when it is done; where people grade, the lock's takes its place.
    open_ended = grading_state(folder).events > 0 or any(arm.n_samples == 0 for arm in composed.arms)
    return ReportFiles(
        folder=report,
        pages=tuple(report / name for name in pages),
        figures=tuple(figures),
        terminal=render_terminal(composed.document),
        digest=None if open_ended else write_lock_record(folder),
    )
