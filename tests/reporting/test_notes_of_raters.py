"""What raters write into the page's note field stands in the report, beside what it is about."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from grading_server import GradingServer

from finetrial.cli.main import dispatch
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, ItemPair, read_rows


class Rater:
    """One rater in a browser of their own, who speaks to the real server as the page does."""

    def __init__(self, server: GradingServer, name: str) -> None:
        origin = server.url.split("/t/")[0]
        self._client, self._sent = httpx.Client(base_url=origin), 0
        door = f"/t/{server.url.split('/t/')[1]}"
        entered = self._client.post(f"{door}api/join", json={"rater": name, "rater_kind": "person"})
        assert entered.status_code == 200, entered.text
        self._own, self._name = entered.json()["link"].removeprefix("../.."), name
        assert self._client.post(f"{self._own}api/begin", json={}).status_code == 200

    def send(self, kind: str, item: str, *, occurrence: int = 1, **more: object) -> None:
        self._sent += 1
        event = {"uid": f"{self._name}-{self._sent:08}", "kind": kind, "item_id": item, "occurrence": occurrence}
        answer = self._client.post(f"{self._own}api/events", json=event | {"shown_ms": 4000} | more)
        assert answer.status_code == 200, answer.text


def served(folder: TrialFolder, mode: str) -> GradingServer:
    return GradingServer(folder, mode=mode).start()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a trial that two people graded on the page, with notes of every kind."""
    root = tmp_path_factory.mktemp("noted")
    rows = [
        {"prompt": f"Q{p}", "arm": arm, "text": f"{arm} says {p}", "reference": f"right {p}"}
        for p in range(3)
        for arm in ("base", "tuned")
    ]
    file = root / "outs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["grade", str(file), "--export", str(root / "page.html"), "--repeats", "0.5"]) == 0
    folder = TrialFolder(root / "runs" / "outs")
    items = {item.text: item.item_id for item in read_rows(folder.items, Item)}
    server = served(folder, "single")
    try:
        anna, ben = Rater(server, "Anna"), Rater(server, "Ben")
        for text, item in items.items():
            anna.send("grade", item, value="good" if text.startswith("tuned") else "bad")
        anna.send("note", items["base says 0"], note="It <b>stops</b> too early.")
        anna.send("note", items["base says 1"], note="A slip of the key.")
        anna.send("note", items["base says 1"], note="")  # emptied again
        anna.send("note", items["tuned says 1"], note="Still good.", occurrence=2)
        ben.send("grade", items["tuned says 0"], value="bad", reasons=["false"])
        ben.send("note", items["tuned says 0"], note="Nobody was right here.")
        ben.send("note", items["tuned says 2"], note="I could not read this one.")
    finally:
        server.stop()
    server = served(folder, "pairs")
    try:
        pair = next(iter(read_rows(folder.pairs, ItemPair))).pair_id
        cleo = Rater(server, "Cleo")
        cleo.send("grade", pair, value="first", left="first", mode="pairs")
        cleo.send("note", pair, note="By a hair.", mode="pairs")
    finally:
        server.stop()
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert dispatch(["report", str(folder.root)]) == 0
    return (Path(folder.report) / "report.md").read_text()


@pytest.mark.parametrize(
    "said",
    [
        "bad (“It <b>stops</b> too early.”)",  # beside the grade it explains
        "good (“Still good.”)",  # written when the text was shown again
        "Anna: good; Ben: bad (false, “Nobody was right here.”)",
        "Anna: good; Ben: not graded (“I could not read this one.”)",
        "“By a hair.”",  # on a side-by-side choice, which stands at no transcript
    ],
)
def test_a_note_stands_beside_what_it_is_about(page, said):
    assert said in page.replace("\\", "")


def test_a_note_that_was_emptied_is_gone(page):
    assert "slip of the key" not in page
