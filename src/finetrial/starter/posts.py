"""Write one advice post with its title and its summary.

A plot is told in the writer's own order: who they are, what happened, what makes it hard, what they tried, how they
feel, what they ask. Beats are drawn first, then told from top to bottom, since how someone is named depends on what
has been said. A telling outside 60 to 150 words is told again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from finetrial.starter.material import Ask, Family, Material
from finetrial.starter.plots import Plot
from finetrial.starter.register import Register, draw_register, typed
from finetrial.starter.scene import Scene
from finetrial.starter.summary import entitle, summarise
from finetrial.starter.wording import TRIES, Template, draw, parse, pick, split_of

FEWEST_WORDS = 60
MOST_WORDS = 150

ORDERS = (
    "opener persona introduction background event then detail tried complication feeling digression ask closer",
    "event then feeling persona background complication tried detail ask closer digression",
    "opener event then introduction background persona detail feeling complication tried digression ask closer",
    "persona event then background digression complication detail tried feeling ask closer",
    "opener ask event then background detail complication persona tried feeling closer digression",
    "introduction background detail event then feeling persona complication tried ask digression closer",
    "event then digression persona introduction background tried complication detail feeling ask closer",
    "detail event then complication feeling tried introduction background persona ask digression closer",
)
INTRODUCTIONS = tuple(
    parse(line)
    for line in (
        "(so|okay, so|) this is about (me and|) <No>",
        "I (really|) don't know what to do about <No>( anymore| any longer|)",
        "I have (a problem|some trouble|a bit of a problem) with <No>",
        "I (need|could use) (some|) advice (about|on) <No>",
        "things (are|have been|have gotten) (strange|tense|bad) (between me and|with) <No>(, and I'm stuck|)",
        "(lately|these days|for a while now) (it's|it has been) (hard|complicated|tense) with <No>",
        "I can't (really |)(talk|speak) to anyone (I know|in my life) about <No>, so I'm (asking|posting) here",
        "I'm at (a loss|my wits' end) with <No>",
    )
)
JOINS = {"": (", and ",), "dots": ("... ",), "dash": (" - ", ", and "), "commas": (", ",)}
# How often a beat is led in, and by which connectives of common.yaml.
LEADS = {"complication": ("more", 0.65), "tried": ("tried", 0.5), "then": ("then", 0.12), "detail": ("then", 0.12)}
# Beats that may run together in one sentence: what follows speaks of what went before.
NEIGHBOURS = frozenset(
    {
        ("event", "then"),
        ("event", "feeling"),
        ("then", "feeling"),
        ("complication", "feeling"),
        ("tried", "feeling"),
    }
)


@dataclass(frozen=True, slots=True)
class Post:
    """One post and its summary. `sentences` counts the post's words, the title left aside."""

    subreddit: str
    title: str
    text: str
    summary: str
    words: int

    def document(self) -> str:
        """The post as the base reads it."""
        return f"SUBREDDIT: r/{self.subreddit}\nTITLE: {self.title}\nPOST: {self.text}"

    def prompt(self) -> str:
        """The post as the task `tldr` shows it."""
        return self.document() + "\nTL;DR:"


