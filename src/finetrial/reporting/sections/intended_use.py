"""Set what the base model was made for beside the failures that were measured: a hypothesis, and said to be one."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.findings import Diagnostic
from finetrial.reporting import formats
from finetrial.reporting.document import Block, Fact, Facts, Paragraph, SectionMaker, Tone
from finetrial.reporting.results import Material
from finetrial.units import listing

_NOTABLE = 0.1  # of texts, above the references' own rate; what the short form in a terminal names too
_HYPOTHESIS = (
    "Whether these failures come of a use that the model was not made for is a hypothesis. Nothing here tests it."
)


def _excess(row: Diagnostic, arm: str) -> float | None:
    rate = row.arms.get(arm)
    return None if rate is None or row.references is None or row.unit != "share" else rate - row.references


def _failures(material: Material, arm: str) -> str | None:
    """What this arm does clearly oftener than the references, most first."""
    rows = material.results.findings.diagnostics
    above = [(excess, row) for row in rows if (excess := _excess(row, arm)) is not None and excess >= _NOTABLE]
    above.sort(key=lambda pair: (-pair[0], pair[1].name))
    if not above:
        return None
    named = [
        f"{row.name} {formats.percent(row.arms[arm])} (references {formats.percent(row.references)})"
        for _, row in above
    ]
    return listing(named)


def _intended_use(material: Material) -> Iterable[Block]:
    stated = material.records.trial.report.intended_use
    assert stated is not None
    found = {arm.name: _failures(material, arm.name) for arm in material.results.sampled_arms}
    facts = [Fact("The base model is meant for", stated)]
    facts += [Fact(f"Oftener in {arm} than in the references", said) for arm, said in found.items() if said]
    yield Facts(tuple(facts))
    if any(found.values()):
        yield Paragraph(_HYPOTHESIS, Tone.ASIDE)
    else:
        yield Paragraph("No failure was measured that is clearly oftener than in the references.", Tone.ASIDE)


INTENDED_USE = SectionMaker(
    "intended_use",
    "Intended use",
    _intended_use,
    needs=lambda material: material.records.trial.report.intended_use,
)
