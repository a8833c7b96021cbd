"""Show the generations side by side, but those that still await blind grading.

Prompts set aside for grading are held back until the grades are opened: a reader who knows which arm wrote what can
no longer grade blind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.document import (
    Answers,
    ArmName,
    Block,
    Completion,
    Excerpt,
    Folded,
    Inline,
    Notice,
    Paragraph,
    SectionMaker,
    Tone,
    Transcript,
)
from finetrial.reporting.formats import sample_letter
from finetrial.reporting.raters_words import grades_by_sample, said_of
from finetrial.reporting.results import Material, Results
from finetrial.reporting.safe_text import one_line, shown
from finetrial.store.records import Sample
from finetrial.units import listing

MOST_SHOWN = 100  # prompts in one page; the rest stand in samples/
_OPEN = 3  # shown without a click
_TEASER = 110  # characters


def _completion(sample: Sample, *, scores: Mapping[str, float], judged: Mapping[str, str | None]) -> Completion:
    text, left_out = shown(sample.text)
    return Completion(
        letter=sample_letter(sample.index),
        text=text,
        left_out=left_out,
        score=scores.get(sample.id),
        end_reason=sample.end_reason,
        judged=judged.get(sample.id),
    )


def _transcript(
    number: int,
    rows: Sequence[Sample],
    *,
    arms: Sequence[str],
    scores: Mapping[str, float],
    judged: Mapping[str, str | None],
    metric: str | None,
    is_open: bool,
) -> Transcript:
    first = rows[0]
    whole_source = next((r.source for r in rows if r.source is not None), first.prompt)
    source, left_out = shown(whole_source)
    references = next((r.references for r in rows if r.references), ())
    answers = [
        Answers(
            arm=arm,
            completions=tuple(
                _completion(r, scores=scores, judged=judged)
                for r in sorted(rows, key=lambda r: r.index)
                if r.arm == arm
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
        answers=tuple(row for row in answers if row.completions),
        metric=None if metric is None else metric_name(metric),
        is_open=is_open,
    )


def _excerpts(rows: Sequence[Sample]) -> tuple[Excerpt, ...]:
    """The prompts that the models were given for one source, equal ones together; none where all saw the source."""
    arms_by_prompt: dict[str, list[str]] = {}
    for row in rows:
        arms = arms_by_prompt.setdefault(row.prompt, [])
        if row.arm not in arms:
            arms.append(row.arm)
    if set(arms_by_prompt) == {rows[0].source if rows[0].source is not None else rows[0].prompt}:
        return ()
    return tuple(Excerpt(_names(arms), *shown(prompt), "samples/") for prompt, arms in arms_by_prompt.items())


def _names(arms: Sequence[str]) -> tuple[Inline, ...]:
    return tuple(part for arm in arms for part in (ArmName(arm), " "))[:-1]


def _note(results: Results, *, beyond: int, from_elsewhere: bool) -> str:
    """How to read the transcripts; of answers made elsewhere nobody knows how they were drawn."""
    text = "The same prompts and random numbers in every arm. A, B, C are an arm’s samples in the order of drawing"
    if from_elsewhere:
        text = "A, B, C are an arm’s samples in the order of the file"
    if results.metric is not None and results.prompt_means:
        text += f", each with its {metric_name(results.metric)} and how it ended"
    notes = [f"{text}."]
    if results.texts_left_out:
        notes.append("Texts are left out: their length and SHA-256 (of the text as JSON writes it) stand for them.")
    if any(arm.more_runs for arm in results.arms):
        notes.append("Of an arm with several training runs the first one’s are shown.")
    if beyond:
        notes.append(f"The first {MOST_SHOWN} prompts are shown; {beyond} more stand in samples/.")
    if results.opened and results.set_aside:
        notes.append("Prompts set aside for blind grading are shown too: grades given after this are not blind.")
    return " ".join(notes)


def _awaiting(numbers: Sequence[int]) -> str:
    """What is held back, and why."""
    listed, one = listing([str(number) for number in numbers]), len(numbers) == 1
    start = f"Prompt {listed} awaits" if one else f"Prompts {listed} await"
    return (
        f"{start} blind grading. {'Its' if one else 'Their'} texts are not shown here, so that who grades cannot "
        "know which arm wrote what."
    )


def _transcripts(material: Material) -> Iterable[Block]:
    records, results = material.records, material.results
    hidden = frozenset() if results.opened or results.locked else records.set_aside
    rows: dict[str, list[Sample]] = {prompt_id: [] for prompt_id in records.prompt_ids}
    for sample in records.samples:
        if not sample.run:  # of several training runs the first is shown
            rows[sample.prompt_id].append(sample)
    numbers = {prompt_id: number for number, prompt_id in enumerate(rows, start=1)}
    free = [prompt_id for prompt_id in rows if prompt_id not in hidden]
    beyond, from_elsewhere = max(0, len(free) - MOST_SHOWN), bool(records.manifest.get("outputs_only"))
    yield Paragraph(_note(results, beyond=beyond, from_elsewhere=from_elsewhere), Tone.ASIDE)
    if hidden:
        yield Notice((_awaiting([numbers[p] for p in rows if p in hidden]),))
    if free and (excerpts := _excerpts(rows[free[0]])):
        yield Folded(f"What each arm was shown, for prompt {numbers[free[0]]}", excerpts)
    names = [arm.name for arm in records.arms]
    judged = {sample_id: said_of(grades) for sample_id, grades in grades_by_sample(records).items()}
    for place, prompt_id in enumerate(free[:MOST_SHOWN]):
        yield _transcript(
            numbers[prompt_id],
            rows[prompt_id],
            arms=names,
            scores=results.sample_values,
            judged=judged,
            metric=results.metric,
            is_open=place < _OPEN,
        )


TRANSCRIPTS = SectionMaker("transcripts", "Transcripts", _transcripts)
