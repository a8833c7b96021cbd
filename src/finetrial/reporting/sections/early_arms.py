"""Say which arms pilots dropped before they were tuned on all their rows, how sure that was, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.early_outcome import EarlyArm, EarlyOutcome
from finetrial.reporting import formats
from finetrial.reporting.document import ArmName, Block, Figure, Paragraph, SectionMaker, Table, TableCell, TableRow
from finetrial.reporting.early_figure import pilot_curves
from finetrial.reporting.results import Material
from finetrial.scaling.full_forecast import USUAL_NOISE
from finetrial.units import format_seconds, listing

_CAPTION = (
    "A dot a pilot, the line the law fitted to three of them, the bar the 95\u00a0% of the forecast for all rows, "
    "the diamond what came. An arm without a diamond was dropped."
)
_ASSUMED = (
    "Pilots are tuned with the arm's own settings on growing parts of its rows. Probabilities allow for other "
    "validation rows, the same for all arms, for a curve of unknown form, and for a training run's own noise of "
    f"{100 * USUAL_NOISE:g}\u00a0% of the loss or so, an assumption that three pilots of each arm correct."
)


def _dropped(arm: EarlyArm) -> tuple[str | ArmName, ...]:
    probability = "less than 0.001" if (arm.probability or 0) < 0.001 else f"{arm.probability:.3f}"
    text = (
        f" was dropped after its pilot on 1/{arm.dropped_after} of its rows: the probability that it would have "
        f"been the best on all of them was {probability}."
    )
    if arm.tuned is not None:
        text += " It was tuned on all its rows later, by a run without --early."
    return (ArmName(arm.arm), text)


def _undecided(early: EarlyOutcome) -> str:
    names = early.record.undecided
    if names:
        others = [row.arm for row in early.arms if row.arm not in names and row.dropped_after is None]
        without = (
            f" Of {listing(others)} nothing is said: a pilot is missing or its loss diverged." if others else ""
        )
        return f"The pilots left open which of {listing(names)} is the best; all of them were tuned.{without}"
    return f"Nothing was left undecided: {listing(early.record.left)} alone was tuned on all its rows."


def _cost(early: EarlyOutcome) -> str:
    text = (
        f"The pilots processed {early.tokens:,} tokens in {format_seconds(early.seconds)}; tuning every arm on all "
        f"its rows processes {early.full_tokens:,}."
    )
    gone = early.dropped.values()
    if gone:
        saved = sum(row.full_tokens for row in gone)
        text += f" Of these the dropped arms would have taken {saved:,}"
        planned = [row.planned_seconds for row in gone if row.planned_seconds is not None]
        text += f", planned at {format_seconds(sum(planned))}." if len(planned) == len(gone) else "."
        share = (early.tokens + early.full_tokens - saved) / early.full_tokens
        text += f" With the pilots, tuning came to {formats.percent(share)} of the tokens of all arms."
    return text


def _row(arm: EarlyArm, *, columns: int) -> TableRow:
    losses = [formats.score(loss) for loss in arm.losses]
    span: tuple[str, ...] = ()
    if arm.low is not None and arm.high is not None:
        span = (f"{formats.score(arm.low)} to {formats.score(arm.high)}",)
    cells = (
        *(TableCell(text) for text in (*losses, *[formats.DASH] * (columns - len(losses)))),
        TableCell(formats.score(arm.forecast), span),
        TableCell(formats.DASH if arm.probability is None else f"{arm.probability:.3f}"),
        TableCell(formats.score(arm.tuned)),
    )
    return TableRow((ArmName(arm.arm),), cells)


def _early(material: Material) -> Iterable[Block]:
    early = material.results.findings.early
    assert early is not None
    for arm in early.arms:
        if arm.dropped_after is not None:
            yield Paragraph(_dropped(arm))
    yield Paragraph(_undecided(early))
    yield Paragraph(_cost(early))
    if early.dropped:
        yield Paragraph(
            "Only the loss on the validation data decided. An arm that was dropped may still have been good "
            "enough, and cheaper; a run without --early tunes it too."
        )
    drawn = pilot_curves(early, slots={arm.name: arm.slot for arm in material.results.arms})
    if drawn is not None:
        yield Figure(drawn, _CAPTION)
    parts = early.record.parts
    yield Table(
        "pilots",
        "Arm",
        (*(f"1/{part} of its rows" for part in parts), "Forecast for all", "Best with probability", "In full"),
        tuple(_row(arm, columns=len(parts)) for arm in early.arms),
        f"Loss of a validation token in nats, over {early.validation_rows} rows for the pilots. {_ASSUMED}",
        title="Pilots",
    )


EARLY = SectionMaker(
    "early", "Decided early", _early, needs=lambda material: material.results.findings.early is not None
)
