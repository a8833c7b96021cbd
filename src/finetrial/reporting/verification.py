"""Recompute a report's document from the trial's records, and compare every form of it.

Four things are compared: every file that a step of the trial wrote with the hash noted then, every score with the
one computed anew from its sample, the grades of model judges with their stored answers, and every form of the
report with the document that the records give now. Scores that came from elsewhere cannot be computed anew and are
counted apart. Nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.evidence.judge_grades_follow import unfounded_grades
from finetrial.evidence.sample_scores import given_scores, score_samples
from finetrial.evidence.trial_findings import read_samples, trial_findings
from finetrial.reporting.results import read_results
from finetrial.reporting.write import ComposedReport, compose_report
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Score, read_rows
from finetrial.trial.trial_file import load_trial

# Sums in another order, on another machine, differ in the last digits of a double; an assumption, far below what is
# shown.
_TOLERANCE = 1e-9
_SET_BY_RUNS = ("recompute.", "sections.recompute.")  # the last command and versions, which a later run notes anew
_FIGURE = re.compile(r"<svg .*?</svg>", re.DOTALL)  # drawn by a library, whose next version may draw otherwise


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that does not follow from the records. None: absent on that side."""

    what: str
    reported: str | None
    recomputed: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """How much agreed, what did not, and what could not be looked at."""

    numbers: int  # of results.json, equal to those recomputed
    scores: int  # of scores.jsonl, equal to those computed from the samples
    given: int  # scores from elsewhere, which no metric here computes: not recomputed
    files: int  # whose hashes are those noted when they were written
    mismatches: tuple[Mismatch, ...]
    not_checked: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.mismatches


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"


def _same(a: Any, b: Any) -> bool:
    if _is_number(a) and _is_number(b):
        return math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return type(a) is type(b) and bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaves(value: Any, *, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document under its path; an empty object or list is a value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, path=f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, path=f"{path}[{place}]")
    else:
        yield path, value


def _results(reported: Mapping[str, Any], recomputed: Mapping[str, Any]) -> tuple[int, list[Mismatch]]:
    """How many numbers agree, and every value that differs. A key that is absent says what null says.

    Of a report by another version, which may word things otherwise and know other keys, the numbers and hashes that
    it gives are compared.
    """
    later = _SET_BY_RUNS if _ran_since(reported, recomputed) else ()
    said, found = (
        {path: value for path, value in _leaves(side) if not path.startswith(later)}
        for side in (reported, recomputed)
    )
    if _is_of_another_version(reported, recomputed):
        said = {p: v for p, v in said.items() if (_is_number(v) and p != "version") or p.startswith("hashes.")}
        found = {path: value for path, value in found.items() if path in said}
    differing = [
        Mismatch(f"results.json: {path}", _short(said.get(path)), _short(found.get(path)))
        for path in dict.fromkeys((*said, *found))
        if not _same(said.get(path), found.get(path))
    ]
    agreed = sum(_is_number(value) and path in found and _same(value, found[path]) for path, value in said.items())
    return agreed, differing


def _ran_since(reported: Mapping[str, Any], recomputed: Mapping[str, Any]) -> bool:
    """True where the trial was run again after the report was written."""
    return bool(reported.get("recompute") != recomputed["recompute"])


def _is_of_another_version(reported: Mapping[str, Any], recomputed: Mapping[str, Any]) -> bool:
    """True where another version of finetrial wrote the report."""
    return any(reported.get(key) != recomputed[key] for key in ("version", "finetrial"))


def _score_text(score: Score, *, signed: bool) -> str:
    value = "undefined" if score.value is None else str(score.value)
    return f"{value} ({score.signature})" if signed else value


def _scores(folder: TrialFolder) -> tuple[int, int, list[Mismatch]]:
    """Every row of scores.jsonl beside the score computed from its sample; rows from elsewhere are counted."""
    loaded = load_trial(folder.root)
    samples = read_samples(folder, arms=tuple(loaded.trial.arms))
    rows = list(read_rows(folder.scores, Score))
    given = {(s.sample_id, s.metric) for s in given_scores(rows)}
    said = {(s.sample_id, s.metric): s for s in rows if (s.sample_id, s.metric) not in given}
    found = {
        (s.sample_id, s.metric): s for s in score_samples(samples, judging=loaded.trial.judging, base=loaded.base)
    }
    agreed, differing = 0, []
    for key in dict.fromkeys((*said, *found)):
        a, b = said.get(key), found.get(key)
        if a is not None and b is not None and _same(a.value, b.value) and a.signature == b.signature:
            agreed += 1
            continue
        alike = a is not None and b is not None and a.signature == b.signature
        sides = (None if s is None else _score_text(s, signed=not alike) for s in (a, b))
        differing.append(Mismatch(f"scores.jsonl: {key[1]} of {key[0]}", *sides))
    return agreed, len(given), differing


