"""Grading offline: one page in one file goes out, one file of grades comes back."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.judging.grading_session import GradingSession, Mode
from finetrial.judging.markdown_nodes import formatted_block
from finetrial.judging.page_content import about, bundle_html, plan_about, plan_cells
from finetrial.judging.raters import Rater, checked_kind, clean_name
from finetrial.store.compressed_files import read_text
from finetrial.store.files import atomic_text

FILE_KIND = "grades"
FILE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Merged:
    """What one file brought."""

    file: str
    raters: tuple[str, ...]
    added: int  # events that were new
    known: int  # events that stood in the database already
    unknown: int  # events on texts that are not in this trial


def _write_page(session: GradingSession, path: Path, *, rater: Rater, named: bool, raters: int, mode: Mode) -> None:
    plan = session.plan_for(rater, mode=mode, raters=raters)
    bundle = secrets.token_hex(8)
    contents = [session.block_content(plan, number) for number in range(len(plan.blocks))]
    boot = {
        "bundle": bundle,
        "items_hash": session.settings.items_hash,
        "rater": rater.name if named else None,
        "about": {**about(session, mode=mode), **plan_about(plan)},
        "blocks": plan_cells(plan),
        "numbers": [block.number for block in plan.blocks],
        "contents": contents,
        "formatted": [formatted_block(content) for content in contents],
    }
    atomic_text(path, bundle_html(title=session.settings.title, boot=boot))
    session.book.write_log("export", f"bundle {bundle} for {rater.name}")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "rater"


def export_bundles(
    session: GradingSession, path: Path, *, names: tuple[str, ...], raters: int, mode: Mode
) -> tuple[Path, ...]:
    """Write one page for each of `names`, or one for each of `raters` raters who will give their names themselves.

    A `path` that ends in .html takes the one page that is written; otherwise it is a folder. In large trials the
    prompts are dealt out among as many raters as pages are written.
    """
    chosen = [clean_name(name) for name in names] or [f"rater {n + 1:02d}" for n in range(raters)]
    if len({name.casefold() for name in chosen}) < len(chosen):
        raise UserError("two raters have one name", got=", ".join(chosen))
    single = path.suffix in (".html", ".htm")
    if single and len(chosen) > 1:
        raise UserError(
            f"{len(chosen)} pages do not fit one file", got=str(path), expected="a folder", fix="Leave out .html."
        )
    if path.is_file() and not single:
        raise UserError("the export goes into a folder", got=f"{path}, which is a file")
    written = []
    for slot, name in enumerate(chosen):
        target = path if single else path / f"{_safe(session.settings.title)}-{_safe(name)}.html"
        _write_page(session, target, rater=Rater(name, slot), named=bool(names), raters=len(chosen), mode=mode)
        written.append(target)
    return tuple(written)


def merge_bundle(session: GradingSession, content: Mapping[str, Any], *, file: str) -> Merged:
    """Add the events of a file that a bundle's page saved; those that stand in the database are left alone."""
    try:
        stated, bundle, events = str(content["rater"]), str(content["bundle"]), list(content["events"])
        version, named = int(content["version"]), bool(content.get("named"))
        kind = None if content.get("rater_kind") is None else checked_kind(content["rater_kind"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is not a file of grades", got=f"{type(error).__name__}: {error}") from None
    if version > FILE_VERSION:
        raise UserError(f"{file} was written by a newer finetrial", fix="pip install --upgrade finetrial")
    events = [e for e in events if isinstance(e, dict) and e.get("item_id")]  # an undo of nothing has none
    known = session.items.keys() | session.pairs.keys()
    cells = [e for e in events if isinstance(e["item_id"], str) and e["item_id"] in known]
    if events and not cells:
        raise UserError(
            f"{file} belongs to another trial", fix="Its texts are not among the samples set aside here."
        )
    # Whoever was named when the page was written is that rater; a name typed into an unnamed page is its own.
    rater = session.book.join(stated, origin="page" if named else f"bundle {bundle}")
    rows = [session.event_from(event, source="bundle", rater=rater.name, rater_kind=kind) for event in cells]
    added = session.book.append_all(rows)
    if kind is not None:
        session.book.declare(rater.name, kind)
    return Merged(file, (rater.name,), added, len(rows) - added, len(events) - len(cells))


def is_bundle_file(content: Any) -> bool:
    """True for the content of a file that a bundle's page saved."""
    return isinstance(content, dict) and content.get("finetrial") == FILE_KIND


def read_json(path: Path) -> Any:
    """The JSON of a file, or a UserError that names it."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON", got=str(error)) from None
