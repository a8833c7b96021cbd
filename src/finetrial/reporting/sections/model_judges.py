"""Show what model judges said, never without what this trial's people say of the judge."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.judge_audit import JudgeAudit, Mean, Rate, Slope
from finetrial.evidence.judged_verdict import JudgeFinding
from finetrial.evidence.phrases import possessive
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Heading,
    Paragraph,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
)
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import Material
from finetrial.reporting.safe_text import one_line
from finetrial.stats.agreement import Agreement
from finetrial.units import listing

_SCALES = {"good_bad": "good or bad", "1-5": "1 to 5, of which 4 and 5 are good", "pairs": "which of two is better"}


def _asked(audit: JudgeAudit) -> str:
    text = (
        f"The model {audit.model} was asked {_SCALES[audit.scale]}: {audit.answered} of {audit.questions} "
        f"questions are answered, in {audit.requests} requests"
    )
    if audit.money is not None:
        text += f" for {audit.money:.4g}"
    if audit.unreadable:
        text += f"; {audit.unreadable} answers are not of the form asked for and count as missing"
    return f"{text}."


def _coefficient(found: Agreement | None) -> str:
    if found is None or found.value is None:
        return "undefined" if found is None or found.reason is None else f"undefined ({found.reason})"
    bounds = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{bounds}"


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.share is None or rate.low is None or rate.high is None:
        return DASH
    return f"{rate.hits} of {rate.of} [{rate.low:.2f}, {rate.high:.2f}]"


def _mean(found: Mean) -> str:
    bounds = "" if found.low is None or found.high is None else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.mean:+.2f}{bounds}"


def _slope(slope: Slope | None) -> str:
    if slope is None or slope.value is None or slope.low is None or slope.high is None:
        return DASH if slope is None or slope.reason is None else f"undefined ({slope.reason})"
    return f"{slope.value:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}]"


def _audit_table(finding: JudgeFinding) -> Table:
    audit = finding.audit
    whose = possessive(audit.raters)
    rows = [
        (f"raw agreement with {audit.raters}", _coefficient(audit.raw)),
        ("Krippendorff’s alpha", _coefficient(audit.alpha)),
        ("Cohen’s kappa", _coefficient(audit.kappa)),
    ]
    if audit.scale != "pairs":
        rows.append(("sensitivity: good texts called good", _rate(audit.sensitivity)))
        rows.append(("specificity: bad texts called bad", _rate(audit.specificity)))
        rows += [(f"error on {row.arm}: judge minus {audit.raters}", _mean(row.error)) for row in audit.arm_errors]
    else:
        rows.append(("pairs whose two orders disagree", _rate(audit.switches)))
        rows.append(("of these, the text shown first taken twice", _rate(audit.first_shown)))
    rows.append(("its grade for a text twice as long", _slope(audit.length_slope)))
    rows.append((f"{whose} grade for a text twice as long", _slope(audit.people_length_slope)))
    note = f"On {audit.n_texts} {'pairs' if audit.scale == 'pairs' else 'texts'} that {audit.raters} graded too."
    return Table(
        f"judge_{_key(audit.name)}",
        "Audit",
        ("Value, 95\u00a0% interval",),
        tuple(TableRow((label,), (TableCell(value),)) for label, value in rows),
        note,
    )


def _key(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _warnings(audit: JudgeAudit) -> Iterable[str]:
    if audit.same_family:
        yield (
            f"The judge and {listing(list(audit.same_family))} are models of one family, {audit.family}: a judge "
            "may like its own kind."
        )
    for row in audit.leans:
        leaning = row.a if row.bias.mean > 0 else row.b
        yield (
            f"Between {row.a} and {row.b} its error differs ({_mean(row.bias)}, p after Holm {row.p_holm:.3f}): "
            f"alone it would favour {leaning}."
        )
    test = audit.replacement
    if test is not None and test.passes is not None and test.winning_rate is not None:
        said = f"{'may' if test.passes else 'may not'} stand in for {audit.raters}"
        yield (
            f"By the alternative-annotator test (epsilon {test.epsilon:g}) it {said}: it wins against "
            f"{formats.percent(test.winning_rate)} of them."
        )


def _assisted_table(finding: JudgeFinding) -> Table:
    rows, raters = [], finding.audit.raters
    for pair in finding.pairs:
        found = pair.found
        difference, bounds, alone = DASH, DASH, DASH
        if found.difference is not None:
            difference = f"{found.difference:+.2f}"
        if found.low is not None and found.high is not None:
            bounds = f"{found.low:+.2f} to {found.high:+.2f}"
        if found.people_alone is not None:
            alone = f"{found.people_alone[1]:+.2f} to {found.people_alone[2]:+.2f}"
        saved = DASH if found.grades_saved is None else formats.percent(found.grades_saved)
        worth = "" if found.weight is None else f"{found.weight:.2f}"
        seen = "" if found.correlation is None else f"{found.correlation:.2f}"
        cells = (difference, bounds, alone, worth or DASH, seen or DASH, saved)
        rows.append(TableRow((ArmName(pair.a), " − ", ArmName(pair.b)), tuple(map(TableCell, cells))))
    first = finding.pairs[0].found
    reasons = dict.fromkeys(pair.found.reason for pair in finding.pairs if pair.found.reason)
    note = (
        f"Share of good answers by {possessive(raters)} grades on {first.n_graded} prompts, with the judge’s on "
        f"{first.n_judged_alone} more (PPI++, cross-fitted). “Saved” are the grades that the judge was worth."
    )
    if reasons:
        note += f" No interval where {'; '.join(map(str, reasons))}."
    alone_title = f"{raters.capitalize()} alone"
    header = ("Difference", "95\u00a0% interval", alone_title, "Weight", "Correlation", "Saved")
    return Table(f"assisted_{_key(finding.audit.name)}", "Arms", header, tuple(rows), note)


def _shares(finding: JudgeFinding) -> Table | None:
    if not finding.shares or finding.audit.reason is not None:
        return None
    rows = []
    for row in finding.shares:
        share = row.share
        judged = DASH if share.judged is None else f"{share.judged:.2f}"
        corrected = DASH
        if share.corrected is not None and share.low is not None and share.high is not None:
            corrected = f"{share.corrected:.2f} [{share.low:.2f}, {share.high:.2f}]"
        rows.append(TableRow((ArmName(row.arm),), (TableCell(judged), TableCell(corrected))))
    reasons = dict.fromkeys(row.share.reason for row in finding.shares if row.share.reason)
    note = "Corrected for the judge’s mistakes (Rogan and Gladen)."
    if reasons:
        note += f" Not where {'; '.join(map(str, reasons))}."
    return Table(f"corrected_{_key(finding.audit.name)}", "Arm", ("Judge’s share", "Corrected"), tuple(rows), note)


def _judges(material: Material) -> Iterable[Block]:
    for finding in material.results.findings.judges:
        audit = finding.audit
        yield Heading(one_line(f"Judge {audit.name}", longest=60))
        yield Paragraph(_asked(audit))
        if audit.reason is not None:
            yield Paragraph(f"This judge is {audit.reason}. Nothing that it says is evidence of an arm.")
        else:
            yield _audit_table(finding)
        yield from map(Paragraph, _warnings(audit))
        if finding.pairs and audit.reason is None:
            if finding.decides:
                whose = possessive(audit.raters)
                yield Paragraph(f"The verdict on grades is {whose}, helped by this judge, as the trial file fixed.")
            if material.records.trial.judging.stopping is not None:
                yield Paragraph(
                    "Grading could stop at any time: the intervals below are not valid after stopping early."
                )
            yield _assisted_table(finding)
        if (shares := _shares(finding)) is not None:
            yield shares


JUDGES = SectionMaker("judges", "What model judges said", _judges, needs=lambda m: m.results.findings.judges)
