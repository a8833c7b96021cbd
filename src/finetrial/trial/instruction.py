"""Check that a prompt tells an untuned arm what is wanted.

A tuned arm learns the task from its examples. A base that is shown the bare prompt and nothing else has to guess
it, and a comparison then measures that. A chat's user turn asks by itself; a question and a cue such as "TL;DR:" do
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetrial.trial.data_findings import Finding
from finetrial.trial.form import Form
from finetrial.trial.schema import Trial
from finetrial.trial.template import PLAIN

# Prompts that end so ask for something; where most do, nothing is missing (assumption).
_CUES, _MOST = ("?", ":", ">", "="), 0.5
_WORD = 3  # letters; a shared beginning or end with fewer is no instruction (assumption)


def _shared(texts: Sequence[str]) -> int:
    """How many letters all texts begin with alike, or end with alike, whichever is more."""
    return max(_letters_alike(texts), _letters_alike([text[::-1] for text in texts]))


def _letters_alike(texts: Sequence[str]) -> int:
    """Letters of the beginning that two texts share, counted over the first and the last of all in sorted order:
    what those two share, all share."""
    first, last = min(texts), max(texts)
    alike = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return sum(character.isalpha() for character in first[:alike])


def says_what_is_wanted(prompts: Sequence[str]) -> bool:
    """Whether the prompts ask: by a question mark or a cue at their end, or by words that stand in all of them."""
    stripped = [prompt.strip() for prompt in prompts]
    asking = sum(prompt.endswith(_CUES) for prompt in stripped)
    return asking >= _MOST * len(stripped) or (len(stripped) > 1 and _shared(stripped) >= _WORD)


def instruction_finding(trial: Trial, forms: Mapping[str, Form], *, prompts: Sequence[str]) -> list[Finding]:
    """The untuned arms that are shown the bare prompt as text, where nothing in it says what to do."""
    if trial.data.format != "prompt_completion":
        return []  # a chat asks by itself; running text is to be continued
    bare = [
        name
        for name, form in forms.items()
        if not (trial.arms[name].tuned or trial.arms[name].method.is_from_elsewhere)
        and not form.chat
        and form.template == PLAIN
    ]
    if not bare or says_what_is_wanted(prompts):
        return []
    return [
        Finding(
            "no_instruction",
            f"{' and '.join(bare)}: shown the bare prompt, which does not say what is wanted; a template with an "
            'instruction treats the untuned model fairly, such as "Summarise in one sentence: {prompt}\\nSummary:"',
        )
    ]
