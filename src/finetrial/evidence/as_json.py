"""How do findings read as one JSON object: `finetrial score --json`, and what results.json holds of them?"""

from __future__ import annotations

from typing import Any

from finetrial.evidence.findings import Findings, Pair


def _pair(pair: Pair) -> dict[str, Any]:
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
        "question": pair.question,
        "n_units": pair.n_units,
        "smallest_p": pair.smallest_p,
        "reason": pair.reason,
    }


def findings_object(findings: Findings) -> dict[str, Any]:
    """The findings with the keys of `finetrial score --json`; dataclasses inside are left for the printer."""
    return {
        "verdict": findings.verdict,
        "recommendation": findings.recommendation,
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
        "good": dict(findings.good),
        "agreement": findings.agreement,
        "metric_vs_people": dict(findings.metric_vs_people),
        "diagnostics": list(findings.diagnostics),
        "power": list(findings.power),
        "warnings": list(findings.warnings),
        "signatures": dict(findings.signatures),
    }
