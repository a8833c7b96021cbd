"""Name the model, the data and the published works that a report rests on, and whom its authors thank."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.reporting.describe import short_source
from finetrial.reporting.document import Block, Fact, Facts, Heading, Paragraph, SectionMaker
from finetrial.reporting.results import Material
from finetrial.reporting.sections.trial_setup import describe_source
from finetrial.reporting.works import (
    works_of_diagnostics,
    works_of_methods,
    works_of_metrics,
    works_of_statistics,
)


def _sources(material: Material) -> Iterable[Block]:
    results, trial = material.results, material.records.trial
    facts = []
    if not material.records.manifest.get("outputs_only"):
        bases = dict.fromkeys(short_source(base) for base in (trial.model, *map(trial.base_of, trial.arms)))
        facts.append(_fact("Models" if len(bases) > 1 else "Model", tuple(bases)))
    facts.append(Fact("Data", describe_source(trial.data)))
    for label, works in (
        ("Methods", works_of_methods(arm.method.name for arm in results.arms)),
        ("Metrics", works_of_metrics(results)),
        ("Diagnostics", works_of_diagnostics(results)),
        ("Statistics", works_of_statistics(results)),
    ):
        if works:
            facts.append(_fact(label, works))
    yield Facts(tuple(facts))
    if trial.report.acknowledgements:
        yield Heading("Acknowledgements")
        yield Paragraph(trial.report.acknowledgements)


def _fact(label: str, lines: tuple[str, ...]) -> Fact:
    return Fact(label, lines[0], lines[1:])


SOURCES = SectionMaker("sources", "Sources", _sources)
