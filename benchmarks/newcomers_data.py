"""Four kinds of data as a newcomer brings them: a table of tickets, chats, labels, extraction. Sixty rows each."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROWS = 60
_THINGS = ["kettle", "lamp", "chair", "phone", "tent", "radio", "oven", "watch"]
_CITIES = ["Bonn", "Kiel", "Ulm", "Jena"]


def jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tickets(folder: Path) -> Path:
    """A CSV of customers' tickets and replies."""
    chance, path = random.Random(0), folder / "tickets.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "customer", "ticket", "reply"])
        for i in range(ROWS):
            thing, days = chance.choice(_THINGS), chance.randint(2, 20)
            reply = f"We are sorry that your {thing} is {days} days late, and have sent another."
            table.writerow([i, f"c{i % 20}", f"My {thing} has not come after {days} days. Order {i}.", reply])
    return path


def chats(folder: Path) -> Path:
    """Chats of two turns."""
    chance = random.Random(0)

    def turns(i: int) -> list[dict[str, str]]:
        thing = chance.choice(_THINGS)
        asked, told = f"Where is my {thing}, order {i}?", f"Your {thing} of order {i} is on its way."
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]

    return jsonl(folder / "chats.jsonl", [{"messages": turns(i)} for i in range(ROWS)])


def labels(folder: Path) -> Path:
    """Reviews and a label of two."""
    chance, said = random.Random(0), {1: "works perfectly", 0: "broke at once"}
    rows = [{"review": f"The {chance.choice(_THINGS)} {i} {said[i % 2]}.", "label": i % 2} for i in range(ROWS)]
    return jsonl(folder / "labels.jsonl", rows)


def extraction(folder: Path) -> Path:
    """Orders and the fields that stand in them."""
    chance, rows = random.Random(0), []
    for i in range(ROWS):
        thing, count, city = chance.choice(_THINGS), chance.randint(1, 9), chance.choice(_CITIES)
        wanted = {"item": thing, "count": count, "city": city}
        rows.append({"text": f"Order {i}: {count} pieces of {thing} to {city}, please.", "fields": wanted})
    return jsonl(folder / "extraction.jsonl", rows)
