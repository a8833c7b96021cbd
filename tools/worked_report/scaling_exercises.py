"""Write the exercises on compute, loss and repeated data: derivation, figure, and what it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from finetrial.api.law_inputs import read_question, require_parametric
from finetrial.reporting import formats
from finetrial.reporting.document import (
    Block,
    Fact,
    Facts,
    Notice,
    Paragraph,
    Section,
    Table,
    TableCell,
    TableRow,
)
from finetrial.scaling.allocation import SameCost, at_same_cost
from finetrial.scaling.law_comparison import losses_over_laws
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.repeated_data import FullValue, Rule, rule_by_name
from finetrial.scaling.rounding import roundings
from finetrial.scaling.target_loss import Outcome, Unreachable, reach, train
from finetrial.scaling.worked_steps import compute_step, explain_epochs, explain_tokens, loss_step
from finetrial.units import parse_count, parse_share
from worked_report.inputs import Scaling
from worked_report.steps import scaling_equations

LEAVES_OUT = "What it leaves out"
_LOSS_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Worked:
    """The exercises' numbers, chained unrounded."""

    law: ParametricLaw
    rule: Rule
    share: float
    before: Outcome
    after: Outcome | Unreachable
    cheap: SameCost | None  # at the compute of fresh tokens; None where nothing reaches the loss
    dear: SameCost | None  # at the compute that the repetition takes
    grow: float

    @property
    def repeats(self) -> bool:
        """True where the target takes more than one pass over the data."""
        return isinstance(self.after, Outcome) and (self.after.epochs_total or 0) > 1


def work(given: Scaling) -> Worked:
    """Compute every figure of the exercises; the data so far are all there are."""
    question = read_question(given.law, given.repeat)
    law, rule = require_parametric(question.law, purpose="an exercise on sizes"), question.rule
    params, tokens = parse_count(given.params), parse_count(given.tokens)
    share = parse_share(given.improve)
    before = train(law, params=params, tokens=tokens, unique_tokens=tokens, rule=rule)
    after = reach(law, params=params, loss=(1 - share) * before.loss, unique_tokens=tokens, rule=rule)
    cheap = dear = None
    if isinstance(after, Outcome):
        cheap, dear = (
            at_same_cost(law, outcome=after, flops=flops, rule=rule, grow=(given.grow,))
            for flops in (after.flops_effective, after.flops_processed)
        )
    return Worked(law, rule, share, before, after, cheap, dear, given.grow)


def big(value: float, *, digits: int = 6) -> str:
    """1.6482 × 10²⁴"""
    return formats.power_of_ten(value, digits=digits)


def loss_of(value: float) -> str:
    return f"{value:.{_LOSS_DIGITS}g}"


def epochs_of(outcome: Outcome) -> tuple[str, str]:
    """All epochs, and what they add to the first."""
    total = outcome.epochs_total or 0.0
    return f"{total:.4g}", f"{total - 1:.4g}" if total > 1 else "0"


def _compute_and_loss(worked: Worked, given: Scaling) -> Iterator[Block]:
    law, run = worked.law, worked.before
    yield Paragraph(
        f"How much compute does a model of {given.params} parameters take on {given.tokens} tokens, and which loss "
        f"does the law {law.name} predict for it?"
    )
    yield scaling_equations(
        (
            compute_step(params=run.params, tokens=run.tokens_processed),
            loss_step(law, params=run.params, tokens=run.tokens_processed),
        )
    )
    yield Facts(
        (
            Fact("Compute", f"{big(run.flops_processed)} FLOPs"),
            Fact("Loss", f"{loss_of(run.loss)} nats a token"),
        )
    )
    rows = losses_over_laws(
        params=run.params, tokens=run.tokens_processed, unique_tokens=run.unique_tokens, rule=worked.rule
    )
    yield Table(
        "laws",
        "Law",
        ("Loss", "Floor at this size"),
        tuple(TableRow(row.law, (TableCell(f"{row.loss:.4f}"), TableCell(f"{row.floor:.4f}")), "") for row in rows),
        "Losses of different corpora and tokenizers do not compare. No amount of data goes below the floor.",
        title="The same run under every law known here",
    )
    left = [
        "6 N D counts the products with the weights, forward and backward. Attention over the context (12 L s d a "
        "token, half of it where causal), the look-up of embeddings and whatever is computed twice to save memory "
        "come on top.",
        "FLOPs are neither time nor money: a device reaches a part of its peak.",
        "The loss is that of the law’s own corpus and tokenizer, and no measure of what a model can do.",
    ]
    if law.largest_run_flops is not None:
        times = run.flops_processed / law.largest_run_flops
        if times > 1:
            left.append(
                f"The largest run known to stand behind the law took {big(law.largest_run_flops, digits=3)} FLOPs; "
                f"this one takes {times:,.0f} times as many. The law is trusted far beyond its data."
            )
    yield Notice((*left, *given.leaves_out), title=LEAVES_OUT)


