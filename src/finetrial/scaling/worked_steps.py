"""The steps that lead from the numbers given to the loss, the tokens, the epochs and the best size."""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.scaling.allocation import LARGER_SIZE, Allocation, at_same_cost
from finetrial.scaling.derivation import Derivation, Step
from finetrial.scaling.laws import DataLimitedLaw, FinetuningLaw, Law, ParametricLaw
from finetrial.scaling.repeated_data import FullValue, Geometric, Rule, Saturating
from finetrial.scaling.rounding import rounding_remarks
from finetrial.scaling.target_loss import Outcome

_COMPUTE_SOURCE = "C = 6 N D: Kaplan et al. 2020, section 2.1; Hoffmann et al. 2022, appendix F"


def loss_step(law: Law, *, params: float, tokens: float, symbol: str = "L") -> Step:
    """The law with its values put in."""
    shared = {"N": params, "D": tokens}
    result = law.loss(params, tokens=tokens)
    if isinstance(law, ParametricLaw):
        return Step(
            symbol,
            "E + A / N^alpha + B / D^beta",
            r"E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}}",
            "{E} + {A} / ({N})^{alpha} + {B} / ({D})^{beta}",
            r"<E> + \frac{<A>}{(<N>)^{<alpha>}} + \frac{<B>}{(<D>)^{<beta>}}",
            {**law.coefficients, **shared},
            result,
            law.source,
        )
    if isinstance(law, DataLimitedLaw):
        return Step(
            symbol,
            "[(Nc / N)^(alpha_N / alpha_D) + Dc / D]^alpha_D",
            r"\left[\left(\frac{N_c}{N}\right)^{\alpha_N/\alpha_D} + \frac{D_c}{D}\right]^{\alpha_D}",
            "[({Nc} / {N})^({alpha_N} / {alpha_D}) + {Dc} / {D}]^{alpha_D}",
            r"\left[\left(\frac{<Nc>}{<N>}\right)^{<alpha_N>/<alpha_D>} + \frac{<Dc>}{<D>}\right]^{<alpha_D>}",
            {**law.coefficients, **shared},
            result,
            law.source,
        )
    assert isinstance(law, FinetuningLaw)
    return Step(
        symbol,
        "E + A / (X^alpha D_f^beta)",
        r"E + \frac{A}{X^{\alpha} D_f^{\beta}}",
        "{E} + {A} / (({N})^{alpha} ({D})^{beta})",
        r"<E> + \frac{<A>}{(<N>)^{<alpha>} (<D>)^{<beta>}}",
        {**law.coefficients, **shared},
        result,
        law.source,
    )


def compute_step(*, params: float, tokens: float, symbol: str = "C") -> Step:
    return Step(
        symbol,
        "6 N D",
        r"6 N D",
        "6 x {N} x {D}",
        r"6 \times <N> \times <D>",
        {"N": params, "D": tokens},
        6 * params * tokens,
        _COMPUTE_SOURCE,
    )


def floor_step(law: ParametricLaw, *, params: float) -> Step:
    return Step(
        "floor",
        "E + A / N^alpha",
        r"E + \frac{A}{N^{\alpha}}",
        "{E} + {A} / ({N})^{alpha}",
        r"<E> + \frac{<A>}{(<N>)^{<alpha>}}",
        {**law.coefficients, "N": params},
        law.floor(params),
        "the limit D -> infinity of the law",
        symbol_latex=r"L_{\infty}",
    )


