"""Which generations may the reader see, and how do they stand side by side?

Prompts set aside for grading are held back until the grades are opened: a reader who knows which arm wrote what can
no longer grade blind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.reporting.gather import ArmRecords, TrialRecords
from finetrial.reporting.text import one_line, shown
from finetrial.store.records import EndReason, Sample
from finetrial.trial.subset import grading_prompts

MOST_SHOWN = 100  # prompts in one page; the rest stand in samples/
_TEASER = 110  # characters


@dataclass(frozen=True, slots=True)
class Completion:
    """One generation as it is shown."""

    letter: str  # A is the sample with index 0
    text: str
    left_out: int  # characters beyond what is shown
    score: float | None  # by the leading metric
    end_reason: EndReason | None

    @property
    def cut(self) -> bool:
        """Did it stop at the limit of new tokens rather than by itself?"""
        return self.end_reason == "length"

    @property
    def ending(self) -> str | None:
        """How it ended, in words; None where nobody recorded it."""
        match self.end_reason:
            case "length":
                return "cut at the limit"
            case "stop_string":
                return "ended at a stop string"
            case "end_token":
                return "ended by itself"
        return None


@dataclass(frozen=True, slots=True)
class Column:
    """One arm's answers to one prompt."""

    arm: str
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One prompt with every arm's answers."""

    number: int  # 1 is the first sampled prompt; prompts held back keep their number
    prompt_id: str
    teaser: str
    source: str
    source_left_out: int
    references: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """What some arms' models were given for one prompt."""

    arms: tuple[str, ...]
    text: str
    left_out: int


@dataclass(frozen=True, slots=True)
class Transcripts:
    """The transcripts of a report, and what is not among them."""

    shown: tuple[Transcript, ...]
    awaiting: tuple[int, ...]  # numbers of the prompts that await grades
    beyond: int  # prompts left out because the page would grow too long
    examples: tuple[ShownPrompt, ...]  # for the first prompt shown; empty where every arm saw the source as it is


def prompt_order(arms: Sequence[ArmRecords]) -> tuple[str, ...]:
    """The ids of all sampled prompts in the order of the sample files."""
    return tuple(dict.fromkeys(sample.prompt_id for arm in arms for sample in arm.samples))


def set_aside(records: TrialRecords) -> frozenset[str]:
    """The prompts that people are to grade blind."""
    count, seed = records.trial.judging.grade_prompts, records.trial.sampling.seed
    return grading_prompts(prompt_order(records.arms), count=count, seed=seed)


def letter(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def _completion(sample: Sample, *, scores: Mapping[str, float | None]) -> Completion:
    text, left_out = shown(sample.text)
    return Completion(
        letter=letter(sample.index),
        text=text,
        left_out=left_out,
        score=scores.get(sample.id),
        end_reason=sample.end_reason,
    )


def _transcript(
    number: int, rows: Sequence[Sample], *, arms: Sequence[str], scores: Mapping[str, float | None]
) -> Transcript:
    first = rows[0]
    whole_source = next((r.source for r in rows if r.source is not None), first.prompt)
    source, left_out = shown(whole_source)
    references = next((r.references for r in rows if r.references), ())
    columns = [
        Column(
            arm=arm,
            completions=tuple(
                _completion(r, scores=scores) for r in sorted(rows, key=lambda r: r.index) if r.arm == arm
            ),
        )
        for arm in arms
    ]
    return Transcript(
        number=number,
        prompt_id=first.prompt_id,
        teaser=one_line(whole_source, longest=_TEASER),
        source=source,
        source_left_out=left_out,
        references=tuple(shown(text)[0] for text in references),
        columns=tuple(column for column in columns if column.completions),
    )


def _examples(rows: Sequence[Sample]) -> tuple[ShownPrompt, ...]:
    """The prompts that the models were given for one source, equal ones together."""
    arms_by_prompt: dict[str, list[str]] = {}
    for row in rows:
        arms = arms_by_prompt.setdefault(row.prompt, [])
        if row.arm not in arms:
            arms.append(row.arm)
    if set(arms_by_prompt) == {rows[0].source if rows[0].source is not None else rows[0].prompt}:
        return ()
    return tuple(ShownPrompt(tuple(arms), *shown(prompt)) for prompt, arms in arms_by_prompt.items())


def transcripts(records: TrialRecords, *, metric: str | None, open_grades: bool) -> Transcripts:
    """The transcripts that may be shown, each sample with its score by `metric`."""
    scores = {s.sample_id: s.value for s in records.scores if s.metric == metric}
    hidden = frozenset() if open_grades or records.grades_locked else set_aside(records)
    rows: dict[str, list[Sample]] = {prompt_id: [] for prompt_id in prompt_order(records.arms)}
    for sample in records.samples:
        if not sample.run:  # of several training runs the first is shown
            rows[sample.prompt_id].append(sample)
    numbers = {prompt_id: number for number, prompt_id in enumerate(rows, start=1)}
    free = [prompt_id for prompt_id in rows if prompt_id not in hidden]
    names = [arm.name for arm in records.arms]
    return Transcripts(
        shown=tuple(_transcript(numbers[p], rows[p], arms=names, scores=scores) for p in free[:MOST_SHOWN]),
        awaiting=tuple(numbers[p] for p in rows if p in hidden),
        beyond=max(0, len(free) - MOST_SHOWN),
        examples=_examples(rows[free[0]]) if free else (),
    )
