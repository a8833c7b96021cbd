"""Read and check the situations, people and phrases of `material/`, of which posts are made."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from finetrial.starter.wording import Choice, Template, certain_slots, parse, slot_names

Known = dict[Choice, Choice]

FAMILY_FILES = ("dating", "family", "friends", "home", "partner", "school", "work")
ASK_KINDS = ("should", "how", "which")

# Slots that the writer of a post answers itself: see `scene.Scene.fill`.
PERSON_SLOTS = frozenset(
    {
        "P",
        "Po",
        "Ps",
        "N",
        "No",
        "they",
        "them",
        "their",
        "theirs",
        "themself",
        "s",
        "es",
        "ies",
        "is",
        "was",
        "has",
    }
    | {"ve", "age", "doesn't", "isn't", "wasn't", "hasn't", "does"}
)


@dataclass(frozen=True)
class Person:
    """Someone a post can be about, as `people.yaml` describes them."""

    key: str
    noun: str
    first: Template | None
    gist: Template | None
    slang: str | None
    formal: str | None
    genders: str
    kind: str
    ages: tuple[int, int] | None


@dataclass(frozen=True)
class Situation:
    """What happened: told in the post, followed up, and put in a nutshell."""

    tell: tuple[Template, ...]
    then: tuple[Template, ...]
    gist: tuple[Template, ...]


@dataclass(frozen=True)
class Complication:
    """What makes it hard, in the post and in a nutshell, joined to the situation by `link`."""

    tell: Template
    gist: Template
    link: str


@dataclass(frozen=True)
class Ask:
    """What the writer wants to know: whether to do X, how to X, or X or Y."""

    kind: str
    do: Template
    alternative: Template | None


@dataclass(frozen=True)
class Family:
    """Situations that share their people, complications and questions."""

    name: str
    subreddits: tuple[str, ...]
    people: tuple[str, ...]
    persona: str | None
    writer_ages: tuple[int, int] | None
    moods: tuple[str, ...]
    slots: dict[str, tuple[Template, ...]]
    situations: tuple[Situation, ...]
    details: tuple[Template, ...]
    complications: tuple[Complication, ...]
    tries: tuple[Template, ...]
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Phrases:
    """What every post can draw on, from `common.yaml`."""

    slots: dict[str, tuple[Template, ...]]
    openers: tuple[Template, ...]
    persona: dict[str, tuple[Template, ...]]
    background: dict[str, tuple[Template, ...]]
    feelings: dict[str, tuple[Template, ...]]
    digressions: tuple[Template, ...]
    connect: dict[str, tuple[Template, ...]]
    questions: dict[str, tuple[Template, ...]]
    closers: tuple[Template, ...]
    edits: tuple[Template, ...]


@dataclass(frozen=True)
class Material:
    """Everything a post is made of. Families stand in the order of their names."""

    families: tuple[Family, ...]
    people: dict[str, Person]
    names: dict[str, tuple[str, ...]]
    phrases: Phrases


def load_material() -> Material:
    """Read `material/`. ValueError names the file and the line that does not parse or asks for an unknown slot."""
    known: Known = {}
    common = _read("common")
    phrases = Phrases(
        slots={name: _templates(lines, known) for name, lines in common["slots"].items()},
        openers=_templates(common["openers"], known),
        persona={kind: _templates(lines, known) for kind, lines in common["persona"].items()},
        background={kind: _templates(lines, known) for kind, lines in common["background"].items()},
        feelings={mood: _templates(lines, known) for mood, lines in common["feelings"].items()},
        digressions=_templates(common["digressions"], known),
        connect={kind: _templates(lines, known) for kind, lines in common["connect"].items()},
        questions={kind: _templates(common[kind], known) for kind in ASK_KINDS},
        closers=_templates(common["closers"], known),
        edits=_templates(common["edits"], known),
    )
    people = {key: _person(key, entry, known) for key, entry in _read("people").items()}
    families = sorted(
        (_family(entry, known) for name in FAMILY_FILES for entry in _read(name)), key=lambda family: family.name
    )
    for family in families:
        _check(family, people=people, phrases=phrases)
    names = {gender: tuple(entries) for gender, entries in _read("names").items()}
    return Material(families=tuple(families), people=people, names=names, phrases=phrases)


def _read(name: str) -> Any:
    text = (files(__package__) / "material" / f"{name}.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)


def _templates(lines: list[str], known: Known) -> tuple[Template, ...]:
    return tuple(_template(line, known) for line in lines)


def _template(line: object, known: Known) -> Template:
    if not isinstance(line, str):
        raise ValueError(f"a line of material is text, got {line!r}: put it in quotes")
    return parse(line, known=known)


def _optional(line: str | None, known: Known) -> Template | None:
    return None if line is None else _template(line, known)


def _person(key: str, entry: dict[str, Any], known: Known) -> Person:
    ages = entry.get("ages")
    return Person(
        key=key,
        noun=entry["noun"],
        first=_optional(entry.get("first"), known),
        gist=_optional(entry.get("gist"), known),
        slang=entry.get("slang"),
        formal=entry.get("formal"),
        genders=entry["gender"],
        kind=entry["kind"],
        ages=None if ages is None else (ages[0], ages[1]),
    )


def _family(entry: dict[str, Any], known: Known) -> Family:
    return Family(
        name=entry["family"],
        subreddits=tuple(entry["subreddits"]),
        people=tuple(entry["people"]),
        persona=entry.get("persona"),
        writer_ages=None if "writer_ages" not in entry else (entry["writer_ages"][0], entry["writer_ages"][1]),
        moods=tuple(entry["moods"]),
        slots={name: _templates(lines, known) for name, lines in entry.get("slots", {}).items()},
        situations=tuple(
            Situation(
                tell=_templates(one["tell"], known),
                then=_templates(one["then"], known),
                gist=_templates(one["gist"], known),
            )
            for one in entry["situations"]
        ),
        details=_templates(entry["details"], known),
        complications=tuple(
            Complication(tell=_template(one["tell"], known), gist=_template(one["gist"], known), link=one["link"])
            for one in entry["complications"]
        ),
        tries=_templates(entry["tries"], known),
        asks=tuple(
            Ask(kind=one["kind"], do=_template(one["do"], known), alternative=_optional(one.get("or"), known))
            for one in entry["asks"]
        ),
    )


def _check(family: Family, *, people: dict[str, Person], phrases: Phrases) -> None:
    """Every slot a family asks for exists, and so does everyone it is about."""
    known = PERSON_SLOTS | phrases.slots.keys() | family.slots.keys()
    templates = [*family.details, *family.tries]
    for lines in family.slots.values():
        templates += lines
    for situation in family.situations:
        templates += (*situation.tell, *situation.then, *situation.gist)
    for complication in family.complications:
        templates += (complication.tell, complication.gist)
    for ask in family.asks:
        assert ask.kind in ASK_KINDS and (ask.alternative is not None) == (ask.kind == "which"), family.name
        templates += (ask.do,) if ask.alternative is None else (ask.do, ask.alternative)
    for template in templates:
        unknown = slot_names(template) - known
        if unknown:
            raise ValueError(f"family {family.name!r} asks for the unknown slots {sorted(unknown)} in {template}")
    for situation in family.situations:
        _check_truth(family.name, told=situation.tell, gists=situation.gist)
    for complication in family.complications:
        _check_truth(family.name, told=(complication.tell,), gists=(complication.gist,))
    missing = [key for key in family.people if key not in people]
    if missing:
        raise ValueError(f"family {family.name!r} is about {missing}, who are not in people.yaml")


def _check_truth(family: str, *, told: tuple[Template, ...], gists: tuple[Template, ...]) -> None:
    """A gist may name a fact (a sum, a town) only if every telling names it."""
    for gist in gists:
        for telling in told:
            untold = slot_names(gist) - PERSON_SLOTS - certain_slots(telling)
            if untold:
                raise ValueError(
                    f"family {family!r}: the gist {gist} names {sorted(untold)}, which {telling} does not tell"
                )
