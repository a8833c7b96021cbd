"""The published laws known by name: constants, source, and what N counts in each."""

from __future__ import annotations

import math

from finetrial.errors import UserError, unknown_name
from finetrial.scaling.laws import DataLimitedLaw, FinetuningLaw, Law, ParametricLaw

_WITH_EMBEDDINGS = "all parameters, embeddings included"
# The largest run among the 245 that Besiroglu et al. read off Hoffmann et al.'s figure 4: 1.30e22 FLOPs. Hoffmann
# et al. do not list theirs; the abstract gives models "to over 16 billion parameters" on 5 to 500 billion tokens.
_HOFFMANN_LARGEST_FLOPS = 1.30e22

HOFFMANN2022 = ParametricLaw(
    name="hoffmann2022",
    E=1.69,
    A=406.4,
    B=410.7,
    alpha=0.34,
    beta=0.28,
    source="Hoffmann et al. 2022, arXiv 2203.15556, eq. 10 (approach 3, as printed)",
    params_meaning=_WITH_EMBEDDINGS,
    caveat="printed with two decimals: good for a loss, biased for an allocation",
    largest_run_flops=_HOFFMANN_LARGEST_FLOPS,
    rounded=True,
    unrounded_name="hoffmann2022-unrounded",
)
HOFFMANN2022_UNROUNDED = ParametricLaw(
    name="hoffmann2022-unrounded",
    E=math.exp(0.5267228),
    A=math.exp(6.0073404),
    B=math.exp(6.0179186),
    alpha=0.33917084,
    beta=0.2849083,
    source="the TeX source of Hoffmann et al. 2022, quoted by Besiroglu et al. 2024, arXiv 2404.10102",
    params_meaning=_WITH_EMBEDDINGS,
    largest_run_flops=_HOFFMANN_LARGEST_FLOPS,
)
BESIROGLU2024 = ParametricLaw(
    name="besiroglu2024",
    E=1.8172,
    A=482.01,
    B=2085.43,
    alpha=0.3478,
    beta=0.3658,
    source="Besiroglu et al. 2024, arXiv 2404.10102 (refit of 240 runs read off Hoffmann et al.'s figure)",
    params_meaning=_WITH_EMBEDDINGS,
    largest_run_flops=_HOFFMANN_LARGEST_FLOPS,
)
MUENNIGHOFF2023 = ParametricLaw(
    name="muennighoff2023",
    E=math.exp(0.6254804),
    A=math.exp(6.255414),
    B=math.exp(7.3049974),
    alpha=0.3526596,
    beta=0.3526596,  # tied to alpha
    source="Muennighoff et al. 2023, arXiv 2305.16264, appendix A (C4; alpha and beta tied)",
    params_meaning=_WITH_EMBEDDINGS,
    caveat="fitted to C4: its losses are not those of another corpus or tokenizer",
)


def _over_training(corpus: str, *, E: float, a: float, b: float, eta: float) -> ParametricLaw:
    """L(C, M) = E + (a M^eta + b M^-eta) C^-eta, M = D / N, rewritten in N and D.

    With C = 6 N D: alpha = beta = 2 eta, A = a 6^-eta, B = b 6^-eta (Gadre et al. 2024, section 2.2).
    """
    return ParametricLaw(
        name=f"gadre2024-{corpus}",
        E=E,
        A=a * 6**-eta,
        B=b * 6**-eta,
        alpha=2 * eta,
        beta=2 * eta,
        source=f"Gadre et al. 2024, arXiv 2403.08540, eq. 4 and table 6 ({corpus}, evaluated on C4)",
        params_meaning=_WITH_EMBEDDINGS,
        caveat="made for over-training (20 to 640 tokens a parameter), from runs of at most 0.4B parameters; "
        "its authors distrust the optimum it implies (appendix F)",
        largest_run_flops=6 * 0.411e9 * 20 * 0.411e9,  # table 1: 0.411B parameters at M = 20
        rounded=True,  # three digits: the optimum of C4 moves from 3.36 to 3.43 tokens a parameter
    )


