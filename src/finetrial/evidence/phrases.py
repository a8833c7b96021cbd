"""Write numbers, lists and tests in the sentences of a verdict."""

from __future__ import annotations

from finetrial.metrics.metric import ArmMetric, Metric
from finetrial.store.grade_records import RatersWord

_MINUS = "−"


def figure(value: float) -> str:
    """0.312, −0.021, or four digits where that is not enough: 1234, 5.1e-05."""
    text = f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def possessive(raters: RatersWord) -> str:
    """people’s, stand-ins’, raters’."""
    return f"{raters}’s" if raters == "people" else f"{raters}’"


def signed(value: float) -> str:
    """+0.214, −0.021."""
    return ("+" if value >= 0 else "") + figure(value)


def p_value(p: float) -> str:
    """p = 0.032, p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def how_compared(metric: Metric) -> str:
    """How two arms are compared by a metric: what is subtracted, the interval, and the test."""
    if isinstance(metric, ArmMetric):
        return (
            f"By {metric.title}, one number of all an arm’s samples: the first arm’s minus the second’s, with "
            "95\u00a0% intervals from resampled prompts. p is the share of swaps of the two arms’ samples within "
            "prompts that give a difference as large. The p after Holm decides."
        )
    return (
        f"By {metric.title}: the first arm’s mean minus the second’s, prompt by prompt, with "
        "95\u00a0% intervals. p is that of a sign-flip test: could the difference be chance, on new prompts like "
        "these? The p after Holm decides."
    )


def about(count: int) -> str:
    """24, 240, 1,300: a planned number of prompts is never known to the last digit."""
    if count < 100:
        return str(count)
    step = 10 ** (len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"
