"""Put length and hash in the place of prompts, answers and references, for reports of private data.

Equal texts have equal stand-ins, and a stand-in stands for itself. Names stay: ids of prompts, groups, arms,
raters. What the trial file itself says, such as criterion, template and system prompt, stays as well. A short text
can be found by hashing guesses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from finetrial.evidence.findings import Findings
from finetrial.reporting.gather import ArmRecords, TrialRecords
from finetrial.store.grades import text_hash
from finetrial.store.records import Sample

_STAND_IN = re.compile(r"\d+ characters?, SHA-256 [0-9a-f]{64}")


def stand_in(text: str) -> str:
    """The length and the hash of a text, which is that of `text_hash`: SHA-256 of the text as JSON writes it."""
    if _STAND_IN.fullmatch(text):
        return text
    return f"{len(text)} character{'s' * (len(text) != 1)}, SHA-256 {text_hash(text)}"


def is_stand_in(text: str) -> bool:
    """Whether this is what `stand_in` gives."""
    return _STAND_IN.fullmatch(text) is not None


def sample_without_texts(sample: Sample) -> Sample:
    """A sample whose texts are stand-ins. Tokens would spell the text out; their number stays."""
    return replace(
        sample,
        prompt=stand_in(sample.prompt),
        text=stand_in(sample.text),
        references=tuple(map(stand_in, sample.references)),
        source=None if sample.source is None else stand_in(sample.source),
        stripped=None if sample.stripped is None else stand_in(sample.stripped),
        token_ids=None,
        turns=None,
        columns=None,
    )


def _arm(arm: ArmRecords) -> ArmRecords:
    return replace(arm, samples=tuple(map(sample_without_texts, arm.samples)))


def records_without_texts(records: TrialRecords) -> TrialRecords:
    """The records as a report of private data shows them."""
    return replace(records, arms=tuple(map(_arm, records.arms)), texts_left_out=True)


def findings_without_texts(findings: Findings) -> Findings:
    """The findings with stand-ins for what they quote, and without parts of the prompts."""
    diagnostics = tuple(
        replace(row, examples=tuple(replace(one, quote=stand_in(one.quote)) for one in row.examples))
        for row in findings.diagnostics
    )
    grid = findings.good_grid
    if grid is not None:
        grid = replace(grid, prompts=tuple(replace(row, prompt=stand_in(row.prompt)) for row in grid.prompts))
    # values of columns are texts of the data, and lengths of prompts cannot be had from stand-ins
    return replace(findings, diagnostics=diagnostics, good_grid=grid, slices=())


def texts_are_left_out(samples: Sequence[Sample]) -> bool:
    """Whether samples hold stand-ins alone."""
    return bool(samples) and all(is_stand_in(sample.text) and is_stand_in(sample.prompt) for sample in samples)
