"""`finetrial check`: read the data as training would and show what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from finetrial.cli.output import JsonOption, SetOption, TrialArgument, print_json
from finetrial.errors import FinetrialError, MissingPackage

if TYPE_CHECKING:
    from finetrial.trial.load import LoadedTrial

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(trial: TrialArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Read the data as training would: show one example with its trained tokens marked and one prompt as each arm
    is shown it, what every `auto` chose, what is kept, cut and dropped, and what is wrong with them.

    Nothing is written. Exit status 2 when the data cannot be trained on.
    """
    from finetrial.trial.data import read_splits
    from finetrial.trial.gate import GateReport, gate_text
    from finetrial.trial.load import load_trial

    loaded = load_trial(trial, overrides=overrides or ())
    splits = read_splits(loaded)
    text = gate_text(splits, trial=loaded.trial, model_folder=_local_model(loaded))
    try:
        tokenizers, context = _tokenizers(loaded)
    except FinetrialError as error:  # the text is sound; what is missing is the model
        report = GateReport(text, {}, splits.content_hash)
        if as_json:
            print_json({"report": report, "examples": [], "arms": {}, "tokens_missing": error.as_dict()})
            raise typer.Exit(error.exit_status) from None
        _show(report)
        raise
    from finetrial.sampling.prompts import shown_prompts
    from finetrial.workflow.data_preview import examine
    from finetrial.workflow.resolve_trial import resolve_trial
    from finetrial.workflow.shown_example import show_example

    arms = resolve_trial(loaded.trial, splits, tokenizers=tokenizers, context=context)
    examined = examine(
        splits,
        trial=loaded.trial,
        arms=arms,
        tokenizer_of=tokenizers.of,
        context=context,
        model_folder=_local_model(loaded),
        text=text,
    )
    origins = {example.id: example.origin for example in splits.train}
    examples = {}
    for form, by_split in examined.encoded.items():
        first, tokenizer = by_split["train"].examples[0], tokenizers.of(examined.arms[form][0])
        examples[form] = show_example(first, origin=origins[first.example_id], tokenizer=tokenizer)
    shown = shown_prompts(arms, splits, trial=loaded.trial, tokenizer_of=tokenizers.of, context=context)
    if as_json:
        print_json(
            {
                "report": examined.report,
                "examples": list(examples.values()),
                "arms": {name: arm.as_dict() | {"shown": shown.get(name)} for name, arm in arms.items()},
                "tokens_missing": None,
            }
        )
        return
    form, names = next(iter(examined.arms.items()))
    last = examined.encoded[form]["train"].examples[0].token_ids[-1]
    _show(
        examined.report,
        examined=examined,
        examples=examples,
        arms=arms,
        shown=shown,
        end_token=tokenizers.of(names[0]).decode([last]),
    )


def _local_model(loaded: LoadedTrial) -> Path | None:
    folder = Path(loaded.model_source(loaded.trial.model))
    return folder if folder.is_dir() else None


def _tokenizers(loaded: LoadedTrial) -> tuple[Any, int | None]:
    """The arms' tokenizers, and the model's number of positions. The trial's own is read at once."""
    try:
        from finetrial.models.load import load_config
        from finetrial.workflow.resolve_trial import Tokenizers
    except ImportError as error:
        raise MissingPackage(error.name or "torch", extra="tune", purpose="counting tokens") from None
    tokenizers = Tokenizers(loaded)
    tokenizers.of_trial()
    source = loaded.model_source(loaded.trial.model)
    config = load_config(source, trust_remote_code=loaded.trial.trust_remote_code).get_text_config()
    return tokenizers, getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)


def _show(
    report: Any,
    *,
    examined: Any = None,
    examples: dict[Any, Any] | None = None,
    arms: dict[str, Any] | None = None,
    shown: dict[str, str] | None = None,
    end_token: str | None = None,
) -> None:
    """Print what was found; without `examined` the counts of rows alone."""
    from rich.console import Console

    from finetrial.cli import check_view

    console = Console(highlight=False, soft_wrap=True)
    if examined is None:
        check_view.show_rows(console, report.text)
        console.print()
    else:
        for form, example in (examples or {}).items():
            check_view.show_example(console, example, arms=", ".join(examined.arms[form]))
            console.print()
            check_view.show_tokens(console, report.tokens[form.label].splits, rows=report.text.rows)
            console.print()
        trained = {(form, 0) for form in examined.arms}
        check_view.show_prompts(console, arms or {}, shown=shown or {}, without=trained)
        check_view.show_resolved(console, arms or {})
        console.print()
    check_view.show_verdict(console, report, end_token=end_token)
