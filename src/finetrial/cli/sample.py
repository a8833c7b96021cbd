"""`finetrial sample`: sample the arms of a trial on the same held-out prompts, or on prompts of one's own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetrial.cli.output import (
    ArmOption,
    JsonOption,
    OnOption,
    OutOption,
    SetOption,
    TrialArgument,
    command_line,
    log,
    print_json,
)
from finetrial.errors import FinetrialError, UserError

if TYPE_CHECKING:
    from finetrial.api.trial import Trial
    from finetrial.store.records import Sample
    from finetrial.workflow.prompt_answers import OwnPrompts

app = typer.Typer(add_completion=False, rich_markup_mode=None)

STANDARD_INPUT = Path("-")


@app.command()
def sample(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            help="Sample these prompts instead and print the answers: lines of a .txt, rows of a .jsonl or .csv; "
            "- reads lines, one after the other at a terminal.",
            metavar="FILE|-",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="With --prompts: write the answers here too, for score and grade.", metavar="FILE.jsonl"
        ),
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="With --prompts: of each prompt's answers only the most likely one of each arm."
        ),
    ] = False,
    on: OnOption = "here",
    as_json: JsonOption = False,
) -> None:
    """Sample every arm: the same prompts and the same random numbers. Arms must be tuned before."""
    from finetrial.api.trial import Trial
    from finetrial.trial.sweep import chosen_arms

    asked = Trial.load(trial, folder=out, overrides=overrides or (), command=command_line())
    if prompts is not None:
        _sample_own(asked, prompts=prompts, to=to, arms=arm, best=best, as_json=as_json)
        return
    if best:
        raise UserError("--best belongs to --prompts", fix="A trial compares all samples of its arms.")
    if to is not None:
        raise UserError("--to belongs to --prompts", fix="The trial's samples stand in its folder.")
    chosen = chosen_arms(arm, asked.loaded.trial.arms)
    failures = asked.sample(arms=chosen, on=on)
    folder = asked.folder
    done = [name for name in chosen or asked.loaded.trial.arms if name not in failures]
    if as_json:
        files = {name: folder.samples(name) for name in done}
        print_json(
            {"folder": folder.root, "samples": files, "failures": {a: e.as_dict() for a, e in failures.items()}}
        )
    else:
        for name in done:
            print(f"{name}: {folder.samples(name)}")
    if failures:
        raise typer.Exit(2)


def _sample_own(
    trial: Trial, *, prompts: Path, to: Path | None, arms: list[str] | None, best: bool, as_json: bool
) -> None:
    """Sample every arm on prompts of one's own: print the answers, and write them where that is asked."""
    from finetrial.api.own_answers import answer_row, check_new_file, write_answers
    from finetrial.api.progress import Progressing

    if to is not None:
        check_new_file(to)
    one_by_one = prompts == STANDARD_INPUT and sys.stdin.isatty() and not as_json
    with Progressing(quiet=one_by_one) as listener:
        asked = trial.asking(listener, arms=arms, keep=one_by_one, best=best)
        if one_by_one:
            rows = [answer_row(sample) for sample in _converse(asked)]
        else:
            examples = trial.own_prompts(list(sys.stdin) if prompts == STANDARD_INPUT else prompts)
            rows = [answer_row(sample) for sample in asked.answer(examples)]
    if to is not None:
        write_answers(to, rows)
    if as_json:
        failures = {name: error.as_dict() for name, error in asked.failures.items()}
        print_json({"folder": trial.folder.root, "answers": rows, "file": to, "failures": failures})
    elif not one_by_one:
        print("\n\n".join(_answers(rows)))
    if not one_by_one:
        _say_failures(asked)
    if asked.failures:
        raise typer.Exit(2)


def _converse(asked: OwnPrompts) -> list[Sample]:
    """One prompt after the other from a terminal, each answered at once by every arm; an end of file ends it."""
    from finetrial.api.own_answers import answer_row
    from finetrial.trial.own_prompts import own_prompt

    asked.load()
    _say_failures(asked)
    found: dict[str, Sample] = {}
    log("Type a prompt; Ctrl-D ends.")
    number = 0
    while (line := _typed()) is not None:
        number += 1
        if not line.strip():
            continue
        try:
            samples = list(asked.answer([own_prompt(line, origin=f"prompt {number}")]))
        except FinetrialError as error:
            log(f"error: {error}")
            continue
        _say_failures(asked)
        found |= {sample.id: sample for sample in samples}
        print("\n".join(_of_arms([answer_row(sample) for sample in samples])), flush=True)
    return list(found.values())


def _typed(read: Callable[[str], str] = input) -> str | None:
    """The next line; None at the end of the file."""
    try:
        return read("> ")
    except EOFError:
        print()
        return None


def _say_failures(asked: OwnPrompts) -> None:
    for name, error in asked.failures.items():
        log(f"arm {name} failed: {error}")


def _answers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Each prompt with every arm's answers below it."""
    from finetrial.api.own_answers import answers_by_prompt
    from finetrial.reporting.safe_text import visible

    found = answers_by_prompt(rows)
    return ["\n".join([f"> {visible(prompt)}", *_of_arms(answers)]) for prompt, answers in found.items()]


def _of_arms(rows: Sequence[Any]) -> list[str]:
    """The answers to one prompt, each behind its arm's name, further lines indented."""
    from finetrial.reporting.safe_text import visible

    width = max((len(row["arm"]) for row in rows), default=0) + 2
    texts = [visible(row["text"].strip()) or "(no text)" for row in rows]
    return [
        f"{row['arm'] + ':':<{width}}" + textwrap.indent(text, " " * width).strip()
        for row, text in zip(rows, texts, strict=True)
    ]
