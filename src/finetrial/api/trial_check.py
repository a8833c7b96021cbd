"""Read a trial's data as training would: what `Trial.check` finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.errors import FinetrialError, MissingPackage, Mistakes, UserError, of_arm
from finetrial.evidence.sample_scores import check_metrics, heldout_sample
from finetrial.planning.token_counts import keep_tokens, retained_bytes
from finetrial.store.layout import TrialFolder
from finetrial.trial.data import read_splits
from finetrial.trial.data_findings import Finding
from finetrial.trial.examples import Encoded, EncodedSplit, Splits
from finetrial.trial.form import Form
from finetrial.trial.gate import GateReport, TextGate, gate_text
from finetrial.trial.resolve import SampledArm
from finetrial.trial.subset import check_prompt_count
from finetrial.trial.trained_on import check_trained_on, read_by_bases
from finetrial.trial.trial_file import LoadedTrial

if TYPE_CHECKING:
    from finetrial.workflow.bases import Bases
    from finetrial.workflow.resolve_trial import Tokenizers
    from finetrial.workflow.shown_example import ShownExample


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What the data check found: the counts, one example as training sees it, and what every `auto` chose."""

    report: GateReport
    examples: Mapping[Form, ShownExample]  # one training example under each template that is trained
    trained: Mapping[Form, tuple[str, ...]]  # the arms that are trained on it
    arms: Mapping[str, SampledArm]
    prompts: Mapping[str, str]  # one held-out prompt as each arm is shown it
    end_token: str | None  # the token that ends every trained example
    tokens_missing: FinetrialError | None  # why nothing could be counted in tokens; None where it was
    remembered: tuple[str, ...] = ()  # overrides that an earlier run gave, and that hold still
    mistakes: tuple[FinetrialError, ...] = ()  # what `run` would refuse, or an arm would fail on

    @property
    def error(self) -> FinetrialError | None:
        """Everything that must be mended before a run; None where nothing must."""
        found = Mistakes()
        for mistake in (*((self.tokens_missing,) if self.tokens_missing is not None else ()), *self.mistakes):
            found.add(mistake)
        return found.error()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is worth a look, each once."""
        from finetrial.api.check_view import findings_of

        return findings_of(self.report)

    def as_dict(self) -> dict[str, Any]:
        """The result with the keys of `finetrial check --json`."""
        return {
            "report": self.report,
            "examples": list(self.examples.values()),
            "arms": {name: arm.as_dict() | {"shown": self.prompts.get(name)} for name, arm in self.arms.items()},
            "remembered": list(self.remembered),
            "tokens_missing": None if self.tokens_missing is None else self.tokens_missing.as_dict(),
            "error": None if self.error is None else self.error.as_dict(),
        }

    def __str__(self) -> str:
        from rich.console import Console

        from finetrial.api.check_view import show_check

        text = StringIO()
        plain = Console(file=text, highlight=False, soft_wrap=True, color_system=None, force_jupyter=False)
        show_check(plain, self)
        shown = text.getvalue().rstrip("\n")
        return shown if self.error is None else f"{shown}\n\nerror: {self.error}"

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {count:,}" for name, count in self.report.text.rows.items())
        refused = 0 if self.error is None else len(getattr(self.error, "errors", (self.error,)))
        mend = f", {refused} to mend" if refused else ""
        return f"<CheckResult: {rows}; {len(self.findings)} findings{mend}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def check_trial(loaded: LoadedTrial, *, folder: TrialFolder) -> CheckResult:
    """Look for everything that `run` in this folder would refuse, and pass the data through both gates, without
    weights.

    Raises UserError, with every mistake that was found, where the data cannot be read or trained on. Where they
    can, other mistakes stand in the result; where the model's tokenizer cannot be had, the text alone is checked,
    and `tokens_missing` says why.
    """
    mistakes, model_folder = Mistakes(), _local_model(loaded)
    splits, text = None, None
    with mistakes.gathering():
        splits = read_splits(loaded)
    example = None if splits is None else next(iter(splits.referenced), splits.heldout[0])
    with mistakes.gathering():
        sample = None if example is None else heldout_sample(example)
        check_metrics(loaded.trial.judging, base=loaded.base, example=sample)
    if splits is not None:
        with mistakes.gathering():
            check_prompt_count(loaded.trial.sampling, heldout=len(splits.heldout))
        with mistakes.gathering():
            text = gate_text(splits, trial=loaded.trial, model_folder=model_folder)
        with mistakes.gathering():
            elsewhere = [*check_trained_on(loaded, splits), *read_by_bases(loaded, splits)]
            text = None if text is None else replace(text, findings=(*text.findings, *elsewhere))
    missing = _add_model_mistakes(loaded, mistakes)
    if missing is None and text is not None:
        from finetrial.workflow.arm_mistakes import adapter_findings

        text = replace(text, findings=(*text.findings, *adapter_findings(loaded, arms=loaded.trial.arms)))
    if splits is None or text is None:
        mistakes.raise_all()
    assert splits is not None and text is not None
    try:
        if missing is not None:
            raise missing
        tokenizers, bases = _tokenizers(loaded)
    except FinetrialError as error:  # the text is sound; what is missing is the model
        return CheckResult(
            report=GateReport(text, {}, splits.content_hash),
            examples={},
            trained={},
            arms={},
            prompts={},
            end_token=None,
            tokens_missing=error,
            remembered=loaded.remembered,
            mistakes=tuple(mistakes.errors),
        )
    with mistakes.gathering():
        _refuse_after_lock(loaded, folder)
    with mistakes.gathering():
        return _checked(loaded, splits, text, mistakes, tokenizers=tokenizers, bases=bases)
    mistakes.raise_all()
    raise AssertionError("a mistake was gathered, or the result returned")


def _add_model_mistakes(loaded: LoadedTrial, mistakes: Mistakes) -> FinetrialError | None:
    """Add what is wrong with arms, models and this machine. Returns what is missing where torch or a model is not
    here."""
    try:
        loaded.check_models()  # before torch is imported
    except UserError as error:
        return error
    try:
        from finetrial.workflow.arm_mistakes import machine_mistakes, model_mistakes
        from finetrial.workflow.context import read_retained
    except ImportError as error:
        return MissingPackage(error.name or "torch", extra="tune", purpose="counting tokens")
    arms = tuple(loaded.trial.arms)
    with mistakes.gathering():
        read_retained(loaded)
    for found in machine_mistakes(loaded, arms=arms).errors:
        mistakes.add(found)
    _add_by_arm(mistakes, model_mistakes(loaded, arms=arms))
    return None


def _add_by_arm(mistakes: Mistakes, by_arm: Mapping[str | None, Mistakes]) -> None:
    for arm, several in by_arm.items():
        for found in several.errors:
            mistakes.add(found if arm is None else of_arm(arm, found))


def _checked(
    loaded: LoadedTrial,
    splits: Splits,
    text: TextGate,
    mistakes: Mistakes,
    *,
    tokenizers: Tokenizers,
    bases: Bases,
) -> CheckResult:
    """The data as every arm's tokenizer cuts them, with the mistakes that show only then added."""
    positions_of = bases.positions_of
    model_folder = _local_model(loaded)
    from finetrial.sampling.prompts import shown_prompts
    from finetrial.workflow.arm_mistakes import prompt_mistakes
    from finetrial.workflow.count_tokens import count_tokens
    from finetrial.workflow.data_preview import preview_data
    from finetrial.workflow.encodings import Encodings
    from finetrial.workflow.resolve_trial import resolve_trial
    from finetrial.workflow.shown_example import show_example

    arms = resolve_trial(loaded, splits, tokenizers=tokenizers, positions_of=positions_of)
    encode = Encodings(loaded.trial, splits, tokenizer_of=tokenizers.of).of
    preview = preview_data(
        splits,
        trial=loaded.trial,
        arms=arms,
        tokenizer_of=tokenizers.of,
        encode=encode,
        positions_of=positions_of,
        width_of=bases.width_of,
        model_folder=model_folder,
        text=text,
    )
    failing = prompt_mistakes(loaded, splits, arms=arms, tokenizer_of=tokenizers.of, positions_of=positions_of)
    _add_by_arm(mistakes, failing)
    keep_tokens(
        loaded,
        count_tokens(
            loaded.trial,
            splits,
            arms=arms,
            tokenizer_of=tokenizers.of,
            encode=encode,
            positions_of=positions_of,
            retained_bytes=retained_bytes(loaded),
        ),
    )
    origins = {example.id: example.origin for example in splits.train}
    firsts = {form: _to_show(by_split["train"], splits) for form, by_split in preview.encoded.items()}
    form, names = next(iter(preview.arms.items()))
    return CheckResult(
        report=preview.report,
        examples={
            form: show_example(
                first, origin=origins[first.example_id], tokenizer=tokenizers.of(preview.arms[form][0])
            )
            for form, first in firsts.items()
        },
        trained=preview.arms,
        arms=arms,
        prompts=shown_prompts(
            arms, splits, trial=loaded.trial, tokenizer_of=tokenizers.of, positions_of=positions_of
        ),
        end_token=str(tokenizers.of(names[0]).decode([firsts[form].token_ids[-1]])),
        tokens_missing=None,
        remembered=loaded.remembered,
        mistakes=tuple(mistakes.errors),
    )


