"""`finetrial score`: score samples and compare arms, from a trial or from anyone's file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, SetOption, log, print_json
from finetrial.errors import UserError, unknown_name

if TYPE_CHECKING:
    from finetrial.api.score_result import ScoreResult
    from finetrial.evidence.exported_results import EvaluatedOn

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def _overrides(
    *,
    primary: str | None,
    metrics: list[str] | None,
    margin: float | None,
    references: str | None,
    stemmer: bool,
    unicode: bool | None,
) -> list[str]:
    """What the options change of a trial file's judging."""
    given = {"primary": primary, "margin": margin, "references": references, "metrics": metrics or None}
    # as JSON, which YAML reads too: a pattern may hold commas and brackets
    found = [f"judging.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    found += ["judging.stemmer=true"] * stemmer
    return found if unicode is None else [*found, f"judging.unicode={json.dumps(unicode)}"]


@app.command()
def score(
    target: Annotated[
        Path, typer.Argument(help="The trial file, its folder, or a .jsonl/.csv of outputs.", metavar="TRIAL|FILE")
    ],
    value: Annotated[
        list[str] | None,
        typer.Option("--value", help="FILE: analyse this column of numbers (repeatable).", metavar="NAME"),
    ] = None,
    primary: Annotated[
        str | None, typer.Option("--primary", help="The metric that decides; `finetrial metrics` lists them.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="A metric to compute (repeatable).", metavar="NAME")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="How much worse than the best is still good enough.", min=0)
    ] = None,
    references: Annotated[
        str | None, typer.Option("--references", help="Several references: best_primary, best or mean.")
    ] = None,
    stemmer: Annotated[bool, typer.Option("--stemmer", help="Porter stems in ROUGE.")] = False,
    unicode: Annotated[
        bool | None,
        typer.Option(
            "--unicode/--ascii",
            help="Count words of every script, or a-z and 0-9 alone; unless given, what the references need.",
        ),
    ] = None,
    lower: Annotated[
        list[str] | None,
        typer.Option("--lower", help="FILE: less of this metric is better (repeatable).", metavar="NAME"),
    ] = None,
    cost: Annotated[
        str | None, typer.Option("--cost", help="FILE: the arms, cheapest first.", metavar="ARM,ARM")
    ] = None,
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", help="FILE: compare arms by this column's values too (repeatable).", metavar="NAME"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="FILE: of the bootstrap and the drawn tests.", min=0)] = 0,
    out: OutOption = None,
    overrides: SetOption = None,
    open_grades: Annotated[
        bool, typer.Option("--open", help="TRIAL: count grades that are not locked yet; it is logged.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Also write a file an arm into this folder.", metavar="DIR")
    ] = None,
    save_as: Annotated[
        str, typer.Option("--as", help="--save: every_eval_ever (JSON) or model_index (YAML).", metavar="FORM")
    ] = "every_eval_ever",
    as_json: JsonOption = False,
) -> None:
    """Score samples, compare every two arms, and say what the numbers support.

    FILE has the columns prompt, arm, text, reference, and optionally grade, rater, source, group, run. Several rows
    of one prompt and arm are its samples; a table of counts has prompt, arm, good, of. It may be a log of
    lm-evaluation-harness, Inspect, promptfoo, OpenAI evals, AlpacaEval or MT-bench, or a folder of logs. Nothing is
    written beside it.
    """
    from finetrial.api.outputs import RULES
    from finetrial.evidence.outputs_file import holds_outputs

    if references is not None and references not in RULES:
        raise unknown_name("rule for several references", references, RULES)
    forms = ("every_eval_ever", "model_index")
    if save_as not in forms:
        raise unknown_name("form of results", save_as, forms)
    found: ScoreResult
    on: EvaluatedOn | None = None
    if holds_outputs(target):
        if overrides or out or open_grades:
            raise UserError("--set, --out and --open belong to a trial, not to a file of outputs")
        from finetrial.api.outputs import score as score_outputs

        found = score_outputs(
            target,
            primary=primary,
            metrics=metric or None,
            margin=margin,
            references=references or RULES[0],
            stemmer=stemmer,
            unicode=unicode,
            values=value or (),
            lower=lower or (),
            cost=[name.strip() for name in cost.split(",")] if cost else (),
            slices=slice_by or (),
            seed=seed,
        )
    else:
        if value or lower or cost or slice_by:
            raise UserError(
                "--value, --lower, --cost and --slice belong to a .jsonl, .csv or .tsv file",
                got=str(target),
                fix="A trial's slices are report.slices.",
            )
        from finetrial.api.trial import Trial

        changed = _overrides(
            primary=primary,
            metrics=metric,
            margin=margin,
            references=references,
            stemmer=stemmer,
            unicode=unicode,
        )
        trial = Trial.load(target, folder=out, overrides=[*(overrides or ()), *changed])
        result = trial.score(open_grades=open_grades)
        for note in result.notes:
            log(note)
        found = result
        if save is not None:
            from finetrial.api.evaluated import evaluated_on

            on = evaluated_on(trial.loaded, trial.folder)
    if save is not None:
        from finetrial.evidence.exported_results import EvaluatedOn, ResultsForm, save_results

        about = on or EvaluatedOn(name=target.stem, lower_is_better=tuple(lower or ()))
        for path in save_results(found.findings, save, form=ResultsForm(save_as), on=about, at=time.time()):
            log(str(path))
    if as_json:
        from finetrial.evidence.findings_json import findings_object

        print_json(findings_object(found.findings))
        return
    print(found)
