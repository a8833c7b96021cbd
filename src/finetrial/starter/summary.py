"""Write the gist of a post, for its title and after its TL;DR.

Both say who, what happened and what is asked, in wordings of their own drawn apart from the post's.
"""

from __future__ import annotations

from finetrial.starter.material import Ask, Complication, Situation
from finetrial.starter.scene import Scene
from finetrial.starter.wording import Choice, Template, draw, parse, pick

COMPLICATED_SHARE = 0.35  # of the summaries that also name the complication

# <S> is the situation in a nutshell, <X> what the writer would do, <Y> the alternative.
SUMMARIES: dict[str, tuple[Template, ...]] = {
    "should": tuple(
        parse(line)
        for line in (
            "<S>, (should I|do you think I should) <X>?",
            "<S>, should I <X>?",
            "<S> and I (don't know|can't decide|'m not sure) (if|whether) I should <X>",
            "<S>, (not sure|wondering|can't decide) (if|whether) I should <X>",
            "should I <X> (now that|because) <S>?",
            "<S>, (is it wrong to|is it okay to|would it be wrong to) <X>?",
        )
    ),
    "how": tuple(
        parse(line)
        for line in (
            "<S>, how (do|can|should) I <X>?",
            "<S>, how do I <X>?",
            "<S> and I (don't know|have no idea|need to know) how to <X>",
            "how (do|can) I <X> (when|now that) <S>?",
            "<S>, (looking for a way|need advice on how|not sure how) to <X>",
        )
    ),
    "which": tuple(
        parse(line)
        for line in (
            "<S>, (should|do) I <X> or <Y>?",
            "<S>, should I <X> or <Y>?",
            "<S> and I (don't know|can't decide|'m not sure) whether to <X> or <Y>",
            "<S>, (not sure|torn on|can't decide) whether to <X> or <Y>",
            "should I <X> or <Y> now that <S>?",
        )
    ),
}
TITLES: dict[str, tuple[Template, ...]] = {
    "should": tuple(
        parse(line)
        for line in ("should I <X>?", "<S>, should I <X>?", "<S>. should I <X>?", "is it (wrong|okay|fair) to <X>?")
    ),
    "how": tuple(parse(line) for line in ("how do I <X>?", "<S>, how do I <X>?", "<S>. how (do|can) I <X>?")),
    "which": tuple(parse(line) for line in ("should I <X> or <Y>?", "<X> or <Y>?", "<S>, do I <X> or <Y>?")),
}
PLAIN_TITLES = (parse("<S>"), parse("<S>(. advice?|. what now?|. help|, not sure what to do|, need advice)"))
VAGUE_TITLES = tuple(
    parse(line)
    for line in (
        "(problems|trouble|drama|a mess|a falling out|an awkward situation) with <No>",
        "(need|looking for|asking for) (advice|help|opinions) about (a situation with|) <No>",
        "(not sure|no idea|don't know) what to do about <No>",
        "<No> and I, what (now|next|would you do)?",
        "am I overreacting? (trouble|problems) with <No>",
        "(things got weird|it got weird|it's complicated) with <No>",
        "(long post|rant|long), about <No>",
        "(stuck|lost|confused|at a loss), and it's about <No>",
        "how would you (handle|deal with) <No>?",
        "(please|) tell me what to do about <No>",
    )
)


def tell_gist(
    scene: Scene, *, situation: Situation, complication: Complication | None, ask: Ask, form: Template
) -> str:
    """`form` with its clauses, each drawn where it stands, so that whoever comes first is named there."""
    rng, fill = scene.rng, scene.fill

    def clause(slot: str) -> str:
        if slot == "X":
            return draw(ask.do, rng=rng, fill=fill)
        if slot == "Y":
            assert ask.alternative is not None
            return draw(ask.alternative, rng=rng, fill=fill)
        if slot != "S":
            return fill(slot)
        told = draw(pick(rng, situation.gist), rng=rng, fill=fill, memory=scene.memory)
        if complication is None:
            return told
        pause = "," if " and " in told else ""
        return (
            f"{told}{pause} {complication.link} {draw(complication.gist, rng=rng, fill=fill, memory=scene.memory)}"
        )

    return draw(form, rng=rng, fill=clause).replace("I 'm", "I'm")


def summarise(scene: Scene, *, situation: Situation, complication: Complication, ask: Ask) -> str:
    """One sentence, its first letter small and without a full stop, that is true of the post."""
    scene.start("gist")
    named = complication if scene.rng.random() < COMPLICATED_SHARE else None
    form = pick(scene.rng, SUMMARIES[ask.kind])
    while named is not None and " and I " in form:  # "and" would follow on "and"
        form = pick(scene.rng, SUMMARIES[ask.kind])
    return tell_gist(scene, situation=situation, complication=named, ask=ask, form=form)


def entitle(scene: Scene, *, situation: Situation, ask: Ask, subreddit: str) -> str:
    """A title in small letters: the situation, the question, both, or neither."""
    scene.start("title")
    rng = scene.rng
    if subreddit == "AmItheAsshole" and ask.kind == "should" and rng.random() < 0.5:
        form = parse("would I be the asshole if I <X>?") if rng.random() < 0.5 else parse("WIBTA if I <X>?")
    else:
        share = rng.random()
        form = pick(rng, TITLES[ask.kind] if share < 0.5 else PLAIN_TITLES if share < 0.8 else VAGUE_TITLES)
    title = tell_gist(scene, situation=situation, complication=None, ask=ask, form=form)
    writer = scene.writer
    if rng.random() < 0.25 and not any(type(part) is Choice for part in form[:1]):
        tag = scene.tag(writer.age, writer.gender)
        if title.startswith("my "):
            title = f"my {tag} {title[3:]}"
        elif title.startswith("I "):
            title = f"I {tag} {title[2:]}"
    return title
