"""Grade a trial's page as a program: a declared stand-in that presses a key for every text.

It finds an answer good where it is one sentence of at most 30 words. Whoever reads such grades is told that a
stand-in gave them.
"""

from __future__ import annotations

import json
import re
import urllib.request
from http.cookiejar import CookieJar
from typing import Any

MOST_WORDS = 30  # assumption: what a short summary may have


def is_good(text: str) -> bool:
    """Whether a text is one short sentence."""
    return 0 < len(text.split()) <= MOST_WORDS and len(re.findall(r"[.!?](?:\s|$)", text)) <= 1


def grade_everything(address: str, *, name: str = "Robin") -> int:
    """Enter by the shared address and grade every text; returns how many."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def ask(url: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
        with opener.open(request, timeout=20) as answer:
            return json.loads(answer.read())

    link = ask(address + "api/join", {"rater": name, "rater_kind": "stand-in"})["link"]
    own = address.split("/t/")[0] + link.removeprefix("../..")
    begun = ask(own + "api/begin", {})
    graded = 0
    for number, cells in enumerate(begun["blocks"]):
        shown = ask(own + f"api/block?n={number}")["cells"]
        for cell, sample in zip(cells, shown, strict=True):
            item_id, occurrence = (cell, 1) if isinstance(cell, str) else (cell[0], cell[1])
            event = {"uid": f"uid-{graded:06d}", "kind": "grade", "item_id": item_id, "occurrence": occurrence}
            ask(own + "api/events", event | {"value": "good" if is_good(sample["text"]) else "bad"})
            graded += 1
    return graded
