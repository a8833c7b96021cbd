"""Take from a trial what a worked report says of it, and keep it as one JSON file that needs no weights.

The numbers are those of the trial's own report under the keys of results.json; the texts are those of the prompts
that were graded, with each answer's score and grade.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from finetrial.errors import UserError
from finetrial.evidence.good_grid import majority
from finetrial.evidence.score_table import RatedSample
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.document import Answers, Completion, Transcript
from finetrial.reporting.write import compose_report
from finetrial.store.files import atomic_text
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grade_records import MODEL
from finetrial.store.grades import read_grades
from finetrial.store.layout import TrialFolder

# Of results.json, what is said here; the rest stands in the trial's own report.
_KEPT = (
    *("trial", "title", "answer", "verdict_warnings", "recommendation", "metric", "base", "asked", "arms"),
    *("metrics", "signatures", "warnings", "pairs", "recompute"),
    *("good", "good_by_prompt", "agreement", "grading_facts", "metric_vs_people"),
)


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as a worked report speaks of it."""

    results: Mapping[str, Any]  # under the keys of results.json
    transcripts: tuple[Transcript, ...]  # of the prompts that were graded, by their numbers in the trial

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(arm for arm, row in self.results["arms"].items() if row["samples"])

    @property
    def raters(self) -> Mapping[str, str | None]:
        """Who graded, and as what; empty where nobody did."""
        kinds: Mapping[str, str | None] = (self.results.get("grading_facts") or {}).get("kinds", {})
        return kinds

    @property
    def rater_word(self) -> str:
        """What a table calls those who graded: people, stand-in; raters where kinds differ or are unknown."""
        kinds = set(self.raters.values())
        if not kinds:
            return "nobody"
        word = kinds.pop() if len(kinds) == 1 else None
        return "people" if word == "person" else word or "raters"

    @property
    def counts(self) -> list[dict[str, Any]]:
        """Good answers of so many, a row a prompt and arm; empty where nobody graded."""
        grid = self.results.get("good_by_prompt", ())
        texts = Counter(row["prompt"] for row in grid)
        return [
            {"prompt": row["prompt"] if texts[row["prompt"]] == 1 else row["prompt_id"], "arm": arm, **cell}
            for row in grid
            for arm, cell in row["arms"].items()
        ]


def _judged(folder: TrialFolder) -> Mapping[str, str]:
    """What the readers of each sample said, by the majority of them; a model's grades are none of theirs."""
    read = (grade for grade in unblinded_grades(folder) if grade.rater_kind != MODEL)
    grades = [RatedSample(grade.sample_id, grade.rater, grade.value) for grade in read]
    words = {1: "good", 0: "undecided", -1: "bad"}
    return {sample: words[(vote > 0) - (vote < 0)] for sample, vote in majority(grades).items()}


def _with_grades(transcript: Transcript, *, judged: Mapping[str, str]) -> Transcript:
    def completed(arm: str, index: int, one: Completion) -> Completion:
        return replace(one, judged=judged.get(f"{arm}/{transcript.prompt_id}/{index}"))

    return replace(
        transcript,
        is_open=True,
        answers=tuple(
            Answers(row.arm, tuple(completed(row.arm, n, one) for n, one in enumerate(row.completions)))
            for row in transcript.answers
        ),
    )


def record_of(folder: TrialFolder) -> TrialRecord:
    """The record of a trial folder. Raises AnswerIsNo where somebody has graded and the key is still closed."""
    is_graded = any(grade.rater_kind != MODEL for grade in read_grades(folder))
    judged = _judged(folder) if is_graded else {}
    composed = compose_report(folder, open_grades=False, findings=trial_findings(folder))
    results = json.loads(json.dumps(composed.results))
    graded = frozenset(results["grading"]["set_aside"]) if judged else frozenset()
    transcripts = [block for _, block in composed.document.blocks() if isinstance(block, Transcript)]
    return TrialRecord(
        results={key: results[key] for key in _KEPT if key in results},
        transcripts=tuple(_with_grades(t, judged=judged) for t in transcripts if t.prompt_id in graded),
    )


def keep(record: TrialRecord, path: Path) -> None:
    """Write a record as JSON. Nobody's home is named in it."""
    content = {"results": dict(record.results), "transcripts": [asdict(one) for one in record.transcripts]}
    text = json.dumps(content, ensure_ascii=False, indent=1).replace(str(Path.home()), "~")
    atomic_text(path, text + "\n")


def read_record(path: Path) -> TrialRecord | None:
    """The record of a trial folder or in a kept file; None where there is neither."""
    if path.is_dir():
        return record_of(TrialFolder(path))
    if not path.exists():
        return None
    try:
        return TypeAdapter(TrialRecord).validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is not the kept record of a trial", got=str(error.errors()[0]["msg"])) from None