def _effective_steps(law: Law, *, outcome: Outcome, rule: Rule) -> list[Step]:
    """Effective tokens and parameters of an outcome under a rule; none where everything is fresh and full."""
    if outcome.epochs_total is None or outcome.unique_tokens is None:
        steps = []
    elif outcome.epochs_total <= 1 or isinstance(rule, FullValue):
        steps = [
            Step(
                "D_eff",
                "U e",
                "U e",
                "{U} x {e}",
                r"<U> \times <e>",
                {"U": outcome.unique_tokens, "e": outcome.epochs_total},
                outcome.tokens_effective,
                "up to one epoch no token is repeated" if outcome.epochs_total <= 1 else rule.source,
                symbol_latex=r"D_{\mathrm{eff}}",
            )
        ]
    elif isinstance(rule, Geometric):
        steps = [
            Step(
                "D_eff",
                "U (1 - r^e) / (1 - r)",
                r"U \frac{1 - r^{e}}{1 - r}",
                "{U} x (1 - {r}^{e}) / (1 - {r})",
                r"<U> \times \frac{1 - <r>^{<e>}}{1 - <r>}",
                {"U": outcome.unique_tokens, "r": rule.ratio, "e": outcome.epochs_total},
                outcome.tokens_effective,
                rule.source,
                symbol_latex=r"D_{\mathrm{eff}}",
            )
        ]
    else:
        assert isinstance(rule, Saturating)
        steps = [
            Step(
                "D_eff",
                "U + U R* (1 - exp(-(e - 1) / R*))",
                r"U + U R^{*} \left(1 - \exp\left(-\frac{e - 1}{R^{*}}\right)\right)",
                "{U} + {U} x {R} x (1 - exp(-({e} - 1) / {R}))",
                r"<U> + <U> \times <R> \left(1 - \exp\left(-\frac{<e> - 1}{<R>}\right)\right)",
                {"U": outcome.unique_tokens, "R": rule.r_star_tokens, "e": outcome.epochs_total},
                outcome.tokens_effective,
                rule.source,
                symbol_latex=r"D_{\mathrm{eff}}",
            )
        ]
    if rule.r_star_params is not None and isinstance(law, ParametricLaw):
        fresh = outcome.tokens_processed
        if outcome.unique_tokens is not None:
            fresh = min(fresh, outcome.unique_tokens)
        base = min(outcome.params, law.optimal_params_for_tokens(fresh))
        steps.append(
            Step(
                "N_eff",
                "U_N + U_N R_N* (1 - exp(-(N / U_N - 1) / R_N*))",
                r"U_N + U_N R_N^{*} \left(1 - \exp\left(-\frac{N/U_N - 1}{R_N^{*}}\right)\right)",
                "{UN} + {UN} x {R} x (1 - exp(-({N} / {UN} - 1) / {R}))",
                r"<UN> + <UN> \times <R> \left(1 - \exp\left(-\frac{<N>/(<UN>) - 1}{<R>}\right)\right)",
                {"UN": base, "R": rule.r_star_params, "N": outcome.params},
                outcome.params_effective,
                "Muennighoff et al. 2023, eq. 6; U_N = min(N, the size whose optimal data are the fresh tokens)",
                symbol_latex=r"N_{\mathrm{eff}}",
            )
        )
    return steps


def explain_loss(law: Law, *, outcome: Outcome, rule: Rule) -> Derivation:
    steps = [
        *_effective_steps(law, outcome=outcome, rule=rule),
        loss_step(law, params=outcome.params_effective, tokens=outcome.tokens_effective),
    ]
    if isinstance(law, ParametricLaw):
        steps.append(floor_step(law, params=outcome.params))
    remarks = [f"N is {law.params_meaning}."]
    if isinstance(law, FinetuningLaw):
        remarks.append("D_f is a number of fine-tuning examples, so 6 N D does not apply.")
    else:
        steps.append(compute_step(params=outcome.params, tokens=outcome.tokens_processed))
    return Derivation(f"The loss under {law.name}", steps, remarks)


def explain_tokens(
    law: ParametricLaw,
    *,
    before: Outcome | None,
    improve: float | None,
    after: Outcome,
    rule: Rule,
    grow: Sequence[float] = (),
) -> Derivation:
    """From a loss (before) and an improvement to effective tokens, epochs and both costs."""
    steps: list[Step] = []
    remarks: list[str] = []
    if before is not None and improve is not None:
        steps += [
            compute_step(params=before.params, tokens=before.tokens_processed),
            *_effective_steps(law, outcome=before, rule=rule),
            loss_step(law, params=before.params_effective, tokens=before.tokens_effective),
            Step(
                "L'",
                "(1 - p) L",
                r"(1 - p) L",
                "(1 - {p}) x {L}",
                r"(1 - <p>) \times <L>",
                {"p": improve, "L": before.loss},
                after.loss,
                "the improvement asked for",
            ),
        ]
        remarks += rounding_remarks(law, before=before, improve=improve, after=after)
    steps.append(
        Step(
            "D'",
            "(B / (L' - E - A / N^alpha))^(1 / beta)",
            r"\left(\frac{B}{L' - E - A/N^{\alpha}}\right)^{1/\beta}",
            "({B} / ({L} - {E} - {A} / ({N})^{alpha}))^(1 / {beta})",
            r"\left(\frac{<B>}{<L> - <E> - <A>/(<N>)^{<alpha>}}\right)^{1/<beta>}",
            {**law.coefficients, "L": after.loss, "N": after.params_effective},
            after.tokens_effective,
            f"the law solved for D; {law.source}",
            remark="effective tokens: what fresh data would have to be",
        )
    )
    steps.append(compute_step(params=after.params, tokens=after.tokens_effective, symbol="C'"))
    if after.unique_tokens is not None and after.epochs_total is not None:
        steps += _epoch_steps(after, rule=rule)
        steps.append(compute_step(params=after.params, tokens=after.tokens_processed, symbol="C''"))
        if not isinstance(rule, FullValue) and after.epochs_total > 1:
            remarks.append(_hidden(law, after=after, rule=rule, grow=grow or (LARGER_SIZE,)))
    return Derivation(f"The tokens that reach a loss under {law.name}", steps, remarks)