def _lower_loss(worked: Worked, given: Scaling) -> Iterator[Block]:
    before, after = worked.before, worked.after
    yield Paragraph(
        f"The loss is to fall by {formats.share(worked.share)} at the same size, with no other data than these "
        f"{given.tokens} tokens, read again where need be. A further pass is worth less than the first, by the "
        f"rule {worked.rule.name}. How many tokens, how much compute and how many epochs does it take?"
    )
    if isinstance(after, Unreachable):
        yield Notice(
            (f"No training reaches {loss_of(after.loss)}: {after.reason}. The least is {after.nearest_loss:.6f}.",)
        )
        return
    derivation = explain_tokens(worked.law, before=before, improve=worked.share, after=after, rule=worked.rule)
    first = next(place for place, step in enumerate(derivation.steps) if step.symbol == "L'")
    yield scaling_equations(derivation.steps[first:])
    total, added = epochs_of(after)
    facts = [
        Fact("Loss aimed at", f"{loss_of(after.loss)} nats a token"),
        Fact("Effective tokens", f"{big(after.tokens_effective, digits=9)}: so many fresh ones would do"),
        Fact("Compute of fresh tokens", f"C′ = {big(after.flops_effective, digits=9)} FLOPs"),
        Fact("Epochs", f"{total} in all, which are {added} added to the first"),
        Fact("Tokens processed", big(after.tokens_processed, digits=4)),
        Fact("Compute with the repetition", f"C″ = {big(after.flops_processed, digits=4)} FLOPs"),
    ]
    yield Facts(tuple(facts))
    yield _rounding(worked, after)
    yield from _other_rules(worked, given)
    ratio = after.flops_processed / after.flops_effective
    yield Notice(
        (
            f"What a pass over known data is worth is the rule’s to say. {worked.rule.source.capitalize()}.",
            "C′ pays for fresh tokens. With the repetition the machine reads "
            f"{big(after.tokens_processed, digits=4)} tokens, and the bill is C″, {ratio:.2f} times C′."
            if worked.repeats
            else "Nothing is repeated here: C′ and C″ are one.",
            "Near the floor every digit of the loss counts, and no fit of a law knows so many.",
        ),
        title=LEAVES_OUT,
    )


def _rounding(worked: Worked, after: Outcome) -> Table:
    """Why a figure that was chained from a rounded one differs."""
    rows = []
    for row in roundings(worked.law, before=worked.before, improve=worked.share, after=after):
        if row.digits > 6:
            continue
        tokens = "out of reach" if row.tokens is None else big(row.tokens, digits=4)
        off = "–" if row.tokens is None else f"{100 * (row.tokens / after.tokens_effective - 1):+.2g} %"
        cells = (
            TableCell(f"{row.loss:#.{row.digits}g}"),
            TableCell(tokens),
            TableCell(off.replace("-", "−").replace(" %", "\u00a0%")),
        )
        rows.append(TableRow(f"{row.what.replace(chr(39), '′')} to {row.digits} digits", cells))
    note = (
        f"Figures here are chained unrounded: {big(after.tokens_effective, digits=9)} effective tokens. Whoever "
        "rounds a loss on the way gets another number of tokens, and neither has miscalculated."
    )
    return Table(
        "rounding",
        "Rounded",
        ("Loss", "Effective tokens", "Off by"),
        tuple(rows),
        note,
        title="Why a figure differs from a rounded one",
    )


