"""One small trial with hostile texts, and its report, made once for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from building import Answer, build_trial

from finetrial.reporting.write import ReportFiles, write_report
from finetrial.store.layout import TrialFolder

HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "closing": "</p></details></main><style>body{display:none}</style>]]><!--",
    "template": "{{ 7*7 }} {% raw %} ${7*7} \\input{/etc/passwd} \\\\ & % $ # _ { } ~ ^",
    "direction": "\u202egnihtyreve sesrever\u202c \u202ain\u202c and \u2066isolates\u2069; עברית وعربية",
    "control": "bell\x07 null\x00 escape\x1b[31m vertical\x0b delete\x7f next\x85 line\u2028separator\ufeff",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \U0001f4a9",
    "fence": "ticks\n```\n`````text\n# heading\n| a | b |\n![x](http://evil.example/x.png)",
    "link": "[click](javascript:alert(1)) https://evil.example/pixel.gif <a href='http://evil.example'>x</a>",
    "huge": "word " * 40_000,
    "blank": " \n\t ",
}
PROMPTS = {
    f"p{number}-{name}": (
        f"Post {number} about {name}: {text}",
        [f"a summary of post {number}", f"{name} in short"],
    )
    for number, (name, text) in enumerate([*HOSTILE.items(), ("plain", "rain again"), ("calm", "no wind")], start=1)
}


def secret(arm: str, prompt_id: str, index: int) -> str:
    """A word that stands in this one sample alone."""
    return f"secret{arm}{prompt_id.split('-')[0]}x{index}"


def hostile_answer(arm: str, prompt_id: str, index: int) -> Answer:
    """The base repeats the hostile text up to the limit; the others say something near the reference."""
    number, name = prompt_id[1:].split("-")
    word = secret(arm, prompt_id, index)
    if arm == "base":
        return Answer(f"{word} {HOSTILE.get(name, 'rain')}", "length")
    if arm == "prompted":
        return Answer(f"{name} {word}", "stop_string")
    return Answer(f"a summary of post {number if arm == 'full' or index else 'x'} {word}")


@dataclass(frozen=True)
class Made:
    folder: TrialFolder
    files: ReportFiles

    @property
    def page(self) -> str:
        return self.files.html.read_text(encoding="utf-8")

    @property
    def markdown(self) -> str:
        return self.files.markdown.read_text(encoding="utf-8")


def make(root: Path, **changes: object) -> TrialFolder:
    shown = lambda arm, prompt: f"examples first\n{prompt}" if arm == "prompted" else prompt
    return build_trial(root, **{"prompts": PROMPTS, "answer": hostile_answer, "shown": shown, **changes})


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    plan = {"arms": {"full": {"tune_seconds": 200.0, "trained_parameters": 2_000_000}}}
    folder = make(tmp_path_factory.mktemp("trial"), plan=plan)
    return Made(folder, write_report(folder))