def _epoch_steps(after: Outcome, *, rule: Rule) -> list[Step]:
    assert after.unique_tokens is not None
    assert after.epochs_total is not None
    shared = {"D": after.tokens_effective, "U": after.unique_tokens}
    if after.epochs_total <= 1 or isinstance(rule, FullValue):
        formula, latex = ("D' / U", r"\frac{D'}{U}"), ("{D} / {U}", r"\frac{<D>}{<U>}")
    elif isinstance(rule, Geometric):
        shared["r"] = rule.ratio
        formula = ("ln(1 - (1 - r) D' / U) / ln r", r"\frac{\ln(1 - (1 - r) D'/U)}{\ln r}")
        latex = ("ln(1 - (1 - {r}) x {D} / {U}) / ln {r}", r"\frac{\ln(1 - (1 - <r>) <D>/(<U>))}{\ln <r>}")
    else:
        assert isinstance(rule, Saturating)
        shared["R"] = rule.r_star_tokens
        formula = ("1 - R* ln(1 - (D' / U - 1) / R*)", r"1 - R^{*} \ln\left(1 - \frac{D'/U - 1}{R^{*}}\right)")
        latex = (
            "1 - {R} x ln(1 - ({D} / {U} - 1) / {R})",
            r"1 - <R> \ln\left(1 - \frac{<D>/(<U>) - 1}{<R>}\right)",
        )
    return [
        Step(
            "e",
            formula[0],
            formula[1],
            latex[0],
            latex[1],
            shared,
            after.epochs_total,
            f"{rule.formula}, solved for e; {rule.source}",
            remark=total_or_addition(after.epochs_total),
        ),
        Step(
            "D''",
            "U e",
            "U e",
            "{U} x {e}",
            r"<U> \times <e>",
            {"U": after.unique_tokens, "e": after.epochs_total},
            after.tokens_processed,
            "processed tokens: what the machine reads and the bill counts",
        ),
    ]


def total_or_addition(epochs: float) -> str:
    """Say that a number of epochs counts all of them, and what it adds to the first."""
    if epochs <= 1:
        return f"{epochs:.4g} epochs is the total: no token is repeated"
    return f"{epochs:.4g} epochs is the total; {epochs - 1:.4g} is the addition to the first"


def _hidden(law: ParametricLaw, *, after: Outcome, rule: Rule, grow: Sequence[float]) -> str:
    """The third worked figure and what it hides: what the same money buys at other sizes."""
    lines = ["What one figure alone hides: fewer epochs at a larger size can lower the loss at equal cost."]
    for label, flops in (("C'", after.flops_effective), ("C''", after.flops_processed)):
        same = at_same_cost(law, outcome=after, flops=flops, rule=rule, grow=grow)
        runs = "; ".join(
            f"{name} runs {row.epochs_total:.4g} epochs to {row.loss:.5f}"
            for name, row in (
                ("N itself", same.same_size),
                *((f"{factor:g} N", run) for factor, run in zip(grow, same.grown, strict=True)),
                (f"the best size, {same.best.params / after.params:.2f} N,", same.best),
            )
        )
        verdict = "which reaches" if same.best.loss <= after.loss else "which misses"
        lines.append(f"At {label} = {flops:.5g} FLOPs {runs}, {verdict} the target {after.loss:.6g}.")
    return " ".join(lines)


