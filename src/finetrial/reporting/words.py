"""Which sentences does a report say in every form?"""

from __future__ import annotations

from finetrial.reporting.answer import listing
from finetrial.reporting.results import Results
from finetrial.reporting.text import metric_name
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


def transcripts_note(results: Results, transcripts: Transcripts) -> str:
    """How to read the transcripts."""
    text = "The same prompts and random numbers in every arm. A, B, C are an arm’s samples in the order of drawing"
    if results.metric is not None:
        text += f", each with its {metric_name(results.metric)} and how it ended"
    parts = [f"{text}."]
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
