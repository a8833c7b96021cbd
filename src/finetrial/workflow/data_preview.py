"""Preview the data as training sees them, and pass them through the data gate.

Has every split encoded for each form that is trained, and hands the counts to the gate. Needs tokenizers and no
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.models.encode import end_ids
from finetrial.trial.autos import choose_max_new_tokens
from finetrial.trial.data_findings import Finding, counted
from finetrial.trial.examples import EncodedSplit, SplitName, Splits
from finetrial.trial.form import Form, trained_forms
from finetrial.trial.gate import GateReport, TextGate, TokenGate, gate_text, gate_tokens
from finetrial.trial.instruction import instruction_finding
from finetrial.trial.resolve import SampledArm
from finetrial.trial.schema import Trial
from finetrial.trial.setting_findings import findings_for_model
from finetrial.units import listing
from finetrial.workflow.count_tokens import Encode
from finetrial.workflow.resolve_trial import completion_tokens
from finetrial.workflow.turn_fields import turn_field_findings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Fewer optimizer steps than this leave a warm-up and a schedule no room (assumption).
_FEW_STEPS = 10
_NAMED = 3  # arms that a line names


@dataclass(frozen=True, slots=True)
class DataPreview:
    """The gate's report, and the encoded splits by form, with the arms that are shown it."""

    report: GateReport
    encoded: Mapping[Form, Mapping[SplitName, EncodedSplit]]
    arms: Mapping[Form, tuple[str, ...]]


def _few_steps(trial: Trial, *, arms: tuple[str, ...], tokens: int, rows: int) -> list[Finding]:
    """The arms that would be tuned in next to no steps."""
    batch = trial.training.batch_tokens
    few: dict[tuple[int, float], list[str]] = {}
    for arm in arms:
        if trial.arms[arm].tuned:
            share = min(1.0, (trial.arms[arm].rows or rows) / rows)
            steps = max(1, round(tokens * share * trial.epochs_of(arm) / batch))
            if steps < _FEW_STEPS:
                few.setdefault((steps, share), []).append(arm)
    return [
        Finding(
            "few_steps",
            f"{listing(arms, most=_NAMED)}: about {counted(steps, 'optimizer step')}, for "
            + ("the training split has " if share == 1 else "its rows have ")
            + f"{round(tokens * share):,} tokens and a step takes {batch:,}; "
            + "lower training.batch_tokens or raise training.epochs",
        )
        for (steps, share), arms in few.items()
    ]


def _over_limit(trial: Trial, splits: Splits, *, tokenizer: PreTrainedTokenizerBase) -> list[Finding]:
    """The held-out references that are longer than the answers may grow, where the trial file sets the limit."""
    limit = trial.sampling.max_new_tokens
    if limit == "auto":
        return []
    references = [text for example in splits.heldout for text in example.references]
    lengths = completion_tokens(references, tokenizer=tokenizer)
    over = sum(length > limit for length in lengths)
    if not over:
        return []
    fits = choose_max_new_tokens(lengths)
    return [
        Finding(
            "over_limit",
            f"{over:,} of {counted(len(references), 'held-out reference')} have more tokens than "
            f"sampling.max_new_tokens: {limit} (the longest has {max(lengths):,}); answers so long are cut; "
            f"leave the key out, or set {fits}",
        )
    ]


def preview_data(
    splits: Splits,
    *,
    trial: Trial,
    arms: Mapping[str, SampledArm],
    tokenizer_of: Callable[[str], PreTrainedTokenizerBase],
    encode: Encode,
    positions_of: Callable[[str], int | None],
    width_of: Callable[[str], int | None] = lambda arm: None,
    model_folder: Path | None = None,
    text: TextGate | None = None,
) -> DataPreview:
    """Pass the data through both gates.

    `arms` are the trial's, resolved, `tokenizer_of` gives an arm's tokenizer, `encode` its examples as training
    sees them, `positions_of` and `width_of` the positions and the width of its base, `model_folder` the base where
    it is a local folder, `text` the text gate's findings where it has been passed already. Raises UserError where
    either gate refuses.
    """
    if text is None:
        text = gate_text(splits, trial=trial, model_folder=model_folder)
    forms = {name: arm.form for name, arm in arms.items()}
    trained = trained_forms(trial, forms)
    encoded: dict[Form, Mapping[SplitName, EncodedSplit]] = {}
    gates: dict[str, TokenGate] = {}
    for form, names in trained.items():
        read = {**splits.by_name, "heldout": splits.referenced}
        shown = replace(arms[names[0]], form=form)
        by_split = {name: encode(shown, examples) for name, examples in read.items() if examples}
        gate = gate_tokens(
            by_split,
            splits=splits,
            ends=end_ids(tokenizer_of(names[0]), chat=form.chat),
            chat=form.chat,
            context=positions_of(names[0]),
            new_tokens=arms[names[0]].decoding.max_new_tokens if trial.data.overlong == "refuse" else 0,
        )
        few = _few_steps(trial, arms=names, tokens=gate.splits["train"].tokens, rows=len(splits.train))
        kept = turn_field_findings(splits.train, form=form, tokenizer=tokenizer_of(names[0]))
        gates[form.label] = replace(gate, findings=(*gate.findings, *few, *kept))
        encoded[form] = by_split
    first, first_arm = next(iter(gates)), next(iter(trained.values()))[0]
    more = (
        *findings_for_model(trial, width_of=width_of, positions_of=positions_of),
        *_over_limit(trial, splits, tokenizer=tokenizer_of(first_arm)),
        *instruction_finding(trial, forms, prompts=[example.prompt for example in splits.train]),
    )
    gates[first] = replace(gates[first], findings=(*gates[first].findings, *more))
    return DataPreview(GateReport(text, gates, splits.content_hash), encoded, trained)
