"""`finetrial score`: score samples and compare arms, from a trial or from anyone's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, SetOption, log, print_json
from finetrial.errors import UserError, unknown_name

if TYPE_CHECKING:
    from finetrial.evidence.findings import Findings

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

RULES = ("best_primary", "best", "mean")


def _overrides(
    *,
    primary: str | None,
    metrics: list[str] | None,
    margin: float | None,
    references: str | None,
    stemmer: bool,
    unicode: bool,
) -> list[str]:
    """What the options change of a trial file's judging."""
    given = {"primary": primary, "margin": margin, "references": references}
    found = [f"judging.{key}={value}" for key, value in given.items() if value is not None]
    found += [f"judging.metrics=[{', '.join(metrics)}]"] if metrics else []
    return found + ["judging.stemmer=true"] * stemmer + ["judging.unicode=true"] * unicode


def _of_trial(path: Path, *, out: Path | None, overrides: list[str], open_grades: bool) -> Findings:
    from finetrial.evidence.of_trial import read_samples, trial_findings
    from finetrial.evidence.scoring import score_samples
    from finetrial.store.steps import Manifest
    from finetrial.trial.data import read_splits
    from finetrial.trial.examples import Example
    from finetrial.trial.folder import open_trial
    from finetrial.trial.load import LoadedTrial, load_trial
    from finetrial.workflow.scoring import check_judging, score_trial

    def training(loaded: LoadedTrial) -> tuple[Example, ...] | None:
        try:
            return read_splits(loaded).train
        except UserError as error:  # the samples are scored without the data they were trained on
            log(f"copying from the training text is not asked: {error.what}")
            return None

    loaded, folder = open_trial(path, out=out, overrides=overrides)
    check_judging(loaded.trial.judging, base=loaded.base)
    samples = read_samples(folder, arms=tuple(loaded.trial.arms))
    held = load_trial(folder.root).trial if folder.trial.exists() else None
    if held is not None and held.judging == loaded.trial.judging:
        score_trial(
            folder,
            held,
            manifest=Manifest(folder.manifest),
            base=loaded.base,
            training=lambda: training(loaded),
        )
        return trial_findings(folder, open_grades=open_grades)
    log("tried, not written: the trial is judged otherwise. `finetrial run` takes a changed trial file over.")
    scores = score_samples(samples, judging=loaded.trial.judging, base=loaded.base)
    return trial_findings(folder, trial=loaded.trial, scores=scores, base=loaded.base, open_grades=open_grades)


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
        str | None, typer.Option("--primary", help="The metric that decides: rouge1, f1, grade, file.py:function.")
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
    unicode: Annotated[bool, typer.Option("--unicode", help="ROUGE counts words of every script.")] = False,
    lower: Annotated[
        list[str] | None,
        typer.Option("--lower", help="FILE: less of this metric is better (repeatable).", metavar="NAME"),
    ] = None,
    cost: Annotated[
        str | None, typer.Option("--cost", help="FILE: the arms, cheapest first.", metavar="ARM,ARM")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="FILE: of the bootstrap and the drawn tests.", min=0)] = 0,
    out: OutOption = None,
    overrides: SetOption = None,
    open_grades: Annotated[
        bool, typer.Option("--open", help="TRIAL: count grades that are not locked yet; it is logged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score samples, compare every two arms, and say what the numbers support.

    FILE has the columns prompt, arm, text, reference, and optionally grade, rater, source, group, run. Several rows
    of one prompt and arm are its samples. Nothing is written beside it.
    """
    if references is not None and references not in RULES:
        raise unknown_name("rule for several references", references, RULES)
    from finetrial.evidence.outputs import SUFFIXES

    if target.suffix in SUFFIXES:
        from finetrial.evidence.of_file import Asked, file_findings

        if overrides or out or open_grades:
            raise UserError("--set, --out and --open belong to a trial, not to a file of outputs")
        findings = file_findings(
            target,
            asked=Asked(
                primary=primary,
                metrics=tuple(metric) if metric else None,
                margin=margin,
                references=references or RULES[0],
                stemmer=stemmer,
                unicode=unicode,
                values=tuple(dict.fromkeys(value or ())),
                less_is_better=tuple(lower or ()),
                costs=tuple(name.strip() for name in cost.split(",")) if cost else (),
                seed=seed,
            ),
        )
    else:
        if value or lower or cost:
            raise UserError("--value, --lower and --cost belong to a .jsonl, .csv or .tsv file", got=str(target))
        changed = _overrides(
            primary=primary,
            metrics=metric,
            margin=margin,
            references=references,
            stemmer=stemmer,
            unicode=unicode,
        )
        findings = _of_trial(target, out=out, overrides=[*(overrides or ()), *changed], open_grades=open_grades)
    if as_json:
        from finetrial.evidence.as_json import findings_object

        print_json(findings_object(findings))
        return
    from finetrial.cli.score_view import view

    print(view(findings))
