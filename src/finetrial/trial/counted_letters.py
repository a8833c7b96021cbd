"""Choose whether metrics of words count those of every script, and say what was chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetrial.metrics.metric import ComputedMetric
from finetrial.metrics.metric_table import find_metric
from finetrial.metrics.tokens import loses_words
from finetrial.trial.schema import Judging


def counts_every_script(judging: Judging, references: Iterable[str]) -> bool:
    """Whether words of every script count. `auto` asks the references alone, never what an arm wrote."""
    return loses_words(set(references)) if judging.unicode == "auto" else judging.unicode


def _counting_words(judging: Judging) -> Iterator[ComputedMetric]:
    """The metrics of the trial that see some letters only where they are told to."""
    for name in dict.fromkeys((judging.primary, *judging.metrics)):
        metric = find_metric(name)
        if isinstance(metric, ComputedMetric) and metric.unseen is not None:
            yield metric


def script_note(judging: Judging, references: Iterable[str]) -> str | None:
    """What `unicode: auto` has chosen, where that is not what the metric counts by itself."""
    metric = next(_counting_words(judging), None)
    if metric is None or judging.unicode != "auto" or not counts_every_script(judging, references):
        return None
    return (
        f"{metric.title} counts the words of every script here (unicode: auto), for the references hold letters "
        "beyond a-z. Its values compare with others of the same signature alone."
    )


def uncounted_letters(judging: Judging, references: Iterable[str]) -> str | None:
    """What `unicode: false` leaves out of these references, before anything is sampled."""
    metric = next(_counting_words(judging), None)
    if metric is None or judging.unicode is not False or not loses_words(references):
        return None
    return (
        f"{metric.title} counts a-z and 0-9 alone (unicode: false), and the held-out completions hold other letters"
    )