def explain_epochs(law: ParametricLaw, *, outcome: Outcome, rule: Rule, best: Outcome, flops: float) -> Derivation:
    assert outcome.unique_tokens is not None
    assert outcome.epochs_total is not None
    steps = [
        Step(
            "e",
            "C / (6 N U)",
            r"\frac{C}{6 N U}",
            "{C} / (6 x {N} x {U})",
            r"\frac{<C>}{6 \times <N> \times <U>}",
            {"C": flops, "N": outcome.params, "U": outcome.unique_tokens},
            outcome.epochs_total,
            _COMPUTE_SOURCE,
            remark=total_or_addition(outcome.epochs_total),
        ),
        *_effective_steps(law, outcome=outcome, rule=rule),
        loss_step(law, params=outcome.params_effective, tokens=outcome.tokens_effective),
    ]
    assert best.epochs_total is not None
    remark = (
        f"What this figure hides: at the same {flops:.5g} FLOPs the best size is "
        f"{best.params / outcome.params:.2f} times this one, with {best.epochs_total:.4g} epochs and a loss of "
        f"{best.loss:.5f}. No size reaches less with this compute, these data and this rule; a lower target needs "
        "more compute, for instance more epochs."
    )
    return Derivation(f"Epochs for a budget under {law.name}", steps, [remark])


def explain_spend(law: ParametricLaw, *, outcome: Outcome, rule: Rule, flops: float) -> Derivation:
    """The tokens that a budget buys at a size, and their loss."""
    steps = [
        Step(
            "D",
            "C / (6 N)",
            r"\frac{C}{6 N}",
            "{C} / (6 x {N})",
            r"\frac{<C>}{6 \times <N>}",
            {"C": flops, "N": outcome.params},
            outcome.tokens_processed,
            _COMPUTE_SOURCE,
            remark=None if outcome.epochs_total is None else total_or_addition(outcome.epochs_total),
        ),
        *_effective_steps(law, outcome=outcome, rule=rule),
        loss_step(law, params=outcome.params_effective, tokens=outcome.tokens_effective),
    ]
    return Derivation(f"The tokens that a budget buys under {law.name}", steps)


def explain_optimal(law: ParametricLaw, *, allocation: Allocation, rule: Rule) -> Derivation:
    constants = {"alpha": law.alpha, "beta": law.beta}
    g = Step(
        "G",
        "(alpha A / (beta B))^(1 / (alpha + beta))",
        r"\left(\frac{\alpha A}{\beta B}\right)^{1/(\alpha + \beta)}",
        "({alpha} x {A} / ({beta} x {B}))^(1 / ({alpha} + {beta}))",
        r"\left(\frac{<alpha> \times <A>}{<beta> \times <B>}\right)^{1/(<alpha> + <beta>)}",
        {**constants, "A": law.A, "B": law.B},
        law.G,
        "Hoffmann et al. 2022, eq. 4",
    )
    values = {**constants, "G": law.G, "C": allocation.flops}
    n_star = Step(
        "N*",
        "G (C / 6)^(beta / (alpha + beta))",
        r"G \left(\frac{C}{6}\right)^{\beta/(\alpha + \beta)}",
        "{G} x ({C} / 6)^({beta} / ({alpha} + {beta}))",
        r"<G> \times \left(\frac{<C>}{6}\right)^{<beta>/(<alpha> + <beta>)}",
        values,
        law.optimal_params(allocation.flops),
        "Hoffmann et al. 2022, eq. 4 (fresh data)",
        symbol_latex="N^{*}",
    )
    d_star = Step(
        "D*",
        "C / (6 N*)",
        r"\frac{C}{6 N^{*}}",
        "{C} / (6 x {N})",
        r"\frac{<C>}{6 \times <N>}",
        {"C": allocation.flops, "N": n_star.result},
        allocation.flops / (6 * n_star.result),
        _COMPUTE_SOURCE,
        symbol_latex="D^{*}",
    )
    best = allocation.best
    steps, remarks = [g, n_star, d_star], []
    if abs(best.params / n_star.result - 1) > 1e-6:
        remarks.append(
            "Limited unique data, or tokens served, bend the curve: the closed form above is for fresh data only. "
            f"The least loss was searched over sizes and lies at N = {best.params:.5g}, "
            f"{best.tokens_processed:.5g} processed and {best.tokens_effective:.5g} effective tokens."
        )
        steps += _effective_steps(law, outcome=best, rule=rule)
    steps.append(loss_step(law, params=best.params_effective, tokens=best.tokens_effective))
    worse = [f"half the size costs {allocation.half.loss - best.loss:+.5f} nats"]
    if allocation.twice is not None:
        worse.append(f"twice the size {allocation.twice.loss - best.loss:+.5f}")
    remarks.append("How flat it is: " + ", ".join(worse) + ".")
    return Derivation(f"The best size for a budget under {law.name}", steps, remarks)
