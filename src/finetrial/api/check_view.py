"""Show what the data check found within 80 columns, and without colour where there is none."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from finetrial.trial.data_findings import Finding, counted
from finetrial.trial.gate import GateReport, SplitTokens, TextGate
from finetrial.trial.resolve import SampledArm

if TYPE_CHECKING:
    from finetrial.api.trial_check import CheckResult
    from finetrial.workflow.shown_example import ShownExample

WIDTH = 80
OPEN, CLOSE = "»", "«"
_STYLE = "bold green"
# Of a long stretch, so many characters from either end are shown.
_HEAD, _TAIL = 240, 360


def show_check(console: Console, result: CheckResult) -> None:
    """Everything that was found; the counts of rows alone where no tokenizer was at hand."""
    report = result.report
    if not result.trained:
        show_rows(console, report.text)
        console.print()
    else:
        for form, example in result.examples.items():
            show_example(console, example, arms=", ".join(result.trained[form]))
            console.print()
            show_tokens(console, report.tokens[form.label].splits, rows=report.text.rows)
            console.print()
        trained = {(form, 0) for form in result.trained}
        show_prompts(console, result.arms, shown=result.prompts, without=trained)
        show_resolved(console, result.arms)
        console.print()
    for override in result.remembered:
        note = f"{override}, as --set gave it to the run before (set it anew, or change the file)"
        console.print(Text("note  ", style="cyan") + Text(_wrapped(note, indent="      ").lstrip()))
    show_verdict(console, report, end_token=result.end_token)


def show_rows(console: Console, text: TextGate) -> None:
    """The counts where no tokenizer was at hand."""
    console.print(f"{'split':<12}{'rows':>8}{'references':>12}")
    for split, rows in text.rows.items():
        console.print(f"{split:<12}{rows:>8,}{text.references[split]:>12,}")


def show_tokens(console: Console, splits: Mapping[str, SplitTokens], *, rows: Mapping[str, int]) -> None:
    """The table of one template: what is kept, truncated and dropped, and how much of it is trained."""
    heads = f"{'split':<11}{'rows':>7}{'kept':>7}{'truncated':>10}{'dropped':>8}{'tokens':>11}"
    console.print(Text(heads + f"{'trained':>9}{'share':>7}{'longest':>9}", style="bold"))
    for split, count in splits.items():
        console.print(
            f"{split:<11}{rows[split]:>7,}{count.kept:>7,}{count.cut:>10,}{count.dropped:>8,}{count.tokens:>11,}"
            f"{count.trained_tokens:>9,}{count.trained_share:>7.1%}{count.lengths.most:>9,}"
        )
    train = splits["train"]
    console.print(
        f"train lengths in tokens: half up to {train.lengths.median:,}, 90 % up to {train.lengths.p90:,}; "
        f"trained: {train.completion_lengths.median:,}, {train.completion_lengths.p90:,}"
    )
    for split, count in splits.items():
        if count.cut:
            console.print(
                f"{split}: {count.cut_tokens:,} prompt tokens truncated in {count.cut:,} rows to fit max_tokens"
            )
        for reason in count.dropped_why:
            console.print(_wrapped(f"{split} without: {reason}", indent="  "))


def show_example(console: Console, example: ShownExample, *, arms: str) -> None:
    """One example with its trained tokens marked, and its seam token by token."""
    total = sum(stretch.tokens for stretch in example.stretches)
    trained = sum(stretch.tokens for stretch in example.stretches if stretch.trained)
    head = f"{example.origin} as training sees it ({arms}): {trained} of {total} tokens {OPEN}trained{CLOSE}"
    console.print(Text(textwrap.fill(head, WIDTH), "bold"))
    body = Text()
    for stretch in example.stretches:
        shown = _shortened(stretch.text)
        body.append(f"{OPEN}{shown}{CLOSE}" if stretch.trained else shown, style=_STYLE if stretch.trained else "")
    _print_body(console, body)
    seam = Text("  the seam: ")
    seam.append("|".join(_visible(token) for token in example.before_seam))
    seam.append(f"|{OPEN}")
    seam.append("|".join(_visible(token) for token in example.after_seam), style=_STYLE)
    console.print(seam)


def _print_body(console: Console, body: Text) -> None:
    for line in body.split("\n", allow_blank=True):
        for part in line.wrap(console, WIDTH - 4) if line.plain else [line]:
            part.rstrip()
            console.print(Text("  | ") + part)


def show_prompts(
    console: Console, arms: Mapping[str, SampledArm], *, shown: Mapping[str, str], without: Collection[object]
) -> None:
    """One held-out prompt as the arms are shown it, once for each way of showing it; `without` those ways, a form
    and a number of examples each, that stand above already."""
    by_way: dict[tuple[object, int], list[str]] = {}
    for name in shown:
        by_way.setdefault((arms[name].form, arms[name].shots), []).append(name)
    for way, names in by_way.items():
        if way in without:
            continue
        examples = f" behind {counted(arms[names[0]].shots, 'example')}" if arms[names[0]].shots else ""
        console.print(Text(f"one prompt{examples} as the model sees it ({', '.join(names)})", "bold"))
        _print_body(console, Text(_shortened(shown[names[0]])))
        console.print()


def show_resolved(console: Console, arms: Mapping[str, SampledArm]) -> None:
    """How every arm is sampled; what an `auto` chose has an asterisk."""
    width = max(12, *(len(name) + 2 for name in arms))
    heads = (
        f"{'arm':<{width}}{'shown as':<10}{'examples':>8}{'new tokens':>12}{'temperature':>13}{'samples':>9}  stop"
    )
    console.print(Text(heads, style="bold"))
    for name, arm in arms.items():
        decoding = arm.decoding

        def marked(text: str, key: str, arm: SampledArm = arm) -> str:
            return text + ("*" if key in arm.chosen else "")

        stops = " ".join(json.dumps(stop, ensure_ascii=False) for stop in decoding.stop) or "none"
        console.print(
            f"{name:<{width}}{marked('chat' if arm.form.chat else 'text', 'chat'):<10}{arm.shots or '–':>8}"
            f"{marked(str(decoding.max_new_tokens), 'max_new_tokens'):>12}"
            f"{marked(f'{decoding.temperature:g}', 'temperature'):>13}"
            f"{marked(str(decoding.per_prompt), 'per_prompt'):>9}  {marked(stops, 'stop')}"
        )
    if any(arm.chosen for arm in arms.values()):
        console.print("* left to auto: chosen from the training completions and the tokenizer")


def _shortened(text: str) -> str:
    left_out = len(text) - _HEAD - _TAIL
    if left_out <= 80:
        return text
    return f"{text[:_HEAD].rstrip()} [... {left_out:,} characters ...] {text[-_TAIL:].lstrip()}"


def _visible(token: str) -> str:
    return token.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def show_verdict(console: Console, report: GateReport, *, end_token: str | None) -> None:
    """What was found to be right, then what is worth a look."""
    for line in _passed(report, end_token=end_token):
        console.print(Text("ok    ", style="green") + Text(line))
    for note in report.text.notes:
        console.print(Text("note  ", style="cyan") + Text(_wrapped(note, indent="      ").lstrip()))
    for finding in findings_of(report):
        console.print(Text("look  ", style="yellow") + Text(_wrapped(finding.message, indent="      ").lstrip()))
        for example in finding.examples:
            console.print(_wrapped(example, indent="        "))


def _passed(report: GateReport, *, end_token: str | None) -> Iterator[str]:
    prompts, references = report.text.rows["heldout"], report.text.references["heldout"]
    if references > prompts:
        yield f"{references:,} references for {prompts:,} held-out prompts"
    codes = {finding.code for finding in findings_of(report)}
    yield "no prompt stands in two splits" + ("" if "near_overlap" in codes else ", nor nearly so")
    if report.tokens:
        yield f"every example has trained tokens and ends with a trained {end_token!r}"
    if not codes & {"doubled_marker", "double_space", "missing_space"}:
        yield "no doubled marker, and one space or line break at every seam"
    read = report.text.contamination
    if read is not None and read.run_share is not None and "contaminated" not in codes:
        yield f"the base has read {read.run_share:.1%} of the held-out runs of 13 words, and no example whole"


def findings_of(report: GateReport) -> tuple[Finding, ...]:
    """The findings of both gates, each once."""
    tokens = [finding for gate in report.tokens.values() for finding in gate.findings]
    return tuple(dict.fromkeys((*report.text.findings, *tokens)))


def _wrapped(text: str, *, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
