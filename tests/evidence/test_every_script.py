"""Texts in any script get the scores that they deserve, and letters that a metric leaves out are named first."""

from __future__ import annotations

import json

import pytest

from finetrial.api.outputs import score
from finetrial.cli.main import dispatch
from finetrial.metrics.tokens import loses_words
from finetrial.trial.schema import Judging

_THAI = "แมวนั่งอยู่บนเสื่อ|วันนี้อากาศดีมาก|ฉันชอบกินข้าวผัด|เขาไปโรงเรียนทุกวัน|หนังสือเล่มนี้น่าสนใจ|เราจะไปเที่ยวทะเล"
_JAPANESE = (
    "猫がマットに座った。|今日は天気がいい。|私は米が好きです。|"
    "彼は毎日学校へ行く。|この本は面白い。|海へ行きましょう。"
)
_ARABIC = "القطة تجلس هنا|الطقس جميل اليوم|أحب أكل الأرز|يذهب إلى المدرسة|هذا الكتاب مثير|سنذهب إلى البحر"
_HINDI = "बिल्ली यहाँ बैठी है|आज मौसम अच्छा है|मुझे चावल पसंद है|वह स्कूल जाता है|यह किताब रोचक है|हम समुद्र जाएँगे"
_MIXED = "the cat sat here|it is fine today|i like rice|he goes to school|यह किताब रोचक है|سنذهب إلى البحر"
TEXTS = {
    "Thai": _THAI.split("|"),
    "Japanese": _JAPANESE.split("|"),
    "Arabic": _ARABIC.split("|"),
    "Hindi": _HINDI.split("|"),
    "mixed": _MIXED.split("|"),
}


def rows(references, *, worse):
    """Arm `same` repeats the reference, arm `worse` what `worse` makes of it."""
    return [
        {"prompt": f"q{place}", "arm": arm, "text": text, "reference": reference}
        for place, reference in enumerate(references)
        for arm, text in (("same", reference), ("worse", worse(reference)))
    ]


def means(found, metric="rouge1"):
    return {arm: row.mean for arm, row in found.findings.intervals[metric].items()}


@pytest.mark.parametrize("script", TEXTS)
def test_the_same_text_scores_one_and_half_of_it_less_in_every_script(script):
    found = score(rows(TEXTS[script], worse=lambda text: text[: len(text) // 2]))
    assert means(found)["same"] == 1.0
    assert 0.3 < means(found)["worse"] < 0.9
    assert "tok:unicode" in found.findings.signatures["rouge1"]
    assert found.warnings[0].startswith("ROUGE-1 counts the words of every script here (unicode: auto)")
    assert not found.findings.verdict_warnings


def test_a_product_name_is_no_japanese_answer():
    references = [f"Finetrial 3 Pro{text}" for text in TEXTS["Japanese"]]
    name_alone = rows(references, worse=lambda text: "Finetrial 3 Pro")
    assert 0.3 < means(score(name_alone))["worse"] < 0.6  # 3 of 11 to 13 words: F is 6/14 to 6/16
    blind = score(name_alone, unicode=False)
    assert means(blind)["worse"] == 1.0
    (warning,) = blind.findings.verdict_warnings
    assert warning.kind == "letters_not_seen"
    # 12 letters of the name stand in 18 texts; what follows it in 12 of them is not seen
    outside = sum(c.isalpha() for text in TEXTS["Japanese"] for c in text)
    assert f"does not see {200 * outside / (2 * outside + 18 * 12):.0f} % of the letters" in warning.text
    assert str(blind).splitlines()[1].startswith("  - ROUGE does not see")


def test_an_answer_in_another_script_is_named_first_though_the_references_are_ascii():
    found = score(
        rows(["yes it is", "no it is not", "maybe so", "ask again", "go on", "stop"], worse=lambda _: "是的")
    )
    assert "tok:ascii" in found.findings.signatures["rouge1"]  # what an arm writes never chooses
    assert [row.kind for row in found.findings.verdict_warnings] == ["letters_not_seen"]


def test_english_with_a_few_foreign_names_keeps_the_published_tokens():
    english = [
        "The café stood beside the old river, and everybody who lived there knew its owner by name."
        " Nobody had ever seen it closed on a Sunday."
    ] * 3
    assert not loses_words(english)  # 1 letter of 106
    assert loses_words(["Größe zählt, müde bin ich"]) and loses_words(["plain words", "ฉันชอบ"])
    assert not loses_words([]) and not loses_words(["1 + 1 = 2 …", "!?"])


def test_a_choice_of_ones_own_stands():
    for chosen, tokenizer in ((True, "unicode"), (False, "ascii")):
        found = score(rows(TEXTS["mixed"], worse=str.upper), unicode=chosen)
        assert f"tok:{tokenizer}" in found.findings.signatures["rouge1"]
        assert not any("unicode: auto" in text for text in found.warnings)
    assert Judging.model_validate({}).unicode == "auto"


def test_short_answers_in_scripts_without_spaces_share_characters():
    cut = rows(TEXTS["Japanese"], worse=lambda text: text[:4])
    assert 0.4 < means(score(cut, primary="f1"), "f1")["worse"] < 0.8
    words = score(cut, primary="f1", unicode=False)
    assert means(words, "f1")["worse"] == 0.0  # a sentence without spaces is one word
    assert words.findings.verdict_warnings[0].text.startswith("Token F1 takes words to end at spaces, and 6 of 6")
    bare = rows(TEXTS["Japanese"], worse=lambda text: text.removesuffix("。"))
    assert means(score(bare, primary="exact_squad"), "exact_squad")["worse"] == 1.0


def test_the_command_line_says_it_in_its_first_lines(tmp_path, capsys):
    file = tmp_path / "thai.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows(TEXTS["Thai"], worse=lambda text: text[:4])))
    assert dispatch(["score", str(file), "--ascii"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "Could overturn the verdict and the recommendation:"
    assert "ROUGE does not see 1e+02 % of the letters" not in second and "100 % of the letters" in second
    assert dispatch(["score", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "tok:unicode" in found["signatures"]["rouge1"] and found["verdict_warnings"] == []


@pytest.mark.parametrize(("script", "chosen"), [("Thai", True), ("Arabic", True), ("English", False)])
def test_init_chooses_every_script_where_the_completions_need_it_and_says_so(tmp_path, capsys, script, chosen):
    texts = TEXTS.get(script, TEXTS["mixed"][:4])
    data, out = tmp_path / "rows.jsonl", tmp_path / "trial.yaml"
    lines = [{"prompt": f"{n}", "completion": f"{texts[n % 4]} {n} {texts[(n + 1) % 4]}"} for n in range(40)]
    data.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert dispatch(["init", "--data", str(data), "--model", "starter", "--out", str(out)]) == 0
    assert ("words of every script count" in capsys.readouterr().out) == chosen
    assert ("  unicode: true  " in out.read_text(encoding="utf-8")) == chosen
    for setting, said in (("auto", "note"), ("false", "look")):
        dispatch(["check", str(out), "--set", f"judging.unicode={setting}"])
        shown = capsys.readouterr()
        text = " ".join((shown.out + shown.err).split())
        assert (f"{said} ROUGE-1 counts" in text) == chosen