def _to_show(encoded: EncodedSplit, splits: Splits) -> Encoded:
    """The training example that a preview shows: the first, or the first with the most tool calls and the like."""
    from finetrial.workflow.turn_fields import fullest

    examples = {example.id: example for example in splits.train}
    chosen = fullest([examples[row.example_id] for row in encoded.examples]).id
    return next(row for row in encoded.examples if row.example_id == chosen)


def _refuse_after_lock(loaded: LoadedTrial, folder: TrialFolder) -> None:
    from finetrial.workflow.context import TrialContext
    from finetrial.workflow.listener import Silent
    from finetrial.workflow.locked_grades import refuse_after_lock

    if folder.grades.exists():
        refuse_after_lock(TrialContext(loaded, folder, listener=Silent()))


def _local_model(loaded: LoadedTrial) -> Path | None:
    folder = Path(loaded.model_source(loaded.trial.model))
    return folder if folder.is_dir() else None


def _tokenizers(loaded: LoadedTrial) -> tuple[Tokenizers, Bases]:
    """The arms' tokenizers and bases. The trial's own are read at once."""
    from finetrial.workflow.bases import Bases
    from finetrial.workflow.resolve_trial import Tokenizers

    tokenizers = Tokenizers(loaded)
    tokenizers.of_trial()
    bases = Bases(loaded)
    bases.positions_of(next(iter(loaded.trial.arms)))
    return tokenizers, bases
