"""Samples and tables of values to conclude from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.findings import Findings
from finetrial.stats.comparison import Comparison
from finetrial.store.records import Sample, Score

# arm -> prompt -> the values of its samples
Values = Mapping[str, Mapping[str, Sequence[float | None]]]


def sample(
    arm: str,
    prompt: str,
    index: int = 0,
    *,
    text: str | None = None,
    references: tuple[str, ...] = (),
    group: str | None = None,
    source: str | None = None,
    end_reason: str | None = None,
) -> Sample:
    return Sample(
        id=f"{arm}/{prompt}/{index}",
        prompt_id=prompt,
        group=group,
        arm=arm,
        index=index,
        prompt=f"[{arm}] {source or prompt}",
        text=f"{arm} says {index} to {prompt}." if text is None else text,
        token_ids=None,
        references=references,
        end_reason=end_reason,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
        source=source or prompt,
    )


def from_values(
    values: Values, *, metric: str = "rouge1", groups: Mapping[str, str] | None = None
) -> tuple[list[Sample], list[Score]]:
    """Samples with these scores; every sample has a text of its own."""
    samples, scores = [], []
    for arm, prompts in values.items():
        for prompt, row in prompts.items():
            for index, value in enumerate(row):
                one = sample(arm, prompt, index, group=(groups or {}).get(prompt))
                samples.append(one)
                scores.append(Score(one.id, metric, value, metric))
    return samples, scores


def concluded(values: Values, *, groups: Mapping[str, str] | None = None, **setting: object) -> Findings:
    """The findings of these values by rouge1, unless the setting says otherwise."""
    samples, scores = from_values(values, groups=groups)
    return conclude(samples, scores, setting=AnalysisSettings(**{"primary": "rouge1", **setting}))


def pair(findings: Findings, a: str, b: str, *, question: str = "new", metric: str = "rouge1") -> Comparison:
    found = [p for p in findings.pairs if (p.metric, p.a, p.b, p.question) == (metric, a, b, question)]
    assert len(found) == 1
    return found[0]


def steps(base: float, *gains: float) -> dict[str, list[float]]:
    """One sample a prompt: the base's value raised by each prompt's gain."""
    return {f"p{i:03}": [base + gain] for i, gain in enumerate(gains)}
