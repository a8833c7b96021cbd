"""Say at once that something of the Hugging Face hub can be had neither from the cache nor from the network.

The hub's own library tries for most of a minute without a network, and needs torch's import first where a model is
loaded. Here a name is looked up in the cache's folders, and the hub's host is knocked at once.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from finetrial.errors import UserError

Kind = Literal["model", "dataset"]
_WAIT_SECONDS = 1.5  # a connection takes a fraction of this even across the world. Assumption
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_YES = ("1", "TRUE", "ON", "YES")  # as huggingface_hub reads its switches
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_reached: set[tuple[str, int]] = set()  # hosts that answered once


def is_offline() -> bool:
    """Whether the environment forbids the network to the hub's library."""
    return any(os.environ.get(name, "").upper() in _YES for name in _OFFLINE)


def check_hub(name: str, *, kind: Kind = "model") -> None:
    """Raise UserError where a hub id is not in the cache and the hub is not reached; local paths pass.

    Where the id is in the cache and the hub is not reached, the hub's library is told to ask its cache alone: it
    would try for minutes otherwise, file by file.
    """
    if Path(name).expanduser().exists() or not _HUB_ID.fullmatch(name):
        return
    if _is_cached(name, kind=kind):
        if not is_offline() and not _is_reached(_hub_place()):
            _leave_network()
        return
    what = f"the {'data set' if kind == 'dataset' else 'model'} {name!r} cannot be had from the hub"
    if is_offline():
        raise UserError(
            what,
            got="neither a path here nor in the cache",
            fix="HF_HUB_OFFLINE is set: unset it, or name something local.",
        )
    place = _hub_place()
    if not _is_reached(place):
        raise UserError(
            what,
            got=f"neither a path here nor in the cache, and {place[0]} does not answer",
            fix="Check the name and the network, or name something local.",
        )


def check_hub_reached(purpose: str) -> None:
    """Raise UserError where the hub itself is needed and is not reached."""
    if is_offline():
        raise UserError(f"`finetrial {purpose}` needs the hub", got="HF_HUB_OFFLINE is set", fix="Unset it.")
    place = _hub_place()
    if not _is_reached(place):
        raise UserError(
            f"`finetrial {purpose}` needs the hub", got=f"{place[0]} does not answer", fix="Check the network."
        )


def _leave_network() -> None:
    """Let the hub's libraries read their caches alone in this process, whether they are imported already or not."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    for module in ("huggingface_hub.constants", "datasets.config"):
        if module in sys.modules:
            vars(sys.modules[module])["HF_HUB_OFFLINE"] = True


def _is_cached(name: str, *, kind: Kind) -> bool:
    home = Path(os.environ.get("HF_HOME") or _user_cache() / "huggingface").expanduser()
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    hub = Path(given).expanduser() if given else home / "hub"
    if any((hub / f"{kind}s--{name.replace('/', '--')}" / "snapshots").glob("*/*")):
        return True
    if kind == "model":
        return False
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    wanted = name.replace("/", "___").lower()  # the name of the folder in which `datasets` keeps its tables
    return prepared.is_dir() and any(path.name.lower() == wanted for path in prepared.iterdir())


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _hub_place() -> tuple[str, int]:
    """The host and port that a request to the hub would go to first."""
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    names = (f"{endpoint.scheme}_proxy", "all_proxy")
    given = (os.environ.get(name) or os.environ.get(name.upper()) for name in names)
    proxy = next(filter(None, given), None)
    first = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else endpoint
    return first.hostname or "huggingface.co", first.port or (80 if first.scheme == "http" else 443)


def _is_reached(place: tuple[str, int]) -> bool:
    if place in _reached:
        return True
    answered = threading.Event()

    def knock() -> None:
        try:
            socket.create_connection(place, timeout=_WAIT_SECONDS).close()
        except OSError:
            return
        answered.set()

    # looking a name up has no time limit of its own, so that it is left behind in its thread
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(_WAIT_SECONDS)
    if answered.is_set():
        _reached.add(place)
    return answered.is_set()
