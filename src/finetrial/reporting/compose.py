"""Make the document of a report: the sections in their order, ours and those of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.reporting.document import Document, SectionMaker
from finetrial.reporting.results import Material
from finetrial.reporting.sections.confusion import CONFUSION
from finetrial.reporting.sections.costs import ARMS
from finetrial.reporting.sections.diagnostics import DIAGNOSTICS
from finetrial.reporting.sections.grading_process import GRADED
from finetrial.reporting.sections.human_grades import PEOPLE
from finetrial.reporting.sections.loss_figure import LOSSES
from finetrial.reporting.sections.opening import OPENING
from finetrial.reporting.sections.paired_comparisons import COMPARISONS
from finetrial.reporting.sections.recomputation import RECOMPUTE
from finetrial.reporting.sections.scores import SCORES
from finetrial.reporting.sections.transcripts import TRANSCRIPTS
from finetrial.reporting.sections.trial_setup import COMPARED

ENTRY_POINTS = "finetrial.sections"  # the group in which an installed package names its SectionMakers

# In the order of the report. Sections of other packages stand before the transcripts.
SECTIONS: tuple[SectionMaker, ...] = (
    COMPARED,
    ARMS,
    LOSSES,
    SCORES,
    CONFUSION,
    COMPARISONS,
    PEOPLE,
    GRADED,
    DIAGNOSTICS,
    TRANSCRIPTS,
    RECOMPUTE,
)


def section_makers() -> tuple[SectionMaker, ...]:
    """Every section a report may have, the opening apart. Raises UserError where an installed one is unusable."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    taken = {maker.id for maker in (OPENING, *SECTIONS)}
    added = []
    for entry in found:
        try:
            maker = entry.load()
        except Exception as error:
            raise UserError(
                f"the section {entry.value} cannot be loaded",
                got=f"{type(error).__name__}: {error}",
                fix="Mend or uninstall its package.",
            ) from error
        if not isinstance(maker, SectionMaker) or maker.id in taken:
            raise UserError(
                f"{entry.value} is no section of a report",
                got=f"the id {maker.id!r} twice" if isinstance(maker, SectionMaker) else type(maker).__name__,
                expected=f"a SectionMaker with an id of its own in the group {ENTRY_POINTS}",
                fix="Mend or uninstall its package.",
            )
        taken.add(maker.id)
        added.append(maker)
    place = SECTIONS.index(TRANSCRIPTS)
    return (*SECTIONS[:place], *added, *SECTIONS[place:])


def compose_document(material: Material) -> Document:
    """The document of a trial. The same material gives the same document."""
    results = material.results
    lead = OPENING.section(material)
    assert lead is not None  # it always has a sentence
    made = (maker.section(material) for maker in section_makers())
    return Document(
        trial=results.trial,
        title=results.title,
        authors=results.authors,
        arms={arm.name: arm.slot for arm in results.arms},
        lead=lead,
        sections=tuple(section for section in made if section is not None),
        version=__version__,
    )
