"""What does training see of a trial's data, and does the data gate let it pass?

Encodes every split once for each template that is trained, and hands the counts to the gate. Needs a tokenizer
and no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.engine.encode import encode_split, end_ids, shown_as_chat
from finetrial.engine.prompts import arm_prompts
from finetrial.errors import UserError
from finetrial.trial.examples import EncodedSplit, SplitName, Splits
from finetrial.trial.findings import Finding, counted
from finetrial.trial.gate import GateReport, TextGate, TokenGate, gate_text, gate_tokens, trained_templates
from finetrial.trial.schema import Trial
from finetrial.trial.subset import sampled_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Fewer optimizer steps than this leave a warm-up and a schedule no room (assumption).
_FEW_STEPS = 10


@dataclass(frozen=True, slots=True)
class Examined:
    """The gate's report, and the encoded splits by template."""

    report: GateReport
    encoded: Mapping[str, Mapping[SplitName, EncodedSplit]]


def _few_steps(trial: Trial, *, template: str, tokens: int) -> list[Finding]:
    """The arms of a template that would be tuned in next to no steps."""
    batch = trial.training.batch_tokens
    few: dict[int, list[str]] = {}
    for arm, chosen in trial.arms.items():
        if chosen.tuned and trial.template_of(arm) == template:
            steps = max(1, round(tokens * trial.epochs_of(arm) / batch))
            if steps < _FEW_STEPS:
                few.setdefault(steps, []).append(arm)
    return [
        Finding(
            "few_steps",
            f"{' and '.join(arms)}: about {counted(steps, 'optimizer step')}, for the training split has "
            f"{tokens:,} tokens and a step takes {batch:,}; lower training.batch_tokens or raise training.epochs",
        )
        for steps, arms in few.items()
    ]


def _too_long_with_shots(
    trial: Trial, splits: Splits, *, tokenizer: PreTrainedTokenizerBase, context: int | None
) -> list[Finding]:
    """The prompted arms that could not answer: their examples leave the prompt no room."""
    sampling = trial.sampling
    chosen = set(sampled_prompts([e.id for e in splits.heldout], count=sampling.prompts, seed=sampling.seed))
    heldout = [example for example in splits.heldout if example.id in chosen]
    found = []
    for arm in (name for name, a in trial.arms.items() if a.shots):
        try:
            arm_prompts(trial, arm, heldout, tokenizer=tokenizer, train=splits.train, context=context)
        except UserError as error:
            found.append(Finding("too_long_with_shots", f"{arm} will fail: {error}"))
    return found


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
        few = _few_steps(trial, template=template, tokens=gates[template].splits["train"].tokens)
        gates[template] = replace(gates[template], findings=(*gates[template].findings, *few))
    first = next(iter(gates))
    long = _too_long_with_shots(trial, splits, tokenizer=tokenizer, context=context)
    gates[first] = replace(gates[first], findings=(*gates[first].findings, *long))
    return Examined(GateReport(text, gates, splits.content_hash), encoded)
