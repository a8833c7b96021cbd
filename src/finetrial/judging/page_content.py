"""Make what the grading page starts from: its HTML, its files, and what it is told about the trial."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finetrial.judging.assignment import repeat_count
from finetrial.judging.detectable import detectable_sentences
from finetrial.judging.events import CellState
from finetrial.judging.grading_session import GradingSession, Mode, RaterPlan
from finetrial.judging.rater_progress import RaterProgress
from finetrial.store.grades import FAST_SECONDS, REASONS
from finetrial.store.stopping_record import GradingStand, read_stand

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
# Read in this order; each file may use the ones before it.
SCRIPTS = ("text.js", "markup.js", "transport.js", "session.js", "cards.js", "start.js", "summary.js", "page.js")
BUNDLE_SCRIPTS = (
    "text.js",
    "markup.js",
    "bundle.js",
    "session.js",
    "cards.js",
    "start.js",
    "summary.js",
    "page.js",
)

REASON_LABELS = {
    "false": "false",
    "copied": "copied",
    "repeats": "repeats",
    "off_task": "off task",
    "unfinished": "unfinished",
    "disfluent": "disfluent",
}
assert tuple(REASON_LABELS) == REASONS


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_html(*, title: str) -> str:
    """The page as the server sends it; its scripts and style are files beside it."""
    return (
        _environment()
        .get_template("page.html")
        .render(title=title, scripts=SCRIPTS, inline=None, boot=None, policy=None)
    )


def _policy_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def bundle_html(*, title: str, boot: Mapping[str, Any]) -> str:
    """The page as one file with its texts inside; its policy admits exactly the scripts that it holds."""
    scripts = [(STATIC / name).read_text(encoding="utf-8") for name in BUNDLE_SCRIPTS]
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_policy_hash, scripts))}; "
        f"style-src {_policy_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    inline = {"style": Markup(style), "scripts": [Markup(script) for script in scripts]}
    return (
        _environment()
        .get_template("page.html")
        .render(title=title, scripts=(), inline=inline, boot=boot, policy=policy)
    )


def about(session: GradingSession, *, mode: Mode) -> dict[str, Any]:
    """What stands on the first screen."""
    settings = session.settings
    cells = len(session.items) if mode == "single" else len(session.pairs)
    # Repeats are counted in, so that no number on the page gives them away.
    repeats = repeat_count(cells, share=settings.repeats) if mode == "single" else 0
    scale = settings.scale
    return {
        "title": settings.title,
        "criterion": settings.criterion,
        "mode": mode,
        "arms": list(settings.arms),
        "prompts": settings.prompts,
        "cells": cells + repeats,
        "scale": None if scale is None or mode == "pairs" else {"labels": scale.labels, "rule": scale.rule()},
        "reach": [*detectable_sentences(settings), *stand_sentences(session, mode=mode)],
        "fast_seconds": FAST_SECONDS,
        "reasons": [{"code": code, "label": label} for code, label in REASON_LABELS.items()],
    }


def stand_of(session: GradingSession, *, mode: Mode) -> GradingStand | None:
    """Whether enough is graded, as the owner's other process last wrote it; None: not asked, or not yet."""
    return read_stand(session.folder) if session.settings.stopping is not None and mode == "single" else None


def stand_sentences(session: GradingSession, *, mode: Mode) -> tuple[str, ...]:
    """The same in words."""
    stand = stand_of(session, mode=mode)
    return () if stand is None else (stand.sentence(),)


def stand_shown(session: GradingSession, *, mode: Mode) -> dict[str, Any] | None:
    """The same as the page shows it among the cards."""
    stand = stand_of(session, mode=mode)
    return None if stand is None else {"enough": stand.enough, "text": stand.sentence()}


def plan_about(plan: RaterPlan) -> dict[str, Any]:
    """What one rater is asked, in numbers: in a large trial less than there is."""
    return {"prompts": len({block.number for block in plan.blocks}), "cells": len(plan.positions)}


def progress_html(*, title: str, rows: Iterable[RaterProgress], mode: Mode, stand: Iterable[str] = ()) -> str:
    """The owner's view, without a script."""
    kept = list(rows)
    return (
        _environment().get_template("progress.html").render(title=title, rows=kept, mode=mode, stand=tuple(stand))
    )


def cell_states(cells: Iterable[CellState]) -> list[dict[str, Any]]:
    """What stands for each cell, as the page reads it."""
    return [
        {
            "item_id": cell.item_id,
            "occurrence": cell.occurrence,
            "value": cell.value,
            "reasons": cell.reasons,
            "note": cell.note,
            "guess": cell.guess,
        }
        for cell in cells
    ]


def plan_cells(plan: RaterPlan, states: Iterable[CellState] = ()) -> list[list[Any]]:
    """The plan as the page reads it, with what stands already; short, because it is sent whole.

    For each block its cells: the id alone when open, else [id, occurrence, value, reasons, note, guess].
    """
    standing = {(cell.item_id, cell.occurrence): cell for cell in states}

    def packed(item_id: str, occurrence: int) -> Any:
        cell = standing.get((item_id, occurrence))
        if cell is None:
            return item_id if occurrence == 1 else [item_id, occurrence, None, [], None, None]
        return [item_id, occurrence, cell.value, cell.reasons, cell.note, cell.guess]

    return [[packed(cell.item_id, cell.occurrence) for cell in block.cells] for block in plan.blocks]
