"""Check the data as training and sampling will see them, as a step of the trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.methods.halves import half_of
from finetrial.methods.method import TunedMethod
from finetrial.trial.gate import GateReport, write_gate
from finetrial.workflow.context import TrialContext
from finetrial.workflow.data_preview import preview_data
from finetrial.workflow.step import Stage


def check_data(context: TrialContext) -> GateReport:
    """Pass the data through the gate and write data.json; what is only worth knowing is said as lines.

    Raises UserError for what would spoil the trial: an unknown target, an overlap, an example without trained
    tokens, too long a row.
    """
    for arm in context.arms:
        method = context.trial.arms[arm].method
        if isinstance(method, TunedMethod):
            trusted = context.trial.trust_remote_code
            half_of(method).check(method, context.bases.config_of(arm), trust_remote_code=trusted)
    folder = Path(context.model)
    preview = preview_data(
        context.splits,
        trial=context.trial,
        arms=context.resolved,
        tokenizer_of=context.tokenizer,
        encode=context.encoded,
        positions_of=context.bases.positions_of,
        model_folder=folder if folder.is_dir() else None,
    )
    if context.retained:
        size = sum(len(document.text.encode()) for document in context.retained)
        context.listener.line(f"data: {len(context.retained):,} documents of other text, {size:,} bytes")
    context.note_resolved()
    report = preview.report
    context.folder.root.mkdir(parents=True, exist_ok=True)
    write_gate(report, context.folder.data)
    counts = ", ".join(f"{name} {count:,}" for name, count in report.text.rows.items())
    context.listener.line(f"data: {counts}")
    for note in report.text.notes:
        context.listener.line(f"data: {note}")
    for finding in (*report.text.findings, *(f for gate in report.tokens.values() for f in gate.findings)):
        context.listener.line(f"data: {finding.message}")
    return report


@dataclass(frozen=True, slots=True)
class CheckStep:
    """The check of the data. It runs every time: it is quick, and says what is worth knowing."""

    context: TrialContext = field(repr=False)
    name: str = "check"
    stage: Stage = Stage.CHECK
    subject: str = "data"
    arm: str | None = None
    after: tuple[str, ...] = ()
    recorded: bool = False
    done_text: str | None = None
    again_text: str | None = None
    jobs: tuple[str, ...] = ()

    def inputs(self) -> Mapping[str, Any]:
        return {"the data": self.context.splits.content_hash}

    def outputs(self) -> Sequence[Path]:
        return [self.context.folder.data]

    def execute(self) -> None:
        """Check the sampler and the data, and write data.json. Raises UserError for what would spoil the trial."""
        _ = self.context.sampler
        check_data(self.context)
