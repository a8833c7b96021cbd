"""What does training see of a trial's data, and does the data gate let it pass?

Encodes every split once for each template that is trained, and hands the counts to the gate. Needs a tokenizer, no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.engine.encode import encode_split, end_ids, shown_as_chat
from finetrial.trial.examples import EncodedSplit, SplitName, Splits
from finetrial.trial.gate import GateReport, TextGate, TokenGate, gate_text, gate_tokens, trained_templates
from finetrial.trial.schema import Trial

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Examined:
    """The gate's report, and the encoded splits by template."""

    report: GateReport
    encoded: Mapping[str, Mapping[SplitName, EncodedSplit]]


def examine(
    splits: Splits,
    *,
    trial: Trial,
    tokenizer: PreTrainedTokenizerBase,
    context: int | None,
    model_folder: Path | None = None,
    text: TextGate | None = None,
) -> Examined:
    """Pass the data through both gates.

    `context` is the model's number of positions, `model_folder` the base where it is a local folder, `text` the
    text gate's findings where it has been passed already. Raises UserError where either gate refuses.
    """
    if text is None:
        text = gate_text(splits, trial=trial, model_folder=model_folder)
    data = trial.data
    encoded: dict[str, dict[SplitName, EncodedSplit]] = {}
    gates: dict[str, TokenGate] = {}
    for template in trained_templates(trial):
        chat = shown_as_chat(splits.train[0], template=template)
        by_split: dict[SplitName, EncodedSplit] = {}
        for name, examples in (
            ("train", splits.train),
            ("validation", splits.validation),
            ("heldout", splits.heldout),
        ):
            by_split[name] = encode_split(
                examples,
                tokenizer=tokenizer,
                template=template,
                max_tokens=data.max_tokens,
                overlong=data.overlong,
                assistant_loss=data.assistant_loss,
            )
        gates[template] = gate_tokens(
            by_split,
            splits=splits,
            ends=end_ids(tokenizer, chat=chat),
            chat=chat,
            context=context,
            new_tokens=trial.sampling.max_new_tokens if data.overlong == "refuse" else 0,
        )
        encoded[template] = by_split
    return Examined(GateReport(text, gates, splits.content_hash), encoded)
