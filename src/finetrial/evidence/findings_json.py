"""Write findings as one JSON object, for `finetrial score --json` and results.json."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from finetrial.evidence.findings import Findings
from finetrial.stats.comparison import Comparison


def _pair(pair: Comparison) -> dict[str, Any]:
    return {
        "metric": pair.metric,
        "a": pair.a,
        "b": pair.b,
        "difference": pair.difference,
        "low": pair.low,
        "high": pair.high,
        "p": pair.p,
        "p_holm": pair.p_holm,
        "wins": pair.wins,
        "losses": pair.losses,
        "ties": pair.ties,
        "question": pair.question.value,
        "n_units": pair.n_units,
        "smallest_p": pair.smallest_p,
        "reason": pair.reason,
    }


def _details(findings: Findings) -> dict[str, Any]:
    return {metric: {arm: asdict(row) for arm, row in arms.items()} for metric, arms in findings.details.items()}


def findings_object(findings: Findings) -> dict[str, Any]:
    """The findings as plain objects, lists and numbers, with the keys of `finetrial score --json`."""
    return {
        "verdict_warnings": [
            {"kind": row.kind, "text": row.text, "arms": list(row.arms)} for row in findings.verdict_warnings
        ],
        "verdict": findings.verdict,
        "beside": None if findings.beside is None else asdict(findings.beside),
        "recommendation": None if findings.recommendation is None else asdict(findings.recommendation),
        "primary": findings.primary,
        "exploratory": list(findings.exploratory),
        "metrics": {
            metric: {
                arm: {
                    "mean": row.mean,
                    "low": row.low,
                    "high": row.high,
                    "n_prompts": row.n_prompts,
                    "n_units": row.n_units,
                    "reason": row.reason,
                }
                for arm, row in arms.items()
            }
            for metric, arms in findings.intervals.items()
        },
        "pairs": [_pair(pair) for pair in findings.pairs],
        **({"deployed": [asdict(form) for form in findings.deployed]} if findings.deployed else {}),
        **({"slices": [asdict(row) for row in findings.slices]} if findings.slices else {}),
        "judges": [asdict(judge) for judge in findings.judges],
        "good": {arm: asdict(row) for arm, row in findings.good.items()},
        "good_by_prompt": [] if findings.good_grid is None else [asdict(row) for row in findings.good_grid.prompts],
        "agreement": None if findings.agreement is None else asdict(findings.agreement),
        "grading_facts": None if findings.grading is None else asdict(findings.grading),
        "metric_vs_people": {metric: asdict(row) for metric, row in findings.metric_vs_people.items()},
        "diagnostics": [asdict(row) for row in findings.diagnostics],
        "retained": {arm: asdict(row) for arm, row in findings.retained.items()},
        "references": {arm: asdict(row) for arm, row in findings.references.items()},
        "more_rows": [asdict(row) for row in findings.more_rows],
        **({"early": asdict(findings.early)} if findings.early is not None else {}),
        "power": [asdict(row) for row in findings.power],
        "floor": None if findings.floor is None else asdict(findings.floor),
        "costs": None if findings.costs is None else asdict(findings.costs),
        "warnings": list(findings.warnings),
        "signatures": dict(findings.signatures),
        **({"details": _details(findings)} if findings.details else {}),
    }
