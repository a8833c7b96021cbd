"""`finetrial unblind`: lock the grades for good, open the key, and say what people found."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, TrialArgument, print_json
from finetrial.errors import UserError

if TYPE_CHECKING:
    from finetrial.evidence.findings import RaterAgreement
    from finetrial.judging.unblinding import ArmGrades, Unblinded
    from finetrial.stats.bradley_terry import BradleyTerry
    from finetrial.stats.guessing import Guessing
    from finetrial.store.layout import TrialFolder

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def _confirm(folder: TrialFolder, *, yes: bool) -> None:
    """Ask before what cannot be undone; without a terminal only --yes will do."""
    from finetrial.api.grading import check_graded
    from finetrial.judging.unblinding import still_open

    if check_graded(folder).locked_at is not None or yes:
        return
    left = still_open(folder)
    open_text = f"{left.items} of {left.of} texts have no grade yet" if left.items else None
    if not sys.stdin.isatty():
        raise UserError("unblinding cannot be undone", got=open_text, fix="Give --yes to do it.")
    start = f"{open_text}. " if open_text else ""
    typer.confirm(f"{start}Unblinding locks the grades for good. Go on?", abort=True)


def _arm_lines(result: Unblinded) -> list[str]:
    width = max(len("arm"), *(len(arm.arm) for arm in result.arms))
    lines = [f"{'arm':<{width}}  {'good':>5} {'bad':>5} {'unsure':>6} {'open':>5}  good of n, 95 % interval"]
    for arm in result.arms:
        share = "no good or bad grade"
        if arm.share is not None and arm.share.low is not None and arm.share.high is not None:
            share = f"{arm.share.good}/{arm.share.of}  [{arm.share.low:.2f}, {arm.share.high:.2f}]"
        lines.append(f"{arm.arm:<{width}}  {arm.good:>5} {arm.bad:>5} {arm.unsure:>6} {arm.ungraded:>5}  {share}")
    return lines


def _label_line(arm: ArmGrades) -> str:
    return f"{arm.arm}: " + ", ".join(f"{label} {n} times" for label, n in arm.labels.items() if n)


def _raters(result: Unblinded) -> str:
    """The raters' names, with what they were declared to be where that is not a person."""
    said = {"person": "", "stand-in": " (a stand-in)", None: " (person or stand-in: not declared)"}
    return ", ".join(f"{rater}{said[result.facts.kinds.get(rater)]}" for rater in result.facts.raters)


def _agreement_line(agreement: RaterAgreement) -> str:
    raw, alpha = agreement.raw, agreement.krippendorff_alpha
    if raw.value is None:
        return f"Agreement is undefined: {raw.reason}."
    start = f"Raters agree on {100 * raw.value:.0f} % of {raw.n_items} texts; Krippendorff's alpha"
    if alpha.value is None:
        return f"{start} is undefined: {alpha.reason}."
    bounds = f" [{alpha.low:.2f}, {alpha.high:.2f}]" if alpha.low is not None and alpha.high is not None else ""
    return f"{start} {alpha.value:.2f}{bounds}."


def _guess_line(guesses: Guessing) -> str:
    start = f"Guesses which arm wrote what: {guesses.hits} of {guesses.of} right"
    if guesses.p is None or guesses.expected is None:
        return f"{start}; not tested: {guesses.reason}."
    return f"{start}, {guesses.expected:.1f} by chance (p = {guesses.p:.2g})."


def _pair_lines(pairs: BradleyTerry, *, choices: int) -> list[str]:
    lines = [f"Side by side, {choices} choices: Bradley-Terry log strength, 95 % interval"]
    if pairs.strengths is None:
        return [*lines, f"undefined: {pairs.reason}"]
    width = max(len(arm) for arm in pairs.strengths)
    for arm, strength in sorted(pairs.strengths.items(), key=lambda entry: -entry[1].value):
        known = strength.low is not None and strength.high is not None
        bounds = f"  [{strength.low:+.2f}, {strength.high:+.2f}]" if known else ""
        lines.append(f"{arm:<{width}}  {strength.value:+.2f}{bounds}")
    return [*lines, f"No interval: {pairs.reason}."] if pairs.reason else lines


def _lines(result: Unblinded) -> list[str]:
    from finetrial.api.grid_text import grid_lines

    facts = result.facts
    verb = "are locked now" if result.newly_locked else "were locked before"
    pace = f", {facts.median_seconds:.1f} s each (median)" if facts.median_seconds is not None else ""
    lines = [
        f"The grades {verb} ({result.locked_at[:16].replace('T', ' ')} UTC); the key is open.",
        *textwrap.wrap(f"{facts.grades} grades by {_raters(result) or 'nobody'}{pace}", 80),
        "",
    ]
    lines += _arm_lines(result) if result.arms else ["Nobody graded single samples."]
    if len(result.grid.prompts if result.grid is not None else ()) > 1:
        lines += ["", *grid_lines(result.grid), ""]
    if facts.rule is not None:
        lines += textwrap.wrap(f"On this trial's scale {facts.rule}.", 80)
        lines += [_label_line(arm) for arm in result.arms]
    if facts.not_blind:
        lines.append(f"{facts.not_blind} grades are not blind: given after the key was read ({facts.opened_at}).")
    extra = [
        f"{row.rater} took {row.median_seconds:.1f} s a grade (median): nobody reads a text in that time."
        for row in facts.too_fast
    ]
    if result.agreement is not None and result.agreement.n_raters > 1:
        extra.append(_agreement_line(result.agreement))
    extra += [f"{c.rater} gave {c.same} of {c.of} hidden repeats the same grade." for c in facts.consistency]
    if facts.guesses is not None:
        extra.append(_guess_line(facts.guesses))
    if facts.strengths is not None:
        extra += _pair_lines(facts.strengths, choices=facts.choices)
    wrapped = [part for line in extra for part in textwrap.wrap(line, 80)]
    return [*lines, "", *wrapped] if wrapped else lines


@app.command()
def unblind(
    trial: TrialArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Lock the grades and open the key. It is logged and cannot be undone.

    Prints how raters judged each arm. Run again, it prints the same.
    """
    from finetrial.judging.outputs_trial import folder_of_outputs, is_outputs
    from finetrial.trial.folder import open_trial

    folder = folder_of_outputs(trial, out=out) if is_outputs(trial) else open_trial(trial, out=out)[1]
    _confirm(folder, yes=yes)
    from finetrial.api.grading import unblind as unblind_folder  # loads the statistics

    result = unblind_folder(folder)
    from finetrial.store.lock_record import lock_digest, read_lock_record

    record = read_lock_record(folder)
    assert record is not None  # unblinding writes it
    digest = lock_digest(record)
    if as_json:
        print_json({"folder": folder.root, "lock": digest, "results": result})
        return
    print("\n".join(_lines(result)))
    print(f"\nDigest of samples, measurements and grades as they were locked:\n  {digest}")
    print("Publish it now: `finetrial verify --lock` holds the folder to it for good.")
    print(f"\nWrite the report again to see it there: finetrial report {folder.root}")
