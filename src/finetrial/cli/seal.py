"""`finetrial seal`: print a digest of what is fixed before anything is sampled."""

from __future__ import annotations

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def seal(
    trial: TrialArgument,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a digest over the trial file, its data, its prompts and the criterion.

    Publish it before anything is sampled, where a date stands beside it. `finetrial verify --seal DIGEST` then
    shows that none of these was chosen with the answers in view. What was sealed is kept as seal.json. Needs no
    model.
    """
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out)
    sampled = sorted(path.stem for path in (asked.folder.root / "samples").glob("*.jsonl"))
    digest = asked.seal()
    if as_json:
        print_json({"folder": asked.folder.root, "seal": digest, "sampled_before": sampled})
        return
    print(digest)
    if sampled:
        print(f"Samples of {', '.join(sampled)} are here already: this digest cannot show that they came later.")