def _steps(folder: TrialFolder, steps: Mapping[str, Any]) -> tuple[int, list[Mismatch], list[str]]:
    """Every file that a step wrote, beside the hash it had then. Weights may be left out of a copied folder."""
    agreed, differing, absent = 0, [], []
    for step, record in steps.items():
        for name, noted in record.get("outputs", {}).items():
            path = folder.root / name
            if not path.exists() and path.suffix == ".safetensors":
                absent.append(f"{name} is not here; the report does not read it")
                continue
            now = hash_file(path) if path.exists() else None
            if now == noted or (path == folder.scores and path.exists() and _hash_of_computed(path) == noted):
                agreed += 1
            else:
                differing.append(Mismatch(f"{name}, as the step {step} wrote it", noted, now or "no such file"))
    return agreed, differing, absent


def _hash_of_computed(path: Path) -> str:
    """The hash of scores.jsonl without the rows from elsewhere, which may be added to it after the step."""
    given = {score.metric for score in given_scores(read_rows(path, Score))}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = (line for line in lines if line.strip() and json.loads(line)["metric"] not in given)
    return hashlib.sha256(b"".join(kept)).hexdigest()


def _pages(folder: TrialFolder, composed: ComposedReport) -> list[Mismatch]:
    """The pages that differ from the document of the records, figures apart."""
    differing = []
    for name, text in composed.pages.items():
        path = folder.report / name
        if not path.exists():
            differing.append(Mismatch(f"report/{name}", None, "a page"))
            continue
        now = path.read_text(encoding="utf-8")
        said, found = (_FIGURE.sub("", page).split("\n") for page in (now, text))
        if said != found:
            number, lines = _first_difference(said, found)
            differing.append(Mismatch(f"report/{name}, line {number}", *(_short(line) for line in lines)))
    return differing


def _first_difference(a: Sequence[str], b: Sequence[str]) -> tuple[int, tuple[str | None, str | None]]:
    for number, (one, other) in enumerate(zip(a, b, strict=False), start=1):
        if one != other:
            place = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), 0)
            start = max(0, place - 30)
            return number, (one[start : start + 64], other[start : start + 64])
    number = min(len(a), len(b))
    return number + 1, (next(iter(a[number:]), None), next(iter(b[number:]), None))


def _judged(folder: TrialFolder) -> list[Mismatch]:
    """The grades of model judges that do not follow from their stored answers."""
    found = unfounded_grades(folder, load_trial(folder.root).trial)
    return [Mismatch(what, _short(stored), _short(follows)) for what, stored, follows in found]


def verify(folder: TrialFolder) -> Verification:
    """Recompute a trial's report from its records and compare. Raises UserError where there is no report."""
    reported = read_results(folder)
    opened = bool(reported.get("grading", {}).get("opened"))
    composed = compose_report(folder, open_grades=opened, findings=trial_findings(folder, open_grades=opened))
    recomputed = json.loads(json.dumps(composed.results, allow_nan=False))
    files, changed, absent = _steps(folder, composed.manifest.get("steps", {}))
    scores, given, scored_otherwise = _scores(folder)
    numbers, differing = _results(reported, recomputed)
    pages = []
    if _is_of_another_version(reported, recomputed):
        absent.append("wording and pages, which another version wrote; `finetrial report` writes them anew")
    elif _ran_since(reported, recomputed):
        absent.append("the pages: the trial was run again since; `finetrial report` writes them anew")
    else:
        pages = _pages(folder, composed)
    return Verification(
        numbers=numbers,
        scores=scores,
        given=given,
        files=files,
        mismatches=(*changed, *scored_otherwise, *_judged(folder), *differing, *pages),
        not_checked=tuple(absent),
    )
