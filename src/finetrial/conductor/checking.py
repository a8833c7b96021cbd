"""Are the data sound as training and sampling will see them?"""

from __future__ import annotations

from pathlib import Path

from finetrial.conductor.context import TrialContext
from finetrial.engine.encode import end_ids, shown_as_chat
from finetrial.trial.gate import GateReport, gate_text, gate_tokens, trained_templates, write_gate


def check_data(context: TrialContext) -> GateReport:
    """Pass the data through the gate and write data.json; what is only worth knowing is said as lines.

    Raises UserError for what would spoil the trial: an overlap, an example without trained tokens, too long a row.
    """
    splits, trial = context.splits, context.trial
    folder = Path(context.model)
    text = gate_text(splits, trial=trial, model_folder=folder if folder.is_dir() else None)
    tokens = {}
    for template, arms in trained_templates(trial).items():
        chat = shown_as_chat(splits.train[0], template=template)
        tokens[template] = gate_tokens(
            {
                "train": context.encoded(arms[0], splits.train),
                "validation": context.encoded(arms[0], splits.validation),
                "heldout": context.encoded(arms[0], splits.heldout),
            },
            splits=splits,
            ends=end_ids(context.tokenizer(arms[0]), chat=chat),
            chat=chat,
        )
    report = GateReport(text=text, tokens=tokens, content_hash=splits.content_hash)
    context.folder.root.mkdir(parents=True, exist_ok=True)
    write_gate(report, context.folder.data)
    counts = ", ".join(f"{name} {count:,}" for name, count in text.rows.items())
    context.listener.line(f"data: {counts}")
    for note in text.notes:
        context.listener.line(f"data: {note}")
    for finding in (*text.findings, *(f for gate in tokens.values() for f in gate.findings)):
        context.listener.line(f"data: {finding.message}")
    return report
