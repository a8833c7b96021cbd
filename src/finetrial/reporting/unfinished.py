"""Say what a trial still lacks: arms that were not tuned or sampled, scores, grades. Nothing where all is done."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from finetrial.evidence.grading_progress import GradingProgress
from finetrial.reporting.gather import ArmRecords, TrialRecords
from finetrial.reporting.safe_text import one_line, plural
from finetrial.units import listing


def unfinished(
    records: TrialRecords, progress: GradingProgress | None, *, dropped: Collection[str] = ()
) -> tuple[str, ...]:
    """What is missing, in the order in which a run does it, each with the command that does it.

    Nothing is missing of arms that were dropped early, nor of their deployed forms.
    """
    return (*_arms(records, dropped=dropped), *([] if progress is None else _grading(progress)))


def _arms(records: TrialRecords, *, dropped: Collection[str]) -> Iterable[str]:
    absent = [
        arm
        for arm in records.arms
        if not arm.samples and arm.name not in dropped and arm.arm.method.deployed_from not in dropped
    ]
    sampled = [arm for arm in records.arms if arm.samples]
    untuned = [arm.name for arm in absent if arm.arm.tuned and not _is_tuned(arm, records)]
    if untuned:
        yield f"{listing(untuned)} {_was(untuned)} not tuned yet: `finetrial run` does it."
    tuned = [arm.name for arm in absent if arm.name not in untuned]
    if absent and not sampled:
        yield "No arm has been sampled yet, so there is nothing to compare: `finetrial run` samples."
    elif absent:
        names = [arm.name for arm in absent]
        verb = "has" if len(names) == 1 else "have"
        run = ": `finetrial run` samples" if tuned else ""
        yield f"{listing(names)} {verb} no samples and stand{'s' * (len(names) == 1)} in no comparison{run}."
    if sampled and not records.scores and records.trial.judging.metrics:
        yield "The samples were not scored yet: `finetrial score` does it."


def _is_tuned(arm: ArmRecords, records: TrialRecords) -> bool:
    steps = records.manifest.get("steps")
    return arm.measured is not None or (isinstance(steps, dict) and f"tune:{arm.name}" in steps)


def _was(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _grading(progress: GradingProgress) -> Iterable[str]:
    texts = f"{plural(progress.items, 'text')} of {plural(progress.prompts, 'prompt')}"
    if progress.asked > 1:
        texts += f", each to be graded by {progress.asked} raters"
    if not any(progress.by_rater.values()):
        if progress.locked:
            yield f"Nobody graded before the grades were locked ({texts})."
        else:
            yield f"Nobody has graded yet: {texts}. `finetrial grade` opens the page."
        return
    given = f"{progress.counted} of {plural(progress.wanted, 'grade')}"
    raters = listing([f"{one_line(name, longest=40)} gave {n}" for name, n in progress.by_rater.items()])
    if progress.is_complete:
        if not progress.locked:
            yield f"All is graded ({texts}) and not counted yet: `finetrial unblind` locks it and opens the key."
    elif progress.locked:
        yield f"The grades were locked when {given} had been given ({texts}): {raters}."
    else:
        yield f"The grading is not done: {given} ({texts}); {raters}. `finetrial grade` goes on."
