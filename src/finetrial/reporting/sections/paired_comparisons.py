"""Show every two arms compared prompt by prompt, by the metric that decides and by the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from finetrial.evidence.pairs import Pairs
from finetrial.evidence.phrases import how_compared
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.reporting import formats
from finetrial.reporting.document import ArmName, Block, Folded, Inline, SectionMaker, Table, TableCell, TableRow
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import Material, Results
from finetrial.stats.comparison import ALPHA, Comparison


def _pair_table(results: Results) -> Table:
    """Every two arms by the metric that decides: on new prompts, and beside it by the other two questions."""
    deciding = [pair for pair in results.findings.pairs if pair.metric == results.metric]
    asked = {question: _by_arms(deciding, question) for question in ("new", "these", "retrained")}
    columns = ["Difference", "p", "p after Holm", "Won, lost, tied"]
    columns += ["p, these prompts"] * bool(asked["these"]) + ["p, another training run"] * bool(asked["retrained"])
    rows = []
    for (a, b), pair in asked["new"].items():
        cells = [
            _difference_cell(pair),
            TableCell(formats.p_value(pair.p)),
            TableCell(formats.p_value(pair.p_holm) if pair.confirmatory or pair.p is None else "exploratory"),
            TableCell(DASH if pair.wins is None else f"{pair.wins}, {pair.losses}, {pair.ties}"),
        ]
        for question in ("these", "retrained"):
            if asked[question]:
                other = asked[question].get((a, b))
                cells.append(TableCell(formats.p_value(other.p) if other else DASH))
        rows.append(TableRow(_versus(a, b), tuple(cells)))
    return Table("pairs", "Pair", tuple(columns), tuple(rows), _pair_note(results, asked=asked))


def _by_arms(pairs: Sequence[Comparison], question: str) -> dict[tuple[str, str], Comparison]:
    return {_arms(pair): pair for pair in pairs if pair.question == question}


def _arms(pair: Comparison) -> tuple[str, str]:
    assert pair.a is not None and pair.b is not None  # every comparison of a trial names its arms
    return pair.a, pair.b


def _pair_note(results: Results, *, asked: Mapping[str, Mapping[tuple[str, str], Comparison]]) -> str:
    note = how_compared(metric_named(results.metric or ""))
    if asked["these"]:
        note += " Beside it, whether the arms differ on these very prompts, where only sampling varies."
    if results.findings.exploratory:
        note += " What is marked exploratory was not named before the trial."
    note += _reachable(asked["new"].values())
    known = [row.detectable for row in results.findings.power if row.detectable is not None]
    if known:
        n = max(row.n_prompts for row in results.findings.power)
        span = " to ".join(dict.fromkeys((formats.score(min(known)), formats.score(max(known)))))
        note += f" {n} prompts have 80\u00a0% power to detect a true difference of {span}."
    elif results.findings.power and (reason := results.findings.power[0].reason):
        note += f" {reason[0].upper()}{reason[1:]}."
    return note


def _reachable(pairs: Iterable[Comparison]) -> str:
    """The least p that these prompts could have given, and whether it is below .05 after the correction."""
    listed = list(pairs)
    least = Pairs(tuple(listed)).smallest_reachable
    single = min((pair.smallest_p for pair in listed if pair.smallest_p is not None), default=None)
    if least is None or single is None:
        return ""
    n = sum(pair.p is not None for pair in listed)
    note = f" The smallest p that these prompts could give is {formats.smallest(single)}"
    note += f", and {formats.smallest(min(1.0, least))} after correcting for {n} comparisons" if n > 1 else ""
    return note + (": no result could reach p\u00a0<\u00a0.05." if least >= ALPHA else ".")


def _versus(a: str, b: str) -> tuple[Inline, ...]:
    return (ArmName(a), " against ", ArmName(b))


def _exploratory(results: Results) -> Table:
    """Every two arms by the other metrics, which were not named to decide."""
    rows = tuple(
        TableRow(
            _versus(*_arms(pair)),
            (TableCell(metric_name(pair.metric or "")), _difference_cell(pair), TableCell(formats.p_value(pair.p))),
        )
        for pair in results.findings.pairs
        if pair.metric != results.metric and pair.question == "new"
    )
    note = "Exploratory: these metrics were not named to decide, and their p-values are not corrected."
    return Table("exploratory", "Pair", ("Metric", "Difference", "p"), rows, note, n_text=1)


def _difference_cell(pair: Comparison) -> TableCell:
    interval = () if pair.low is None or pair.high is None else (formats.difference_span(pair.low, pair.high),)
    return TableCell(formats.difference(pair.difference), interval)


def _comparisons(material: Material) -> Iterable[Block]:
    results = material.results
    if (pairs := _pair_table(results)).rows:
        yield pairs
    if (other := _exploratory(results)).rows:
        yield Folded("By the other metrics", (other,))


COMPARISONS = SectionMaker("pairs", "Paired comparisons", _comparisons, needs=lambda m: m.results.findings.pairs)