GADRE2024_C4 = _over_training("c4", E=1.51, a=141, b=190, eta=0.121)
GADRE2024_REDPAJAMA = _over_training("redpajama", E=1.84, a=212, b=367, eta=0.136)
GADRE2024_REFINEDWEB = _over_training("refinedweb", E=1.73, a=157, b=246, eta=0.127)

KAPLAN2020 = DataLimitedLaw(
    name="kaplan2020",
    params_scale=6.4e13,
    tokens_scale=1.8e13,
    alpha_params=0.076,
    alpha_tokens=0.103,
    source="Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5 and table 2 (WebText2)",
    params_meaning="parameters without embeddings",
    caveat="tokens are a training set, trained on until the test loss stops falling; learning-rate schedules were "
    "not fitted to each length, and it has no irreducible loss",
)
ZHANG2024_LORA = FinetuningLaw(
    name="zhang2024-lora-wmt14",
    E=0.62,
    A=2.1e3,
    alpha=0.36,
    beta=0.081,
    source="Zhang et al. 2024, arXiv 2402.17193, eq. 1 (LoRA, WMT14 En-De); constants as restated in public code",
    params_meaning="parameters of the pretrained model (1B to 16B)",
    caveat="one task and one way of tuning; data are fine-tuning examples, 8 thousand to 100 thousand, "
    "given where tokens stand; the constants were taken second-hand",
)

PRETRAINING_LAWS: dict[str, ParametricLaw] = {
    law.name: law
    for law in (
        HOFFMANN2022,
        HOFFMANN2022_UNROUNDED,
        BESIROGLU2024,
        MUENNIGHOFF2023,
        GADRE2024_C4,
        GADRE2024_REDPAJAMA,
        GADRE2024_REFINEDWEB,
    )
}
NAMED_LAWS: dict[str, Law] = {
    **PRETRAINING_LAWS,
    KAPLAN2020.name: KAPLAN2020,
    ZHANG2024_LORA.name: ZHANG2024_LORA,
}
_CONSTANTS = ("E", "A", "B", "alpha", "beta")


def law_by_name(name: str) -> Law:
    """The law of that name. Raises UserError that lists the names."""
    if name not in NAMED_LAWS:
        raise unknown_name("law", name, NAMED_LAWS)
    return NAMED_LAWS[name]


def law_from_constants(text: str) -> ParametricLaw:
    """Read `E=1.69,A=406.4,B=410.7,alpha=0.34,beta=0.28`. All five, each once, each finite and more than zero."""
    expected = "E=..,A=..,B=..,alpha=..,beta=.."
    values: dict[str, float] = {}
    for part in text.split(","):
        key, _, number = (piece.strip() for piece in part.partition("="))
        if key not in _CONSTANTS:
            raise unknown_name("constant of a law", key, _CONSTANTS)
        if key in values:
            raise UserError(f"the constant {key} is given twice", got=repr(text), expected=expected)
        try:
            values[key] = float(number)
        except ValueError:
            raise UserError(f"the constant {key} is not a number", got=repr(number), expected=expected) from None
        if not (math.isfinite(values[key]) and values[key] > 0):
            raise UserError(f"the constant {key} must be finite and more than zero", got=repr(number))
    missing = [key for key in _CONSTANTS if key not in values]
    if missing:
        raise UserError(f"the law lacks {', '.join(missing)}", got=repr(text), expected=expected)
    as_printed = all(math.isclose(values[key], HOFFMANN2022.coefficients[key]) for key in _CONSTANTS)
    return ParametricLaw(
        name="given",
        E=values["E"],
        A=values["A"],
        B=values["B"],
        alpha=values["alpha"],
        beta=values["beta"],
        source="constants given by the user",
        params_meaning="as in the source of the constants",
        rounded=as_printed,
        unrounded_name=HOFFMANN2022.unrounded_name if as_printed else None,
    )
