"""Make the document of a worked report from its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrial import __version__
from finetrial.reporting import formats
from finetrial.reporting.document import (
    Block,
    Commands,
    Document,
    Level,
    Notice,
    Paragraph,
    Section,
    Table,
    TableCell,
    TableRow,
    Tone,
)
from finetrial.scaling.target_loss import Outcome
from finetrial.units import listing
from worked_report.careful_reader import reader_section
from worked_report.comparisons import (
    NOT_GRADED,
    NOT_RUN,
    Compared,
    comparison_section,
    ranking_section,
    read_comparison,
    rouge1_of,
)
from worked_report.inputs import Inputs, Scaling
from worked_report.scaling_exercises import Worked, big, epochs_of, scaling_sections, work
from worked_report.storage_exercises import storage_sections


def _of_exercises(worked: Worked, given: Scaling) -> str:
    run, after = worked.before, worked.after
    text = (
        f"{given.params} parameters on {given.tokens} tokens take {big(run.flops_processed, digits=5)} FLOPs and "
        f"reach a loss of {run.loss:.4f} by {worked.law.name}."
    )
    if isinstance(after, Outcome):
        total, added = epochs_of(after)
        text += f" A loss {formats.share(worked.share)} lower takes {total} epochs of the same data in all"
        text += f", {added} more than one." if worked.repeats else "."
    return text


def _of_trial(one: Compared) -> str:
    title = one.given.title
    if one.record is None:
        return f"{title}: {NOT_RUN}."
    if one.graded is None:
        return f"{title}: {NOT_GRADED}."
    said = listing([f"{arm} {one.graded.arms[arm]}" for arm in one.record.arms if arm in one.graded.arms])
    return f"{title}: good answers by {one.record.rater_word}: {said}."


def _lead(inputs: Inputs, worked: Worked | None, every: Sequence[Compared]) -> Section:
    blocks: list[Block] = []
    if worked is not None and inputs.scaling is not None:
        blocks.append(Paragraph(_of_exercises(worked, inputs.scaling), Tone.VERDICT))
    blocks += [Paragraph(_of_trial(one), Tone.RECOMMENDATION) for one in every]
    graders = {one.record.rater_word for one in every if one.record is not None and one.record.raters}
    notes = []
    if "stand-in" in graders:
        notes.append(
            "Where this says stand-in, no person graded: a program read each answer on the grading page, one by "
            "one, without knowing which arm wrote it."
        )
    if any(one.given.published for one in every):
        notes.append("Published figures stand in columns of their own. They come from other models.")
    if notes:
        blocks.append(Notice(tuple(notes), title="How to read it", level=Level.NOTE))
    return Section("lead", "In short", tuple(blocks))


def _own_run(one: Compared) -> str:
    """What a trial of the published model found here."""
    if one.rerun is None:
        return NOT_RUN
    scores = listing([f"{arm} {formats.score(value)}" for arm, value in rouge1_of(one.rerun).items()])
    graded = one.rerun_graded
    good = NOT_GRADED if graded is None else listing([f"{arm} {row}" for arm, row in graded.arms.items()])
    return f"ROUGE-1: {scores}; good answers: {good}"


def _published_models(every: Sequence[Compared]) -> Iterator[Block]:
    rows = []
    for one in every:
        published = one.given.published
        if published is None or published.example is None:
            continue
        cells = (TableCell(_own_run(one)), TableCell(published.example))
        rows.append(TableRow(published.model, cells))
    if rows:
        yield Paragraph(
            "The models of the published figures need a hub to fetch them from. Where one is at hand, these run:"
        )
        yield Table("published_models", "Model", ("Here", "Trial file"), tuple(rows), n_text=2)
        yield Commands("\n".join(f"finetrial run {row.cells[1].text}" for row in rows))


def compose(inputs: Inputs, *, base: Path, command: str) -> Document:
    """The document; the same inputs and records give the same one. Paths in the inputs start at `base`."""
    worked = None if inputs.scaling is None else work(inputs.scaling)
    every = tuple(read_comparison(one, base=base) for one in inputs.comparisons)
    sections: list[Section] = []
    if worked is not None and inputs.scaling is not None:
        sections += scaling_sections(worked, inputs.scaling)
    if inputs.storage is not None:
        sections += storage_sections(inputs.storage)
    sections += [comparison_section(one) for one in every]
    ranking = ranking_section(every)
    sections += [] if ranking is None else [ranking]
    sections.append(reader_section(worked, every))
    published = tuple(_published_models(every))
    sections += [Section("models", "The published models", published)] if published else []
    again = (
        Paragraph("Every number follows from the inputs and the records of the trials; other inputs make another."),
        Commands(command),
    )
    sections.append(Section("again", "How to make it again", again))
    arms: dict[str, int] = {}
    for one in every:
        for arm in one.record.arms if one.record is not None else ():
            arms.setdefault(arm, len(arms))
    return Document(
        trial=inputs.name,
        title=inputs.title,
        authors=inputs.authors,
        arms=arms,
        lead=_lead(inputs, worked, every),
        sections=tuple(sections),
        version=__version__,
        kind="A worked report",
        made_from="its inputs and the records of the trials",
    )
