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
    """Read the data as training would: show one example with its trained tokens marked, count what is kept, cut and
    dropped, and name what is wrong with them.

    Nothing is written. Exit status 2 when the data cannot be trained on.
    """
    from finetrial.trial.data import read_splits
    from finetrial.trial.gate import GateReport, gate_text
    from finetrial.trial.load import load_trial

    loaded = load_trial(trial, overrides=overrides or ())
    splits = read_splits(loaded)
    text = gate_text(splits, trial=loaded.trial, model_folder=_local_model(loaded))
    try:
        tokenizer, context = _tokenizer(loaded)
    except FinetrialError as error:  # the text is sound; what is missing is the model
        report = GateReport(text, {}, splits.content_hash)
        if as_json:
            print_json({"report": report, "examples": [], "tokens_missing": error.as_dict()})
            raise typer.Exit(error.exit_status) from None
        _show(loaded, report, examples={}, end_token=None)
        raise
    from finetrial.engine.examine import examine
    from finetrial.engine.show import show_example

    examined = examine(
        splits,
        trial=loaded.trial,
        tokenizer=tokenizer,
        context=context,
        model_folder=_local_model(loaded),
        text=text,
    )
    origins = {example.id: example.origin for example in splits.train}
    examples = {}
    for template, by_split in examined.encoded.items():
        first = by_split["train"].examples[0]
        examples[template] = show_example(first, origin=origins[first.example_id], tokenizer=tokenizer)
    last = next(iter(examined.encoded.values()))["train"].examples[0].token_ids[-1]
    if as_json:
        print_json({"report": examined.report, "examples": list(examples.values()), "tokens_missing": None})
        return
    _show(loaded, examined.report, examples=examples, end_token=tokenizer.decode([last]))


def _local_model(loaded: LoadedTrial) -> Path | None:
    folder = Path(loaded.model_source(loaded.trial.model))
    return folder if folder.is_dir() else None


def _tokenizer(loaded: LoadedTrial) -> tuple[Any, int | None]:
    """The base's tokenizer with the trial's special tokens, and the model's number of positions."""
    try:
        from finetrial.engine.load import load_config, load_tokenizer
    except ImportError as error:
        raise MissingPackage(error.name or "torch", extra="tune", purpose="counting tokens") from None
    trial = loaded.trial
    source = loaded.model_source(trial.model)
    tokenizer = load_tokenizer(
        source, special_tokens=trial.data.special_tokens, trust_remote_code=trial.trust_remote_code
    )
    config = load_config(source, trust_remote_code=trial.trust_remote_code).get_text_config()
    return tokenizer, getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)


def _show(loaded: LoadedTrial, report: Any, *, examples: dict[str, Any], end_token: str | None) -> None:
    from rich.console import Console

    from finetrial.cli import check_view
    from finetrial.trial.gate import trained_templates

    console = Console(highlight=False, soft_wrap=True)
    if not examples:
        check_view.show_rows(console, report.text)
    for template, example in examples.items():
        arms = trained_templates(loaded.trial)[template]
        check_view.show_example(console, example, arms=", ".join(arms))
        console.print()
        check_view.show_tokens(console, report.tokens[template].splits, rows=report.text.rows)
        console.print()
    if not examples:
        console.print()
    check_view.show_verdict(console, report, end_token=end_token)
