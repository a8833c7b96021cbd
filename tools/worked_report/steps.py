"""Turn the steps of this project's derivations into the equations of a document."""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.footprint.explain import Step as StorageStep
from finetrial.reporting.document import Equation, Equations, Formula
from finetrial.scaling.derivation import Step, number, number_latex


def _symbol(step: Step) -> Formula:
    latex = step.symbol_latex or step.symbol
    return Formula(step.symbol, rf"\text{{{latex}}}" if latex.isalpha() and len(latex) > 1 else latex)


def scaling_equations(steps: Sequence[Step]) -> Equations:
    """The steps of a scaling exercise: formula, values, result."""
    return Equations(
        tuple(
            Equation(
                _symbol(step),
                (
                    Formula(step.formula, step.formula_latex),
                    Formula(step.substituted, step.substituted_latex),
                    Formula(number(step.result), number_latex(step.result)),
                ),
                source=step.source,
                remark=step.remark,
            )
            for step in steps
        )
    )


def storage_equations(steps: Sequence[StorageStep]) -> Equations:
    """The steps of a storage exercise."""
    return Equations(
        tuple(
            Equation(
                Formula(step.what, rf"\text{{{_escaped(step.what)}}}"),
                (
                    Formula(step.formula, step.formula_latex),
                    Formula(step.values, step.values_latex),
                    Formula(step.result, step.result_latex),
                ),
                source=step.source,
            )
            for step in steps
        )
    )


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%")