class PostWriter:
    """Writes posts from the material. Holds no state beyond it: every post comes from the generator it is given."""

    def __init__(self, material: Material) -> None:
        self.material = material

    def write(self, plot: Plot, *, rng: Random, split: str, edited: bool = False) -> Post:
        """A post of 60 to 150 words that tells `plot` in the wordings of `split`; with `edited`, news below."""
        while True:
            post = self._tell(plot, rng=rng, split=split, edited=edited)
            if post is not None:
                return post

    def _tell(self, plot: Plot, *, rng: Random, split: str, edited: bool) -> Post | None:
        material = self.material
        family = material.families[plot.family]
        situation = family.situations[plot.situation]
        complication = family.complications[plot.complication]
        ask = family.asks[plot.ask]
        person = material.people[plot.person]
        register = draw_register(rng)
        scene = Scene(rng=rng, material=material, family=family, person=person)
        if register.slang and person.slang is not None:
            scene.noun = person.slang
        elif register.formal and person.formal is not None:
            scene.noun = person.formal
        subreddit = pick(rng, family.subreddits)

        beats = self._choose_beats(family, scene=scene, plot=plot)
        sentences = self._told(beats, scene=scene, register=register, ask=ask, split=split)
        text = typed(_joined(sentences, register=register, rng=rng), register=register, rng=rng)
        words = len(text.split())
        if not FEWEST_WORDS <= words <= MOST_WORDS:
            return None
        if edited:
            text += "\n" + typed(self._edit(scene, split=split), register=register, rng=rng)
        title = entitle(scene, situation=situation, ask=ask, subreddit=subreddit)
        summary = summarise(scene, situation=situation, complication=complication, ask=ask)
        if register.ends_summary and not summary.endswith("?"):
            summary += "."
        return Post(
            subreddit=subreddit,
            title=typed(title, register=register, rng=rng),
            text=text,
            summary=typed(summary, register=register, rng=rng),
            words=words,
        )

    def _choose_beats(self, family: Family, *, scene: Scene, plot: Plot) -> list[tuple[str, Template]]:
        """The beats in their order: the plot's own three, and some of the others."""
        rng, phrases = scene.rng, self.material.phrases
        situation = family.situations[plot.situation]
        chosen: dict[str, list[Template]] = {
            "event": [pick(rng, situation.tell)],
            "complication": [family.complications[plot.complication].tell],
            "ask": [pick(rng, phrases.questions[family.asks[plot.ask].kind])],
        }
        offers = {
            "then": (0.85, situation.then),
            "detail": (0.75, family.details),
            "tried": (0.65, family.tries),
            "feeling": (0.75, phrases.feelings[pick(rng, family.moods)]),
            "background": (0.65, phrases.background.get(scene.person.kind, ())),
            "persona": (0.45, phrases.persona[self._persona(family, scene)]),
            "digression": (0.4, phrases.digressions),
            "opener": (0.2, phrases.openers),
            "closer": (0.4, phrases.closers),
        }
        for beat, (share, options) in offers.items():
            if options and rng.random() < share:
                chosen[beat] = [pick(rng, options)]
        if "detail" in chosen and rng.random() < 0.3:
            second = pick(rng, family.details)
            if second is not chosen["detail"][0]:
                chosen["detail"].append(second)
        order = pick(rng, ORDERS).split()
        return [(beat, one) for beat in order for one in chosen.get(beat, ())]

    def _persona(self, family: Family, scene: Scene) -> str:
        if family.persona is not None:
            return family.persona
        return "student" if scene.writer.age < 25 and scene.rng.random() < 0.5 else "worker"

    def _told(
        self, beats: list[tuple[str, Template]], *, scene: Scene, register: Register, ask: Ask, split: str
    ) -> list[tuple[str, str]]:
        """Each beat as a sentence in small letters with its closing mark."""
        sentences: list[tuple[str, str]] = []

        def tell(beat: str, say: Callable[[], str]) -> None:
            scene.next_sentence()
            spare = split != "train" and beat not in ("event", "complication", "ask", "introduction")
            text = _worded(say, scene=scene, split=split, spare=spare)
            if text:
                sentences.append((beat, text))

        for beat, template in beats:
            if beat == "background" and not scene.introduced:
                tell("introduction", partial(self._introduction, scene))
            if beat == "ask":
                tell(beat, partial(self._question, template, scene=scene, ask=ask))
            else:
                tell(beat, partial(self._statement, beat, template, scene=scene, register=register))
        # "my mom thinks I worry too much" does not stand in a post about her.
        return [one for one in sentences if one[0] != "digression" or scene.person.noun not in one[1]]

    def _introduction(self, scene: Scene) -> str:
        return draw(pick(scene.rng, INTRODUCTIONS), rng=scene.rng, fill=scene.fill) + "."

    def _statement(self, beat: str, template: Template, *, scene: Scene, register: Register) -> str:
        rng, connect = scene.rng, self.material.phrases.connect
        kind, share = LEADS.get(beat, ("", 0.0))
        lead = draw(pick(rng, connect[kind]), rng=rng, fill=scene.fill) + " " if rng.random() < share else ""
        if beat not in ("event", "complication"):
            text = draw(template, rng=rng, fill=scene.fill)
        else:  # the summary may take these up again, and then says the same
            scene.memory.open = True
            text = draw(template, rng=rng, fill=scene.fill, memory=scene.memory)
            scene.memory.open = False
        if text.startswith(("I know", "to be", "before")):
            lead = ""
        text = (lead + text).strip()
        if text.endswith("?"):
            return text
        return text + ("!" if register.exclaims and rng.random() < 0.2 else ".")

    def _question(self, template: Template, *, scene: Scene, ask: Ask) -> str:
        rng = scene.rng

        def fill(slot: str) -> str:
            if slot == "X":
                return draw(ask.do, rng=rng, fill=scene.fill)
            if slot == "Y":
                assert ask.alternative is not None
                return draw(ask.alternative, rng=rng, fill=scene.fill)
            return scene.fill(slot)

        text = draw(template, rng=rng, fill=fill)
        return text if text.endswith(".") else text + "?"

    def _addition(self, pool: tuple[Template, ...], scene: Scene) -> str:
        return draw(pick(scene.rng, pool), rng=scene.rng, fill=scene.fill) + "."

    def _edit(self, scene: Scene, *, split: str) -> str:
        """What the writer adds later: thanks and news, and often the same worries again."""
        rng, phrases = scene.rng, self.material.phrases
        pools = [phrases.edits]
        while len(pools) < 5 and rng.random() < 0.6:
            again = phrases.feelings[pick(rng, scene.family.moods)], scene.family.details, phrases.digressions
            pools.append(pick(rng, (phrases.edits, *again)))
        told = []
        for pool in pools:
            scene.next_sentence()
            told.append(_worded(partial(self._addition, pool, scene), scene=scene, split=split))
        return f"{pick(rng, ('EDIT', 'UPDATE', 'Edit', 'Update', 'PS'))}: " + " ".join(dict.fromkeys(told))


