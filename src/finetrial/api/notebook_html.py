"""Show a result in a notebook: the verdict, warnings, the means, the figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from finetrial.evidence.findings import Findings, Interval
from finetrial.metrics.metric_table import metric_name


def comparison_html(
    findings: Findings, *, figures: Mapping[str, str] | None = None, report: str | None = None
) -> str:
    """A fragment of HTML that loads and runs nothing; `figures` are SVG texts by name, `report` is a path."""
    parts = [f"<p><strong>{escape(findings.verdict or 'There is no verdict.')}</strong></p>"]
    parts += [f"<p>⚠ {escape(row.text)}</p>" for row in findings.verdict_warnings]
    if findings.recommendation is not None:
        parts.append(f"<p>{escape(findings.recommendation.text)}</p>")
    parts.append(_means(findings))
    if findings.warnings:
        listed = "".join(f"<li>{escape(text)}</li>" for text in findings.warnings)
        parts.append(f"<details><summary>Warnings ({len(findings.warnings)})</summary><ul>{listed}</ul></details>")
    for name, svg in (figures or {}).items():
        data = base64.b64encode(svg.encode()).decode()
        parts.append(f'<img alt="{escape(name)}" src="data:image/svg+xml;base64,{data}" style="max-width: 100%">')
    if report is not None:
        parts.append(f"<p>The report: <code>{escape(report)}</code></p>")
    return f"<div>{''.join(parts)}</div>"


def _means(findings: Findings) -> str:
    """Arms by metrics, each mean with its 95 % interval."""
    metrics = list(findings.intervals)
    if not metrics:
        return ""
    arms = list(dict.fromkeys(arm for rows in findings.intervals.values() for arm in rows))
    head = "".join(f"<th>{escape(metric_name(metric))}</th>" for metric in metrics)
    rows = "".join(
        f"<tr><th>{escape(arm)}</th>"
        + "".join(f"<td>{_cell(findings.intervals[metric].get(arm))}</td>" for metric in metrics)
        + "</tr>"
        for arm in arms
    )
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(row: Interval | None) -> str:
    if row is None or row.mean is None:
        return "–"
    if row.low is None or row.high is None:
        return f"{row.mean:.3f}"
    return f"{row.mean:.3f} <small>[{row.low:.3f}, {row.high:.3f}]</small>"
