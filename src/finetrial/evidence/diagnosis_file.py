"""Write and read diagnostics.jsonl: what the scoring step found wrong in the samples.

It is kept because the step has the training text at hand, and a report has not.
"""

from __future__ import annotations

from finetrial.evidence.diagnose import Diagnosis
from finetrial.evidence.findings import Diagnostic, Example
from finetrial.store.layout import TrialFolder
from finetrial.store.records import DiagnosticRow, read_rows, write_rows


def write_diagnosis(folder: TrialFolder, diagnosis: Diagnosis) -> None:
    """One row per diagnostic and arm, and one for the references."""
    rows = []
    for found in diagnosis.diagnostics:
        for arm, rate in (*found.arms.items(), (None, found.references)):
            rows.append(
                DiagnosticRow(
                    name=found.name,
                    definition=found.definition,
                    source=found.source,
                    unit=found.unit,
                    arm=arm,
                    rate=rate,
                    examples=tuple((e.sample_id, e.prompt_id, e.quote) for e in found.examples if e.arm == arm),
                    n_prompts=diagnosis.n_prompts,
                    of_prompts=diagnosis.of_prompts,
                    with_training=diagnosis.with_training,
                )
            )
    write_rows(folder.diagnostics, rows)


def read_diagnosis(folder: TrialFolder) -> Diagnosis | None:
    """What was found, or None where no step has written it."""
    if not folder.diagnostics.exists():
        return None
    rows = list(read_rows(folder.diagnostics, DiagnosticRow))
    if not rows:
        return None
    found = []
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        found.append(
            Diagnostic(
                name=name,
                definition=own[0].definition,
                arms={row.arm: row.rate for row in own if row.arm is not None},
                references=next((row.rate for row in own if row.arm is None), None),
                source=own[0].source,
                unit=own[0].unit,
                examples=tuple(Example(row.arm, *place) for row in own if row.arm for place in row.examples),
            )
        )
    return Diagnosis(tuple(found), rows[0].n_prompts, rows[0].of_prompts, rows[0].with_training)


def diagnosis_note(diagnosis: Diagnosis) -> str | None:
    """That not every prompt was looked at, where so."""
    if diagnosis.n_prompts == diagnosis.of_prompts:
        return None
    return (
        f"What goes wrong was looked for on {diagnosis.n_prompts:,} of {diagnosis.of_prompts:,} prompts, chosen by "
        "the seed."
    )
