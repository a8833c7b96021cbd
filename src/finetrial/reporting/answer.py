"""Say in one sentence what a trial's means alone answer.

Used where no comparison has been made; a verdict with its uncertainty takes this sentence's place.
"""

from __future__ import annotations

from collections.abc import Mapping

from finetrial.evidence.sample_scores import ArmMean
from finetrial.metrics.metric import Direction
from finetrial.metrics.metric_table import metric_named
from finetrial.reporting.formats import score
from finetrial.reporting.safe_text import plural
from finetrial.units import listing

CAVEAT = (
    "These are plain means over the prompts; whether the differences would hold on new prompts is not tested here."
)


def plain_answer(means: Mapping[str, ArmMean], *, metric: str | None) -> str:
    """Which arm has the best mean, and the others' means beside it."""
    if metric is None or not any(row.mean is not None for row in means.values()):
        return "There is no verdict: no sample has a score, because no prompt has a reference."
    found = metric_named(metric)
    best, name = found.best({arm: row.mean for arm, row in means.items()}), found.title
    if found.direction is Direction.NEITHER:
        listed = listing([f"{score(row.mean)} for {arm}" for arm, row in means.items() if row.mean is not None])
        return f"No arm is better by {name}, of which neither higher nor lower is better: {listed}."
    extreme = "lowest" if found.direction is Direction.LOWER else "highest"
    others = sorted(
        ((arm, row.mean) for arm, row in means.items() if arm not in best and row.mean is not None),
        key=lambda pair: -found.factor * pair[1],
    )
    counts = sorted({row.n_prompts for row in means.values() if row.mean is not None})
    prompts = plural(counts[0], "held-out prompt")
    if len(counts) > 1:
        prompts = f"{counts[0]} to {counts[-1]} held-out prompts"
    top = score(means[best[0]].mean)
    if len(best) > 1:
        start = f"The arms {listing(list(best))} share the {extreme} mean {name}, {top}, over {prompts}"
    elif others:
        start = f"The arm {best[0]} has the {extreme} mean {name}, {top} over {prompts}"
    else:
        return (
            f"The arm {best[0]} has a mean {name} of {top} over {prompts}; there is no other arm to compare with."
        )
    if not others:
        return f"{start}."
    return f"{start}, against {listing([f'{score(mean)} for {arm}' for arm, mean in others])}."
