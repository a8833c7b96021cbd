"""Prepare what a push to the Hugging Face hub would send, as a folder to look at, and send it.

Nothing is sent by preparing. A model goes with its card, whose numbers are those of results.json; a report goes as
a static Space, which is a folder with an index.html that loads nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from finetrial.api.evaluated import evaluated_on
from finetrial.api.exported_arm import exportable_arm, tuned_precision, write_arm
from finetrial.errors import MissingPackage, UserError
from finetrial.reporting.model_card import CardFacts, model_card
from finetrial.reporting.render.results_json import TEXTS_LEFT_OUT
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_file
from finetrial.store.hub_reach import check_hub_reached
from finetrial.store.layout import TrialFolder
from finetrial.trial.trial_file import LoadedTrial

CARD = "README.md"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_STATUS = {
    401: "it does not know the token",
    403: "the token may not write there",
    404: "there is no such account, or the token may not see it",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be sent, and where to."""

    to: str
    kind: Literal["model", "space"]
    folder: Path
    files: Mapping[str, int]  # name -> bytes
    card: str
    shows_texts: bool  # prompts and answers of the trial are among it


def check_hub_name(name: str) -> None:
    """Raises UserError for what is no owner/name of the hub."""
    if not _HUB_NAME.fullmatch(name):
        raise UserError("a place on the hub has another form", got=name, expected="OWNER/NAME, such as me/tickets")


def prepare_model(
    loaded: LoadedTrial, folder: TrialFolder, *, arm: str | None, to: str, merged: bool, out: Path
) -> Prepared:
    """Write an arm's adapter, or its model where `merged` is asked for or it has none, with its card into `out`."""
    arm = exportable_arm(loaded, folder, arm)
    results = _results(folder)
    if arm not in results["arms"]:
        raise UserError(f"the report does not know arm {arm} yet", fix="`finetrial report` writes it anew.")
    has_adapter = not merged and (folder.arm(arm) / "adapter_config.json").exists()
    write_arm(loaded, folder, arm, out=out, precision=tuned_precision(loaded, folder, arm), is_adapter=has_adapter)
    is_adapter = (out / "adapter_config.json").exists()
    on_hub = not Path(loaded.base_source(arm)).exists()
    named = loaded.trial.model_of(arm)
    base = named if on_hub else Path(named).name
    if is_adapter:
        _name_base(out / "adapter_config.json", base)
    facts = CardFacts(
        arm=arm,
        is_adapter=is_adapter,
        base=base,
        base_on_hub=on_hub,
        criterion=loaded.trial.judging.criterion,
        base_use=loaded.trial.report.intended_use,
        on=evaluated_on(loaded, folder),
        digests=_digests(folder),
    )
    card = model_card(results, facts)
    atomic_text(out / CARD, card)
    return Prepared(to, "model", out, _files(out), card, shows_texts=False)


def prepare_report(loaded: LoadedTrial, folder: TrialFolder, *, to: str, out: Path) -> Prepared:
    """Copy the report into `out` as a static Space."""
    results = _results(folder)
    shutil.copytree(folder.report, out, dirs_exist_ok=True)
    head = {"title": str(results["title"])[:60], "sdk": "static", "app_file": "index.html", "tags": ["finetrial"]}
    lines = [f"- {name}: `{digest}`" for name, digest in _digests(folder).items()]
    card = f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{results['answer']}\n\n"
    card += "\n".join(
        ["Whoever has the trial's folder recomputes this report with `finetrial verify`.", "", *lines]
    )
    atomic_text(out / CARD, card + "\n")
    shows_texts = results.get("texts") != TEXTS_LEFT_OUT
    return Prepared(to, "space", out, _files(out), card + "\n", shows_texts=shows_texts)


def check_may_push() -> None:
    """Raises UserError where nothing can be sent from here: no package, no network, no token."""
    hub = _hub()
    check_hub_reached("push")
    if hub.get_token() is None:
        raise UserError(
            "there is no token for the hub",
            fix="`hf auth login` keeps one, or set HF_TOKEN; it must be able to write.",
        )


def push(prepared: Prepared, *, private: bool) -> str:
    """Send what was prepared and return its address. The repository is made where it is not there."""
    hub = _hub()
    from huggingface_hub.errors import HfHubHTTPError

    api = hub.HfApi()
    space = {"space_sdk": "static"} if prepared.kind == "space" else {}
    try:
        made = api.create_repo(prepared.to, repo_type=prepared.kind, private=private, exist_ok=True, **space)
        api.upload_folder(
            repo_id=prepared.to,
            repo_type=prepared.kind,
            folder_path=prepared.folder,
            commit_message="Pushed by finetrial",
        )
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else None
        said = " ".join((error.server_message or str(error)).split())
        raise UserError(
            f"the hub refuses {prepared.to}",
            got=f"status {code}: {said[:200]}",
            fix=f"{_STATUS[code][0].upper()}{_STATUS[code][1:]}." if code in _STATUS else None,
        ) from None
    except (OSError, RuntimeError) as error:  # the connection broke
        raise UserError(f"{prepared.to} was not sent whole", got=str(error)[:200], fix="Push again.") from None
    return str(made)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingPackage("huggingface_hub", extra="tune", purpose="finetrial push") from None
    return huggingface_hub


def _results(folder: TrialFolder) -> dict[str, Any]:
    path = folder.report / "results.json"
    if not path.exists():
        raise UserError(
            "there is no report yet, and a card takes its numbers from it", fix="Run `finetrial report`."
        )
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def _digests(folder: TrialFolder) -> dict[str, str]:
    """What a reader can hold the trial's folder against."""
    files = {"trial file": folder.trial, "results": folder.report / "results.json", "seal": folder.seal}
    return {name: hash_file(path) for name, path in files.items() if path.exists()}


def _name_base(config: Path, base: str) -> None:
    """The base as others know it: an adapter's configuration holds the path that it had here."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base
    atomic_text(config, json.dumps(content, indent=2) + "\n")


def _files(folder: Path) -> dict[str, int]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
