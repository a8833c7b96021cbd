"""Write the small data sets of the recipes and tutorials, docs/data: our own texts, the same bytes every time.

python tools/example_data.py
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from random import Random
from typing import Any

from finetrial.starter.corpus import CorpusWriter

POSTS = 300
FOLDER = Path(__file__).parents[1] / "docs" / "data"
THINGS = (
    "kettle",
    "desk lamp",
    "office chair",
    "phone case",
    "tent",
    "radio",
    "toaster",
    "wrist watch",
    "backpack",
)
CITIES = ("Bonn", "Kiel", "Ulm", "Jena", "Graz", "Basel", "Trier", "Linz")
NAMES = ("Ada", "Ben", "Cleo", "Dov", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon")
GOOD = (
    "works just as it should",
    "has not failed me once",
    "was worth every cent",
    "is better than the one before",
)
BAD = ("broke within a week", "came without its screws", "smells of glue", "never worked at all")
MIXED = ("does its job, no more", "is neither good nor bad", "is what one gets for the money", "will do for now")
OPENINGS = (
    "Bought it for my sister.",
    "Ordered on a Monday.",
    "My third from this shop.",
    "A present.",
    "For the office.",
)


def reviews(chance: Random) -> list[dict[str, Any]]:
    """Reviews with one of three labels."""
    kinds = (("positive", GOOD), ("negative", BAD), ("neutral", MIXED))
    rows = []
    for number in range(180):
        label, endings = kinds[number % 3]
        thing, ending = chance.choice(THINGS), chance.choice(endings)
        text = f"{chance.choice(OPENINGS)} The {thing} {ending}. Order {4000 + number}."
        rows.append({"review": text, "label": label})
    chance.shuffle(rows)
    return rows


def orders(chance: Random) -> list[dict[str, Any]]:
    """Orders as people write them, and their fields."""
    rows = []
    for number in range(180):
        count, thing, city, name = (
            chance.randint(1, 9),
            chance.choice(THINGS),
            chance.choice(CITIES),
            chance.choice(NAMES),
        )
        text = chance.choice(
            (
                f"Hello, {name} here. Please send {count} of the {thing} to our shop in {city}.",
                f"We need the {thing} again, {count} pieces, for {city}. Thanks, {name}",
                f"{city} branch: {count} x {thing}, please, and bill it to {name}.",
            )
        )
        wanted = {"item": thing, "count": count, "city": city, "name": name}
        rows.append({"text": f"{text} Ref {7000 + number}.", "fields": wanted})
    return rows


def chats(chance: Random) -> list[dict[str, Any]]:
    """A help desk's chats of two turns and of four."""
    rows = []
    for number in range(160):
        thing, days = chance.choice(THINGS), chance.randint(2, 9)
        turns = [
            ("user", f"Where is my {thing}? Order {2000 + number}."),
            ("assistant", f"Your {thing} left us {days} days ago. It should be with you by Friday."),
        ]
        if number % 2:
            turns += [
                ("user", "And if it is not?"),
                ("assistant", f"Then write to us again, and we will send you another {thing}."),
            ]
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return rows


def replies(chance: Random) -> list[dict[str, Any]]:
    """Tickets and replies in one house's style; a customer writes more than once."""
    rows = []
    for number in range(160):
        thing, days, name = chance.choice(THINGS), chance.randint(2, 20), NAMES[number % len(NAMES)]
        ticket, remedy = chance.choice(
            (
                (f"My {thing} has not come after {days} days.", "It leaves our store today"),
                (f"The {thing} came broken, {days} days ago.", "A new one leaves our store today"),
                (f"I was charged twice for the {thing}, {days} days ago.", "You have the second charge back today"),
            )
        )
        reply = (
            f"Dear {name}, we are sorry about your {thing}. {remedy}. Write to us at any time. Your Northwind team"
        )
        rows.append({"customer": f"c{number % 40}", "ticket": f"{ticket} {name}, order {number}.", "reply": reply})
    return rows


def outputs(chance: Random) -> list[dict[str, Any]]:
    """What two models from elsewhere answered to twelve tickets, one answer each, beside the right reply."""
    rows = []
    for number, row in enumerate(replies(Random(5))[:12]):
        right, vague = row["reply"], "Thank you for your message. We will look into it."
        wrong = f"Dear customer, please write to us again about order {number}."
        answers = {"small": chance.choice((right, vague, wrong)), "large": chance.choice((right, right, vague))}
        for arm, text in answers.items():
            rows.append({"prompt": row["ticket"], "arm": arm, "text": text, "reference": right})
    return rows


def posts() -> list[dict[str, Any]]:
    """Advice posts and one sentence that is true of each, from the starter's own writer."""
    rows = CorpusWriter(seed=7).tldr_rows("train", count=POSTS)
    return [{"post": row.prompt.removesuffix("TL;DR:").strip(), "summary": row.completion.strip()} for row in rows]


def files() -> dict[str, str]:
    """Every file's name and text."""
    lines = {
        "reviews.jsonl": reviews(Random(1)),
        "orders.jsonl": orders(Random(2)),
        "chats.jsonl": chats(Random(3)),
        "outputs.jsonl": outputs(Random(6)),
        "posts.jsonl": posts(),
    }
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["customer", "ticket", "reply"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(replies(Random(4)))
    texts = {
        name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) for name, rows in lines.items()
    }
    return texts | {"replies.csv": table.getvalue()}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