def _other_rules(worked: Worked, given: Scaling) -> Iterator[Block]:
    if not given.other_repeats:
        return
    rows = []
    tokens = worked.before.tokens_processed
    for name in (given.repeat, *given.other_repeats):
        rule = rule_by_name(name)
        aim = (1 - worked.share) * worked.before.loss
        found = reach(worked.law, params=worked.before.params, loss=aim, unique_tokens=tokens, rule=rule)
        if isinstance(found, Unreachable):
            cells = [TableCell("out of reach"), TableCell("–"), TableCell("–")]
        else:
            cells = [
                TableCell(epochs_of(found)[0]),
                TableCell(big(found.tokens_processed, digits=4)),
                TableCell(big(found.flops_processed, digits=4)),
            ]
        about = "repeated tokens as good as fresh ones" if isinstance(rule, FullValue) else ""
        rows.append(TableRow(name, tuple(cells), about))
    yield Table(
        "rules",
        "Rule",
        ("Epochs in all", "Tokens processed", "FLOPs"),
        tuple(rows),
        "The same loss, the same data, other rules of what a repeated token is worth.",
        title="Under other rules",
    )


def _same_compute(worked: Worked, given: Scaling) -> Iterator[Block]:
    after, cheap, dear, grow = worked.after, worked.cheap, worked.dear, worked.grow
    if isinstance(after, Unreachable) or cheap is None or dear is None:
        yield Notice(("The loss is out of reach, so no compute of its can be spent on another size.",))
        return
    yield Paragraph(
        f"The compute C′ of that exercise goes to a model of {grow:g} times the size, on the same data. How many "
        "epochs is that, and which loss comes of it?"
    )
    larger = cheap.larger
    derivation = explain_epochs(
        worked.law, outcome=larger, rule=worked.rule, best=cheap.best, flops=after.flops_effective
    )
    yield scaling_equations(derivation.steps)
    total, added = epochs_of(larger)
    yield Facts(
        (
            Fact("Size", f"{big(larger.params)} parameters"),
            Fact("Epochs", f"{total} in all, which are {added} added to the first"),
            Fact("Loss", f"{larger.loss:.6g} nats a token, where {after.loss:.6g} was aimed at"),
        )
    )
    rows = []
    for label, spent in (("C′", cheap), ("C″", dear)):
        runs = ((spent.same_size, "N"), (spent.larger, f"{grow:g} N"))
        best = (spent.best, f"{spent.best.params / after.params:.2f} N, the best")
        for run, size in (*runs, best):
            cells = (
                TableCell(big(spent.flops, digits=4)),
                TableCell(epochs_of(run)[0]),
                TableCell(epochs_of(run)[1]),
                TableCell(f"{run.loss:.5f}", best=run is spent.best),
                TableCell("yes" if run.loss <= after.loss * (1 + 1e-12) else "no"),
            )
            rows.append(TableRow(f"{label}, {size}", cells))
    yield Table(
        "same_compute",
        "Compute and size",
        ("FLOPs", "Epochs in all", "Added to the first", "Loss", "Reaches the aim"),
        tuple(rows),
        "The best size is the one with the least loss at that compute, with these data and this rule.",
        title="What the same compute buys at other sizes",
    )
    yield Notice(tuple(_of_other_sizes(worked, after, cheap, dear)), title=LEAVES_OUT)


def _of_other_sizes(worked: Worked, after: Outcome, cheap: SameCost, dear: SameCost) -> Iterable[str]:
    ratio = cheap.best.params / after.params
    if abs(ratio / worked.grow - 1) > 0.05:
        yield (
            f"{worked.grow:g} N is not the best size: at C′ that is {ratio:.2f} N, with a loss of "
            f"{cheap.best.loss:.5f}."
        )
    if cheap.best.loss > after.loss:
        yield (
            f"Nothing at C′ reaches {after.loss:.5f}, at any size: C′ is the compute of fresh tokens, and there "
            "are none left."
        )
    if worked.repeats:
        yield (
            f"The comparison with the exercise before is uneven: that run costs C″ and not C′. At C″ a model of "
            f"{worked.grow:g} N runs {epochs_of(dear.larger)[0]} epochs to {dear.larger.loss:.5f}, which is lower."
        )
    yield "A larger model costs more to serve for as long as it is used; the training compute does not show it."


def scaling_sections(worked: Worked, given: Scaling) -> tuple[Section, ...]:
    """The three exercises."""
    parts = (
        ("compute", "Compute and loss", _compute_and_loss),
        ("lower", f"A loss {formats.share(worked.share)} lower", _lower_loss),
        ("same", f"The same compute at {worked.grow:g} times the size", _same_compute),
    )
    return tuple(Section(name, title, tuple(make(worked, given))) for name, title, make in parts)
