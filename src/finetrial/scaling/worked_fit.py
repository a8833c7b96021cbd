"""The formulas that a fit minimises and reports, with the values it found."""

from __future__ import annotations

from finetrial.scaling.derivation import Derivation, Step
from finetrial.scaling.fitting import Fit
from finetrial.scaling.interval import FEW_RUNS
from finetrial.scaling.laws import ParametricLaw

_FEW = (
    "Intervals are of the likelihood of least squares: a value stays while some law with it fits with at most "
    "S_min (1 + t^2 / (R - 5)), S the sum of squares in log L or in L (the wider of both) and t the 97.5 % point "
    "of Student's t."
)
_MANY = (
    "Bootstrap intervals refit resampled runs; profile intervals fix one coefficient and refit the others until Q "
    "has risen by half of a squared 95 % t-quantile, times the scatter of the runs' gradients over the curvature."
)


def explain_fit(law: ParametricLaw, *, fit: Fit | None, huber: float) -> Derivation:
    """The law fitted, at the median run, and the objective that it minimises."""
    if fit is None:
        return Derivation(f"The base law {law.name}", [], [f"Taken as it stands: {law.source}."])
    order = fit.runs.flops_R.argsort()
    middle = int(order[len(order) // 2])
    params, tokens = float(fit.runs.params_R[middle]), float(fit.runs.tokens_R[middle])
    measured = float(fit.runs.loss_R[middle])
    example = Step(
        "L",
        "E + A / N^alpha + B / D^beta",
        r"E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}}",
        "{E} + {A} / ({N})^{alpha} + {B} / ({D})^{beta}",
        r"<E> + \frac{<A>}{(<N>)^{<alpha>}} + \frac{<B>}{(<D>)^{<beta>}}",
        {**law.coefficients, "N": params, "D": tokens},
        law.loss(params, tokens=tokens),
        f"the fitted law at the run of line {int(fit.runs.lines_R[middle])}, which measured {measured:.6g}",
    )
    objective = Step(
        "Q",
        "sum over runs of Huber_d(log L_measured - log L)",
        r"\sum_i \mathrm{Huber}_{\delta}\left(\log L_i - \log L(N_i, D_i)\right)",
        "sum over {n} runs with d = {d}",
        r"\sum_{i=1}^{<n>} \mathrm{Huber}_{<d>}",
        {"n": float(len(fit.runs)), "d": huber},
        fit.objective,
        "Hoffmann et al. 2022, eq. 3",
    )
    remarks = [
        f"The least Q of {fit.starts} starts: for each pair of exponents on a grid, E, A and B of least "
        "relative squares, then damped Newton steps on exact second derivatives in all five, with tolerances "
        "relative to Q.",
        _FEW if len(fit.runs) < FEW_RUNS else _MANY,
    ]
    return Derivation(f"A law fitted to {len(fit.runs)} runs", [objective, example], remarks)
