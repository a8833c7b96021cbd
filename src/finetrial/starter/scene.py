"""The people of one post: what each is called at this point of it, and what fills a template's slots.

People are named as writers name them: in full at first, then by pronoun while they are in focus, by name or noun
when the talk comes back to them. Facts (sums, months, towns) are drawn once and stay; times of the form "last week"
are drawn anew each time, since each tells of another moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from finetrial.starter.material import Family, Material, Person
from finetrial.starter.wording import Memory, draw, pick

FRESH_SLOTS = frozenset({"ago", "hour", "times"})

FORMS = {
    "f": {"they": "she", "them": "her", "their": "her", "theirs": "hers", "themself": "herself"},
    "m": {"they": "he", "them": "him", "their": "his", "theirs": "his", "themself": "himself"},
    "p": {"they": "they", "them": "them", "their": "their", "theirs": "theirs", "themself": "themselves"},
}
SINGULAR = {
    "s": "s", "es": "es", "ies": "ies", "is": "is", "was": "was", "has": "has", "ve": "s", "does": "does",
    "doesn't": "doesn't", "isn't": "isn't", "wasn't": "wasn't", "hasn't": "hasn't",
}  # fmt: skip
PLURAL = {
    "s": "", "es": "", "ies": "y", "is": "are", "was": "were", "has": "have", "ve": "ve", "does": "do",
    "doesn't": "don't", "isn't": "aren't", "wasn't": "weren't", "hasn't": "haven't",
}  # fmt: skip
AGE_TAGS = ("({age}{G})", "[{age}{G}]", "({G}{age})", "({age}{g})", "({age})", "[{age} {G}]")

NAMED_SHARE = 0.45
TAGGED_SHARE = 0.4


@dataclass(slots=True)
class Writer:
    """The one who posts."""

    age: int
    gender: str


@dataclass(frozen=True, slots=True)
class Focus:
    """What a sentence may change in a scene."""

    facts: dict[str, str]
    told_times: frozenset[str]
    fallen: dict[int, int]
    introduced: bool
    in_focus: bool
    mentioned: bool


class Scene:
    """The facts and the focus of one post, its title and its summary. `fill` answers the slots of a template."""

    def __init__(self, *, rng: Random, material: Material, family: Family, person: Person) -> None:
        self.rng = rng
        self.material = material
        self.family = family
        self.person = person
        self.gender = pick(rng, person.genders)
        self.forms = FORMS[self.gender] | (PLURAL if self.gender == "p" else SINGULAR)
        self.writer = self._writer()
        named = self.gender != "p" and rng.random() < NAMED_SHARE and person.kind not in ("landlord",)
        named = named and not (person.kind == "family" and person.ages is not None and person.ages[0] > 10)
        self.name = pick(rng, material.names[self.gender]) if named else None
        self.noun = person.noun
        self.age_tag = pick(rng, AGE_TAGS)
        self.facts: dict[str, str] = {}
        self.told_times: set[str] = set()
        self.memory = Memory()
        self.mode = "post"
        self.introduced = False
        self.in_focus = False
        self.mentioned = False

    def start(self, mode: str) -> None:
        """Begin the "post", the "title" or the "gist": nobody has been named in it yet."""
        self.mode, self.introduced, self.in_focus, self.mentioned = mode, False, False, False

    def next_sentence(self) -> None:
        """A pronoun reaches back over one sentence and no further."""
        self.in_focus, self.mentioned = self.mentioned, False

    def focus(self) -> Focus:
        """Where the telling stands, for `restore`."""
        return Focus(
            facts=dict(self.facts),
            told_times=frozenset(self.told_times),
            fallen=self.memory.fallen(),
            introduced=self.introduced,
            in_focus=self.in_focus,
            mentioned=self.mentioned,
        )

    def restore(self, focus: Focus) -> None:
        """Take back what was said since `focus` was taken."""
        self.facts, self.told_times = dict(focus.facts), set(focus.told_times)
        self.memory.restore(focus.fallen)
        self.introduced, self.in_focus, self.mentioned = focus.introduced, focus.in_focus, focus.mentioned

    def fill(self, slot: str) -> str:
        """The text of a slot here and now."""
        if slot in ("P", "Po", "Ps"):
            return self._person(slot)
        if slot in ("N", "No"):
            # A summary or title has no room to name anyone twice.
            if self.mode != "post" and self.introduced:
                return self.forms["they" if slot == "N" else "them"]
            return self._named(possessive=False)
        if slot in ("they", "them", "their", "theirs", "themself"):
            if slot in ("theirs", "themself") or self.in_focus or self.mentioned:
                self.mentioned = True
                return self.forms[slot]
            return self._named(possessive=slot == "their")
        if slot in self.forms:
            return self.forms[slot]
        if slot == "age":
            return str(self.writer.age)
        return self._fact(slot)

    def tag(self, age: int, gender: str) -> str:
        """An age and gender in this writer's way, as "(24F)"."""
        return self.age_tag.format(age=age, G=gender.upper(), g=gender)

    def _person(self, slot: str) -> str:
        if self.introduced and (self.in_focus or self.mentioned) and (self.mentioned or self.rng.random() < 0.8):
            self.mentioned = True
            return self.forms[{"P": "they", "Po": "them", "Ps": "their"}[slot]]
        return self._named(possessive=slot == "Ps")

    def _named(self, *, possessive: bool) -> str:
        text = self._again() if self.introduced else self._introduction(possessive=possessive)
        self.introduced = self.mentioned = True
        if not possessive:
            return text
        return text + ("'" if self.gender == "p" else "'s")

    def _again(self) -> str:
        if self.name is not None and self.mode == "post" and self.rng.random() < 0.65:
            return self.name
        return self.noun

    def _introduction(self, *, possessive: bool) -> str:
        rng, person = self.rng, self.person
        if self.mode == "gist":
            text = self.noun
            if person.gist is not None and not possessive:
                text = draw(person.gist, rng=rng, fill=self.fill, memory=self.memory)
            if self.name is not None and text.startswith("my ") and rng.random() < 0.15:
                text = f"{text} {self.name}"
            return text
        text = self.noun
        if person.first is not None and not possessive:
            was_open, self.memory.open = self.memory.open, self.mode == "post"
            text = draw(person.first, rng=rng, fill=self.fill, memory=self.memory)
            self.memory.open = was_open
        if self.mode == "post" and self.name is not None:
            text = f"{text} {self.name}" if text.startswith("my ") else f"{text}, {self.name},"
        tellable = person.ages is not None and self.gender != "p" and not possessive and not text.endswith(",")
        if tellable and rng.random() < TAGGED_SHARE:
            age = self._person_age()
            if text == self.noun == "my " + text[3:] and self.mode == "post" and rng.random() < 0.15:
                return f"my {age}-year-old {text[3:]}"
            text = f"{text} {self.tag(age, self.gender)}"
        return text

    def _person_age(self) -> int:
        if "person_age" not in self.facts:
            assert self.person.ages is not None
            low, high = self.person.ages
            age = self.writer.age + low + int(self.rng.random() * (high - low + 1))
            self.facts["person_age"] = str(max(age, 18 if self.person.kind != "family" else 14))
        return int(self.facts["person_age"])

    def _fact(self, slot: str) -> str:
        if slot in FRESH_SLOTS:
            text = self._draw_slot(slot)
            for _ in range(4):
                if text not in self.told_times:
                    break
                text = self._draw_slot(slot)
            self.told_times.add(text)
            return text
        if slot not in self.facts:
            text = self._draw_slot(slot)
            while (slot == "other" and text == self.name) or (slot == "month2" and text == self.facts.get("month")):
                text = self._draw_slot(slot)
            self.facts[slot] = text
        return self.facts[slot]

    def _draw_slot(self, slot: str) -> str:
        options = self.family.slots.get(slot) or self.material.phrases.slots[slot]
        return draw(pick(self.rng, options), rng=self.rng, fill=self.fill)

    def _writer(self) -> Writer:
        rng, kind = self.rng, self.person.kind
        low, high = (19, 26) if self.family.persona == "student" else (20, 38)
        if kind == "home":
            high = 29
        if self.family.writer_ages is not None:
            low, high = self.family.writer_ages
        if self.person.key in ("wife", "husband"):
            low = max(low, 25)
        age = low + int(rng.random() * (high - low + 1))
        gender = pick(rng, "fm")
        if kind in ("partner", "ex", "crush", "none") and rng.random() < 0.92:
            gender = "m" if self.gender == "f" else "f"
        return Writer(age=age, gender=gender)
