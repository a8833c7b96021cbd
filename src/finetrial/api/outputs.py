"""Score outputs from anywhere, and compare the arms of several results; neither needs a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.api.frames import is_rows, read_rows_given
from finetrial.api.score_result import ScoreResult
from finetrial.errors import UserError, unknown_name
from finetrial.evidence.file_findings import ScoringOptions, score_outputs
from finetrial.evidence.outputs_file import outputs_of_rows, read_outputs_file

if TYPE_CHECKING:
    from finetrial.api.result import TrialResult

RULES = ("best_primary", "best", "mean")


def score(
    rows: Any,
    *,
    primary: str | None = None,
    metrics: Sequence[str] | None = None,
    margin: float | None = None,
    references: str = RULES[0],
    stemmer: bool = False,
    unicode: bool | None = None,
    values: Sequence[str] = (),
    lower: Sequence[str] = (),
    cost: Sequence[str] = (),
    slices: Sequence[str] = (),
    seed: int = 0,
) -> ScoreResult:
    """Score outputs, compare every two arms, and say what the numbers support.

    `rows` are a list of mappings, a DataFrame or a .jsonl, .csv or .tsv file with prompt, arm, text, reference, and
    optionally grade, rater, source, group, run. `values` are columns of numbers to analyse, of which less is better
    for those in `lower`; `margin` is how much worse than the best is still good enough; `cost` names the arms,
    cheapest first; `slices` are columns by whose values the arms are compared too, length that of the prompt;
    `unicode` None counts words of every script where the references need it. Raises UserError with
    the row that is wrong.
    """
    if references not in RULES:
        raise unknown_name("rule for several references", references, RULES)
    asked = ScoringOptions(
        primary=primary,
        metrics=None if metrics is None else tuple(metrics),
        margin=margin,
        references=references,
        stemmer=stemmer,
        unicode=unicode,
        values=tuple(dict.fromkeys(values)),
        lower_is_better=tuple(lower),
        costs=tuple(cost),
        slices=tuple(slices),
        seed=seed,
    )
    if is_rows(rows):
        given = read_rows_given(rows, name="the outputs")
        placed = ((f"row {number}", row) for number, row in enumerate(given, start=1))
        found = outputs_of_rows(placed, name="the list of rows", values=asked.values)
    elif isinstance(rows, (str, Path)):
        found = read_outputs_file(Path(rows), values=asked.values)
    else:
        raise UserError(
            "outputs are neither rows nor a file",
            got=type(rows).__name__,
            expected="a list of mappings with prompt, arm and text, a DataFrame, or a file's path",
        )
    scored = score_outputs(found, asked=asked)
    return ScoreResult(findings=scored.findings, sample_rows=scored.outputs.samples, score_rows=scored.scores)


def compare(
    results: Mapping[str, ScoreResult] | Sequence[TrialResult],
    *,
    primary: str | None = None,
    metrics: Sequence[str] | None = None,
    margin: float | None = None,
    cost: Sequence[str] = (),
    seed: int = 0,
) -> ScoreResult:
    """Compare the arms of several results on the prompts that all of them answered.

    The arm `lora` of {"rank 4": result} is called "rank 4/lora"; in a list, a trial's own name stands there.
    Prompts are the same where their text is, before any template. The primary metric and the margin are the
    results' own unless given; scores are computed anew from the texts. Texts that await blind grades are left out.
    Raises UserError where the results share no prompt.
    """
    named = _named(results)
    own = {result.primary for result in named.values()} - {None, "grade"}
    if primary is None and not own:
        raise UserError("grades are not carried into a comparison of results", fix="Name a metric: primary=...")
    if primary is None and len(own) > 1:
        raise UserError(
            "the results are judged by different metrics",
            got=", ".join(sorted(map(str, own))),
            fix="Name the one that decides: primary=...",
        )
    shared = set.intersection(*(_prompts(result) for result in named.values()))
    if not shared:
        raise UserError("the results share no prompt", fix="Compare trials that hold the same rows out.")
    rows = [row for name, result in named.items() for row in _rows(result, name=name, shared=shared)]
    return score(
        rows,
        primary=primary or next((name for name in own if name), None),
        metrics=metrics,
        margin=_margin(named) if margin is None else margin,
        cost=cost,
        seed=seed,
    )


def _margin(named: Mapping[str, ScoreResult]) -> float | None:
    """The margin that all results were judged by; None where they differ."""
    recommended = (result.recommendation for result in named.values())
    margins = {row.margin for row in recommended if row is not None}
    return margins.pop() if len(margins) == 1 else None


def _named(results: Mapping[str, ScoreResult] | Sequence[TrialResult]) -> Mapping[str, ScoreResult]:
    if len(results) < 2:
        raise UserError("there is nothing to compare", got=f"{len(results)} results", expected="at least two")
    if isinstance(results, Mapping):
        return results
    named = {result.trial.trial: result for result in results}
    if len(named) < len(results):
        raise UserError(
            "two of the results are of trials with one name",
            got=", ".join(result.trial.trial for result in results),
            fix='Name them: compare({"first": ..., "second": ...}).',
        )
    return named


def _source(prompt: str, source: str | None) -> str:
    return prompt if source is None else source


def _prompts(result: ScoreResult) -> set[str]:
    shown = (row for row in result.sample_rows if row.prompt_id not in result.set_aside)
    return {_source(row.prompt, row.source) for row in shown}


def _rows(result: ScoreResult, *, name: str, shared: set[str]) -> Iterator[dict[str, Any]]:
    for row in result.sample_rows:
        source = _source(row.prompt, row.source)
        if source in shared and row.prompt_id not in result.set_aside:
            yield {
                "prompt": row.prompt,
                "source": source,
                "arm": f"{name}/{row.arm}",
                "text": row.text,
                "references": list(row.references),
                "group": row.group,
                "run": row.run,
            }