def _worded(say: Callable[[], str], *, scene: Scene, split: str, spare: bool = False) -> str:
    """What `say` says, said again until it is a wording of this split. Where none turns up, the last one said, or
    nothing if the post can `spare` it."""
    focus = scene.focus()
    text = say()
    for _ in range(TRIES):
        if split_of(text) == split:
            return text
        scene.restore(focus)
        text = say()
    if spare:
        scene.restore(focus)
        return ""
    return text


def _joined(sentences: list[tuple[str, str]], *, register: Register, rng: Random) -> str:
    """One text: some neighbours run together, and paragraphs begin where the talk turns."""
    breaks = _paragraph_breaks(sentences, register=register, rng=rng)
    text = ""
    for index, (beat, sentence) in enumerate(sentences):
        if index == 0:
            text = sentence
            continue
        before_beat, before = sentences[index - 1]
        runs_on = (
            (before_beat, beat) in NEIGHBOURS
            and before.endswith(".")
            and len(before) + len(sentence) < 210
            and ". " not in before
        )
        if index in breaks:
            text += "\n\n" + sentence
        elif runs_on and rng.random() < (0.4 if register.pauses else 0.15):
            text = text[:-1] + pick(rng, JOINS[register.pauses]) + sentence
        else:
            text += " " + sentence
    return text


def _paragraph_breaks(sentences: list[tuple[str, str]], *, register: Register, rng: Random) -> set[int]:
    turns = [
        index
        for index, (beat, _) in enumerate(sentences)
        if index >= 2 and beat in ("event", "complication", "ask", "background", "persona", "tried")
    ]
    breaks: set[int] = set()
    for _ in range(register.paragraphs - 1):
        if turns:
            breaks.add(pick(rng, turns))
    return breaks
