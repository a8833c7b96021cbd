"""The worth of repeated passes over the same data, counted in fresh passes.

A rule maps e epochs to w(e) fresh epochs; with U unique tokens, D_effective = U w(e). Up to one epoch w(e) = e
under every rule. Effective tokens set the loss, processed tokens U e set the compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from finetrial.errors import UserError
from finetrial.scaling.laws import Law, ParametricLaw

# Muennighoff et al. 2023, arXiv 2305.16264, appendix A. Both are 1/e constants, not half-lives.
R_STAR_TOKENS = 15.387756
R_STAR_PARAMS = 5.309743

RULE_FORMS = "none, halving, geometric:R with 0 < R < 1, muennighoff2023, muennighoff2023-tokens"


class Rule(Protocol):
    """What every rule answers."""

    @property
    def name(self) -> str: ...

    @property
    def formula(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def r_star_params(self) -> float | None: ...

    @property
    def limit(self) -> float: ...

    def worth(self, epochs: float) -> float: ...

    def epochs_for(self, worth: float) -> float | None: ...


@dataclass(frozen=True)
class FullValue:
    """The rule `none`: no discount. A repeated token counts as a fresh one: an upper bound on its worth."""

    name: str = "none"
    formula: str = "D_effective = U e"
    source: str = "no rule: repeated tokens are counted as fresh"
    r_star_params: float | None = None

    @property
    def limit(self) -> float:
        return math.inf

    def worth(self, epochs: float) -> float:
        return epochs

    def epochs_for(self, worth: float) -> float | None:
        return worth


@dataclass(frozen=True)
class Geometric:
    """Each pass is worth r times the one before: w(e) = (1 - r^e) / (1 - r), beyond one epoch for every real e."""

    ratio: float
    name: str = "geometric"
    formula: str = "D_effective = U (1 - r^e) / (1 - r)"
    source: str = "geometric series of the passes (an assumption, not a measurement)"
    r_star_params: float | None = None

    @property
    def limit(self) -> float:
        return 1 / (1 - self.ratio)

    def worth(self, epochs: float) -> float:
        if epochs <= 1:
            return epochs
        return -math.expm1(epochs * math.log(self.ratio)) / (1 - self.ratio)

    def epochs_for(self, worth: float) -> float | None:
        if worth <= 1:
            return worth
        left = 1 - worth * (1 - self.ratio)
        return math.log(left) / math.log(self.ratio) if left > 0 else None


HALVING = Geometric(0.5, name="halving", formula="D_effective = 2 U (1 - 2^-e)")


@dataclass(frozen=True)
class Saturating:
    """w(e) = 1 + R* (1 - exp(-(e - 1) / R*)) (Muennighoff et al. 2023, eq. 5).

    With `r_star_params`, parameters beyond U_N = min(N, N_opt(fresh tokens)) decay likewise (eq. 6). They do
    so from the first epoch on: a model larger than its data deserve is worth less than its size in any case.
    """

    r_star_tokens: float = R_STAR_TOKENS
    r_star_params: float | None = R_STAR_PARAMS
    name: str = "muennighoff2023"
    formula: str = "D_effective = U + U R* (1 - exp(-(e - 1) / R*))"
    source: str = "Muennighoff et al. 2023, arXiv 2305.16264, eq. 5 and 6, appendix A"

    @property
    def limit(self) -> float:
        return 1 + self.r_star_tokens

    def worth(self, epochs: float) -> float:
        if epochs <= 1:
            return epochs
        return 1 - self.r_star_tokens * math.expm1(-(epochs - 1) / self.r_star_tokens)

    def epochs_for(self, worth: float) -> float | None:
        if worth <= 1:
            return worth
        left = 1 - (worth - 1) / self.r_star_tokens
        return 1 - self.r_star_tokens * math.log(left) if left > 0 else None


NO_RULE = FullValue()
MUENNIGHOFF = Saturating()
MUENNIGHOFF_TOKENS = Saturating(r_star_params=None, name="muennighoff2023-tokens")


def effective_params(law: Law, *, params: float, fresh_tokens: float, rule: Rule) -> float:
    """N_effective = U_N + U_N R_N* (1 - exp(-(N / U_N - 1) / R_N*)), U_N = min(N, N_opt(fresh tokens)).

    N itself under a rule without a constant for parameters. Raises UserError for a law that has no optimum.
    """
    if rule.r_star_params is None:
        return params
    if not isinstance(law, ParametricLaw):
        raise UserError(
            f"the rule {rule.name} needs the optimal size of a law, and {law.name} has none",
            expected="a law E + A/N^alpha + B/D^beta",
            fix="Use --repeat muennighoff2023-tokens, or another law.",
        )
    base = min(params, law.optimal_params_for_tokens(fresh_tokens))
    excess = params / base - 1
    return base - base * rule.r_star_params * math.expm1(-excess / rule.r_star_params)


def rule_by_name(text: str) -> Rule:
    """Read a rule: none, halving, geometric:0.8, muennighoff2023, muennighoff2023-tokens."""
    for rule in (NO_RULE, HALVING, MUENNIGHOFF, MUENNIGHOFF_TOKENS):
        if text == rule.name:
            return rule
    head, _, number = text.partition(":")
    if head != "geometric":
        raise UserError(f"unknown repetition rule {text!r}", expected=RULE_FORMS)
    try:
        ratio = float(number)
    except ValueError:
        raise UserError("the ratio of geometric is not a number", got=repr(number), expected=RULE_FORMS) from None
    if not 0 < ratio < 1:
        raise UserError("the ratio of geometric must lie between 0 and 1", got=number, expected=RULE_FORMS)
    return Geometric(ratio, name=f"geometric:{ratio:g}")
