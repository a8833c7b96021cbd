"""The best size for a budget, by the law asked for and by its unrounded constants, and by every named law."""

from __future__ import annotations

from finetrial.cli.scale_inputs import print_rows
from finetrial.scaling.allocation import allocate
from finetrial.scaling.law_comparison import LawBudget, LawLoss
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.published_laws import law_by_name
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.target_loss import Outcome
from finetrial.units import format_count

# Said wherever both stand, so that nobody takes one for a contradiction of the other.
WHY_BOTH = (
    "constants printed with two decimals give a loss well and misplace the best size; an allocation is better "
    "taken from the same fit with all its digits"
)


def unrounded_of(law: ParametricLaw) -> ParametricLaw | None:
    """The same fit with all its digits, where the law's are rounded and those were published."""
    if not law.rounded or law.unrounded_name is None:
        return None
    other = law_by_name(law.unrounded_name)
    assert isinstance(other, ParametricLaw)
    return other


def unrounded_best(law: ParametricLaw, *, flops: float, unique_tokens: float | None, rule: Rule) -> Outcome | None:
    """The best size under `unrounded_of`, the law by which `scale optimal` answers."""
    other = unrounded_of(law)
    return None if other is None else allocate(other, flops=flops, unique_tokens=unique_tokens, rule=rule).best


def best_rows(law: ParametricLaw, *, best: Outcome, unrounded: Outcome | None) -> list[tuple[str, str]]:
    """One row a law, the law of the question first."""
    rows = [("best at this cost", f"{best_text(best)}, {law.name}" if unrounded is not None else best_text(best))]
    if unrounded is not None:
        rows.append(("  as scale optimal", f"{best_text(unrounded)}, {law.unrounded_name}"))
    return rows


def best_text(best: Outcome) -> str:
    epochs = "" if best.epochs_total is None else f", {best.epochs_total:.3g} epochs"
    return f"{format_count(best.params)}{epochs}, loss {best.loss:.5g}"


def best_warnings(law: ParametricLaw, *, unrounded: Outcome | None) -> list[str]:
    if unrounded is not None:
        return [f"{law.name} and {law.unrounded_name} differ on the best size: {WHY_BOTH}"]
    if law.rounded:
        return [f"{law.name} has rounded constants: its best size is biased, its losses less so"]
    return []


def print_losses(answers: tuple[LawLoss, ...]) -> None:
    print("the same question under every named law:")
    print_rows([(row.law, f"loss {row.loss:.6g}, floor {row.floor:.6g}") for row in answers])


def print_budgets(answers: tuple[LawBudget, ...]) -> None:
    print("the same question under every named law:")
    rows = []
    for row in answers:
        at_size = "" if row.loss is None else f"loss {row.loss:.5g}; "
        rows.append((row.law, f"{at_size}best {best_text(row.best)}"))
    print_rows(rows)
