"""Write a report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial import __version__
from finetrial.evidence.verdict_warnings import HEADING
from finetrial.metrics.all import metric_name
from finetrial.reporting import tables, words
from finetrial.reporting.answer import CAVEAT
from finetrial.reporting.figures import Drawing
from finetrial.reporting.grading import grading_notes, said_title, strength_table
from finetrial.reporting.numbers import score
from finetrial.reporting.results import Results
from finetrial.reporting.serving import serving_table
from finetrial.reporting.tables import Table, TableCell
from finetrial.reporting.text import fenced, markdown, visible
from finetrial.reporting.transcripts import Completion, Transcript, Transcripts

MOST_TRANSCRIPTS = 20  # the page has more


def _cell(cell: TableCell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} ({'; '.join(cell.lines)})" if cell.lines else text


def _table(first: str, table: Table, *, with_about: bool, against: bool = False) -> str:
    """A pipe table; numbers to the right."""
    lines = [f"| {first} | " + " | ".join(markdown(column) for column in table.columns) + " |"]
    lines.append("|---|" + "---:|" * len(table.columns))
    for row in table.rows:
        name = markdown(row.arm)
        if against:
            name += f" against {markdown(row.about)}"
        elif with_about and row.about:
            name += f": {markdown(row.about)}"
        lines.append(f"| {name} | " + " | ".join(_cell(cell) for cell in row.cells) + " |")
    return "\n".join(lines)


def _ending(completion: Completion) -> str:
    known = [score(completion.score)] if completion.score is not None else []
    if completion.ending is not None:
        known.append(f"**{completion.ending}**" if completion.cut else completion.ending)
    return f" ({', '.join(known)})" if known else ""


def _body(text: str, left_out: int) -> str:
    return fenced(f"{text or '(no text)'}{f' … {left_out} more characters' if left_out else ''}")


def _transcript(one: Transcript) -> Iterable[str]:
    yield f"### === PROMPT {one.number} ==="
    yield _body(one.source, one.source_left_out)
    if one.references:
        yield "Reference" + "s" * (len(one.references) > 1)
        yield from (fenced(text) for text in one.references)
    for column in one.columns:
        yield f"#### {markdown(column.arm)}"
        for completion in column.completions:
            yield f"{completion.letter}{_ending(completion)}"
            yield _body(completion.text, completion.left_out)


def _facts(results: Results) -> Iterable[str]:
    yield "## What was asked"
    yield "\n".join(f"- {fact.label}: {markdown(fact.text)}" for fact in results.asked)


def _tables(results: Results, *, losses: Drawing | None, dots: Drawing | None) -> Iterable[str]:
    costs, scores = tables.cost_table(results), tables.score_table(results)
    yield "## The arms and what they cost"
    yield _table("Arm", costs, with_about=True)
    yield costs.note
    serving = serving_table(results)
    if serving.rows:
        yield "### What a request takes"
        yield _table("Arm", serving, with_about=False)
        yield serving.note
    searches = tables.search_table(results)
    if searches.rows:
        yield "### The search for learning rates"
        yield _table("Arm", searches, with_about=False)
        yield searches.note
    if losses:
        yield f"## Loss while tuning\n\n![{losses.description}](figures/losses.svg)"
        yield words.LOSSES
    yield "## Scores"
    if scores.rows and results.metrics:
        yield _table("Arm", scores, with_about=False)
    yield scores.note
    if dots:
        yield f"![{dots.description}](figures/scores.svg)"
        yield words.dots_caption(results)
    more = (
        ("Arm against arm", "Pair", tables.pair_table(results)),
        ("Arm against arm by other metrics", "Pair", tables.exploratory_table(results)),
        (said_title(results), "Arm", tables.good_table(results)),
        ("What goes wrong", "Finding", tables.diagnostic_table(results)),
    )
    for title, first, table in more:
        if title == "What goes wrong":
            yield from _grading(results)
        if table.rows:
            yield f"## {title}"
            yield _table(first, table, with_about=True, against=first == "Pair")
            yield table.note
            if title == said_title(results):
                yield from words.people_notes(results)


def _grading(results: Results) -> Iterable[str]:
    notes, strengths = grading_notes(results), strength_table(results)
    if notes or strengths.rows:
        yield "## How it was graded"
        yield from (markdown(note) for note in notes)
    if strengths.rows:
        yield _table("Arm", strengths, with_about=False)
        yield strengths.note


def render_markdown(
    results: Results, transcripts: Transcripts, *, losses: Drawing | None, dots: Drawing | None
) -> str:
    """report.md."""
    parts = [f"# {markdown(results.title)}"]
    if results.authors:
        parts.append(markdown(", ".join(results.authors)))
    if results.findings.verdict_warnings:
        listed = (f"- {markdown(warning.text)}" for warning in results.findings.verdict_warnings)
        parts.append(f"**{HEADING}:**\n\n" + "\n".join(listed))
    parts.append(f"**{markdown(results.answer)}**")
    if results.findings.recommendation is not None:
        parts.append(markdown(results.findings.recommendation.text))
    if results.findings.verdict is None and results.metric is not None:
        parts.append(CAVEAT)
    if results.written_by_program:
        parts.append(words.WRITTEN_BY_PROGRAM)
    if results.warnings:
        parts.append("Beware:\n\n" + "\n".join(f"- {markdown(warning)}" for warning in results.warnings))
    parts += _facts(results)
    parts += _tables(results, losses=losses, dots=dots)
    parts += ["## Transcripts", words.transcripts_note(results, transcripts)]
    if (awaiting := words.awaiting_note(transcripts)) is not None:
        parts.append(awaiting)
    for one in transcripts.shown[:MOST_TRANSCRIPTS]:
        parts += _transcript(one)
    if len(transcripts.shown) > MOST_TRANSCRIPTS:
        parts.append(f"{len(transcripts.shown) - MOST_TRANSCRIPTS} more prompts are shown in index.html.")
    parts.append("## How to recompute")
    parts.append(
        "In the trial's folder `finetrial verify .` recomputes every number from the records and compares, and "
        "`finetrial report .` writes this report again."
    )
    facts = [f"- {markdown(fact.label)}: {markdown(fact.text)}" for fact in results.recompute]
    facts += [f"- {metric_name(metric)}: {markdown(text)}" for metric, text in results.signatures.items()]
    parts.append("\n".join(facts))
    parts.append(f"Written by finetrial {__version__}.")
    return visible("\n\n".join(parts)) + "\n"
