"""Make the document of a report: the sections in their order, ours and those of installed packages.

A new section is one file in `sections/` and one row here.
"""

from __future__ import annotations

from typing import TypeGuard

from finetrial import __version__
from finetrial.installed import installed
from finetrial.reporting.document import Document, SectionMaker
from finetrial.reporting.results import Material
from finetrial.reporting.sections.by_slices import SLICES
from finetrial.reporting.sections.confusion import CONFUSION
from finetrial.reporting.sections.costs import ARMS
from finetrial.reporting.sections.deployed_forms import DEPLOYED
from finetrial.reporting.sections.diagnostics import DIAGNOSTICS
from finetrial.reporting.sections.early_arms import EARLY
from finetrial.reporting.sections.grading_process import GRADED
from finetrial.reporting.sections.human_grades import PEOPLE
from finetrial.reporting.sections.intended_use import INTENDED_USE
from finetrial.reporting.sections.loss_figure import LOSSES
from finetrial.reporting.sections.model_judges import JUDGES
from finetrial.reporting.sections.opening import OPENING
from finetrial.reporting.sections.paired_comparisons import COMPARISONS
from finetrial.reporting.sections.plan_accuracy import PLANNED
from finetrial.reporting.sections.recomputation import RECOMPUTE
from finetrial.reporting.sections.scores import SCORES
from finetrial.reporting.sections.settings_compared import SETTINGS
from finetrial.reporting.sections.transcripts import TRANSCRIPTS
from finetrial.reporting.sections.trial_setup import COMPARED
from finetrial.reporting.sections.works_used import SOURCES

GROUP = "finetrial.sections"  # the entry-point group in which installed packages name theirs

# In the order of a reader's questions: what did people say, what do the scores say, what went wrong, what does it
# cost, how was it trained, what was compared. Sections of other packages stand before the transcripts.
SECTIONS: tuple[SectionMaker, ...] = (
    PEOPLE,
    GRADED,
    JUDGES,
    SCORES,
    CONFUSION,
    COMPARISONS,
    DEPLOYED,
    EARLY,
    SETTINGS,
    DIAGNOSTICS,
    INTENDED_USE,
    SLICES,
    ARMS,
    PLANNED,
    LOSSES,
    COMPARED,
    TRANSCRIPTS,
    RECOMPUTE,
    SOURCES,
)


def _is_maker(value: object) -> TypeGuard[SectionMaker]:
    return isinstance(value, SectionMaker)


def section_makers() -> tuple[SectionMaker, ...]:
    """Every section a report may have, the opening apart. Raises UserError where an installed one is unusable."""
    taken = [maker.id for maker in (OPENING, *SECTIONS)]
    added = installed(GROUP, noun="section", is_one=_is_maker, name=lambda maker: maker.id, taken=taken)
    place = SECTIONS.index(TRANSCRIPTS)
    return (*SECTIONS[:place], *(row.value for row in added), *SECTIONS[place:])


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
