"""Check the data as training and sampling will see them, as a step of the trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetrial.errors import Mistakes
from finetrial.evidence.sample_scores import check_metrics, heldout_sample
from finetrial.trial.data_findings import Finding
from finetrial.trial.gate import GateReport, write_gate
from finetrial.trial.subset import check_prompt_count
from finetrial.trial.trained_on import check_trained_on, read_by_bases
from finetrial.workflow.arm_mistakes import adapter_findings, model_mistakes, prompt_mistakes
from finetrial.workflow.context import TrialContext
from finetrial.workflow.data_preview import preview_data
from finetrial.workflow.step import Stage, StepDefaults


def refuse_mistakes(context: TrialContext) -> list[Finding]:
    """Raise what would spoil the whole trial, every mistake at once; say which arms will fail alone.

    Returns what rows that arms from elsewhere were trained on nearly share with the held-out ones.

    A model or an adapter from elsewhere that cannot be used fails its own arm, and the others go on.
    """
    trial, loaded, mistakes = context.trial, context.loaded, Mistakes()
    with mistakes.gathering():
        example = heldout_sample(next(iter(context.splits.referenced), context.splits.heldout[0]))
        check_metrics(trial.judging, base=loaded.base, example=example)
    with mistakes.gathering():
        check_prompt_count(trial.sampling, heldout=len(context.splits.heldout))
    findings: list[Finding] = []
    with mistakes.gathering():
        findings += [*check_trained_on(loaded, context.splits), *read_by_bases(loaded, context.splits)]
    findings += adapter_findings(loaded, arms=context.arms)
    failing: list[str] = []
    for arm, found in model_mistakes(loaded, arms=context.arms).items():
        for error in found.errors:
            if arm is None or trial.arms[arm].tuned:
                mistakes.add(error)
            else:
                failing.append(f"{arm} will fail: {error}")
    mistakes.raise_all()
    for line in failing:
        context.listener.line(line)
    return findings


def check_data(context: TrialContext) -> GateReport:
    """Pass the data through the gate and write data.json; what is only worth knowing is said as lines.

    Raises UserError for what would spoil the trial: an unknown target, an overlap, an example without trained
    tokens, too long a row.
    """
    elsewhere = refuse_mistakes(context)
    folder = Path(context.model)
    preview = preview_data(
        context.splits,
        trial=context.trial,
        arms=context.resolved,
        tokenizer_of=context.tokenizer,
        encode=context.encoded,
        positions_of=context.bases.positions_of,
        width_of=context.bases.width_of,
        model_folder=folder if folder.is_dir() else None,
    )
    prompts = prompt_mistakes(
        context.loaded,
        context.splits,
        arms={arm: context.resolved[arm] for arm in context.arms},
        tokenizer_of=context.tokenizer,
        positions_of=context.bases.positions_of,
    )
    for arm, found in prompts.items():
        for error in found.errors:
            context.listener.line(f"{arm} will fail: {error}")
    if context.retained:
        size = sum(len(document.text.encode()) for document in context.retained)
        context.listener.line(f"data: {len(context.retained):,} documents of other text, {size:,} bytes")
    context.note_resolved()
    text = replace(preview.report.text, findings=(*preview.report.text.findings, *elsewhere))
    report = replace(preview.report, text=text)
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
class CheckStep(StepDefaults):
    """The check of the data. It runs every time: it is quick, and says what is worth knowing."""

    context: TrialContext = field(repr=False)
    name: str = "check"
    stage: Stage = Stage.CHECK
    subject: str = "data"
    arm: str | None = None
    recorded: bool = False

    def inputs(self) -> Mapping[str, Any]:
        return {"the data": self.context.splits.content_hash}

    def outputs(self) -> Sequence[Path]:
        return [self.context.folder.data]

    def execute(self) -> None:
        """Check the sampler and the data, and write data.json. Raises UserError for what would spoil the trial."""
        _ = self.context.sampler
        check_data(self.context)
