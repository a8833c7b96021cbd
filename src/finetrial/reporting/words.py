"""Which sentences does a report say in every form?"""

from __future__ import annotations

from finetrial.metrics.all import metric_name
from finetrial.reporting.answer import listing
from finetrial.reporting.numbers import score
from finetrial.reporting.results import Results
from finetrial.reporting.transcripts import MOST_SHOWN, Transcripts

WRITTEN_BY_PROGRAM = (
    "The text that the base model has learned was written by a program. What is seen here shows how the arms "
    "differ, not what a model of people’s writing can do."
)
LOSSES = (
    "The thick line with dots is the loss on the validation data, the thin one on the batches being trained; lower "
    "is better. Only the tokens that are trained count. Where the thick line turns up while the thin one still "
    "falls, an arm is learning its examples by heart."
)


def dots_caption(results: Results) -> str:
    """What the marks of the score figure mean."""
    assert results.metric is not None
    text = f"Each dot is one prompt: the mean {metric_name(results.metric)} of its samples. "
    text += "The upright bar is the arm’s mean"
    if any(cell.low is not None for cell in results.metrics[results.metric].values()):
        text += ", the thick line its 95\u00a0% interval"
    if results.base is not None and len(results.sampled_arms) > 1:
        text += f"; the dashed line marks {results.base}"
    return text + "."


def people_notes(results: Results) -> tuple[str, ...]:
    """How far raters agree with each other, and the metric with them."""
    found, notes = results.findings, []
    agreement = found.agreement
    if agreement is not None and agreement.n_raters > 1:
        if agreement.raw.value is None:
            notes.append(f"Agreement between raters is undefined: {agreement.raw.reason}.")
        else:
            alpha = agreement.krippendorff_alpha
            shown = score(alpha.value) if alpha.value is not None else f"undefined, for {alpha.reason}"
            if alpha.low is not None and alpha.high is not None:
                shown += f" (95\u00a0% interval {score(alpha.low)} to {score(alpha.high)})"
            notes.append(
                f"{agreement.n_raters} raters agree on {100 * agreement.raw.value:.0f}\u00a0% of "
                f"{agreement.raw.n_items} texts; Krippendorff’s alpha is {shown}."
            )
    for metric, row in found.metric_vs_people.items():
        within, ranking = row.concordance, row.ranking
        if within.value is None:
            notes.append(f"{metric_name(metric)} beside people: undefined, for {within.reason}.")
            continue
        bounds = ""
        if within.low is not None and within.high is not None:
            bounds = f" (95\u00a0% interval {100 * within.low:.0f} to {100 * within.high:.0f}\u00a0%)"
        text = (
            f"Of two samples of one prompt that people judged differently, {metric_name(metric)} ranks "
            f"{100 * within.value:.0f}\u00a0%{bounds} as people do; 50\u00a0% is chance."
        )
        if ranking.same_best is not None:
            text += f" Both name one best arm in {100 * ranking.same_best:.0f}\u00a0% of resamples of the prompts."
        if ranking.n_arms == 3:
            text += " With three arms even a perfect rank correlation has p = 1/6."
        notes.append(text)
    return tuple(notes)


def transcripts_note(results: Results, transcripts: Transcripts) -> str:
    """How to read the transcripts."""
    text = "The same prompts and random numbers in every arm. A, B, C are an arm’s samples in the order of drawing"
    if results.metric is not None and results.prompt_means:
        text += f", each with its {metric_name(results.metric)} and how it ended"
    parts = [f"{text}."]
    if any(arm.more_runs for arm in results.arms):
        parts.append("Of an arm with several training runs the first one’s are shown.")
    if transcripts.beyond:
        parts.append(f"The first {MOST_SHOWN} prompts are shown; {transcripts.beyond} more stand in samples/.")
    if results.opened and results.set_aside:
        parts.append("Prompts set aside for blind grading are shown too: grades given after this are not blind.")
    return " ".join(parts)


def awaiting_note(transcripts: Transcripts) -> str | None:
    """What is held back, and why. None where nothing is."""
    if not transcripts.awaiting:
        return None
    numbers = listing([str(number) for number in transcripts.awaiting])
    one = len(transcripts.awaiting) == 1
    start = f"Prompt {numbers} awaits" if one else f"Prompts {numbers} await"
    return (
        f"{start} blind grading. {'Its' if one else 'Their'} texts are not shown here, so that who grades cannot "
        "know which arm wrote what."
    )
