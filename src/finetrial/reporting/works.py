"""The published works behind what a report shows: metrics, diagnostics, tests, intervals and methods of tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from finetrial.reporting.results import Results

_LIN = "Lin, “ROUGE: A Package for Automatic Evaluation of Summaries”, 2004"
_RAJPURKAR = "Rajpurkar et al., “SQuAD: 100,000+ Questions for Machine Comprehension of Text”, 2016"
_METRICS = {"rouge": _LIN, "exact_squad": _RAJPURKAR, "f1": _RAJPURKAR}
_METHODS = {
    "lora": "Hu et al., “LoRA: Low-Rank Adaptation of Large Language Models”, 2021, arXiv 2106.09685",
    "vera": "Kopiczko et al., “VeRA: Vector-based Random Matrix Adaptation”, 2023, arXiv 2310.11454",
    "ia3": "Liu et al., “Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning”, "
    "2022, arXiv 2205.05638",
}
# what a diagnostic names as its source begins with -> the work
_DIAGNOSTICS = {
    "Grusky": "Grusky et al., “Newsroom: A Dataset of 1.3 Million Summaries with Diverse Extractive Strategies”, "
    "2018",
    "Welleck": "Welleck et al., “Neural Text Generation with Unlikelihood Training”, 2019, arXiv 1908.04319",
    "Nan": "Nan et al., “Entity-level Factual Consistency of Abstractive Text Summarization”, 2021",
    "Chowdhery": "Chowdhery et al., “PaLM: Scaling Language Modeling with Pathways”, 2022, arXiv 2204.02311",
    "Zhu": "Zhu et al., “Texygen: A Benchmarking Platform for Text Generation Models”, 2018",
    "Damerau": "Damerau, “A Technique for Computer Detection and Correction of Spelling Errors”, 1964",
}
# (what is shown, the work)
_STATISTICS: tuple[tuple[Callable[[Results], object], str], ...] = (
    (lambda r: r.findings.pairs, "Fisher, “The Design of Experiments”, 1935 (the sign-flip test)"),
    (lambda r: r.findings.pairs, "Holm, “A Simple Sequentially Rejective Multiple Test Procedure”, 1979"),
    (lambda r: r.findings.intervals, "Efron and Tibshirani, “An Introduction to the Bootstrap”, 1993"),
    (
        lambda r: r.findings.good,
        "Wilson, “Probable Inference, the Law of Succession, and Statistical Inference”, 1927",
    ),
    (lambda r: r.findings.good, "Kish, “Survey Sampling”, 1965 (effective sample size)"),
    (
        lambda r: r.findings.agreement is not None and r.findings.agreement.n_raters > 1,
        "Krippendorff, “Content Analysis: An Introduction to Its Methodology”, 1980 (alpha)",
    ),
    (
        lambda r: r.findings.grading is not None and r.findings.grading.strengths is not None,
        "Bradley and Terry, “Rank Analysis of Incomplete Block Designs”, 1952",
    ),
    (
        lambda r: any(judge.decides for judge in r.findings.judges),
        "Angelopoulos, Duchi and Zrnic, “PPI++: Efficient Prediction-Powered Inference”, 2023, arXiv 2311.01453",
    ),
)


def works_of_metrics(results: Results) -> tuple[str, ...]:
    """The works that define the metrics that were computed."""
    found = [work for name in results.metrics for prefix, work in _METRICS.items() if name.startswith(prefix)]
    return tuple(dict.fromkeys(found))


def works_of_diagnostics(results: Results) -> tuple[str, ...]:
    """The works that the diagnostics follow."""
    sources = [row.source for row in results.findings.diagnostics if row.source is not None]
    return tuple(work for name, work in _DIAGNOSTICS.items() if any(name in source for source in sources))


def works_of_statistics(results: Results) -> tuple[str, ...]:
    """The works behind the tests and intervals that the report shows."""
    return tuple(work for shows, work in _STATISTICS if shows(results))


def works_of_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """The works that introduced the methods by which arms were tuned."""
    return tuple(_METHODS[name] for name in dict.fromkeys(methods) if name in _METHODS)
