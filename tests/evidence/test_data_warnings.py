"""What should make a reader careful is said, and said only then."""

from __future__ import annotations

import pytest
from evidence_material import concluded, from_values, sample

from finetrial.api.outputs import score
from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.data_warnings import unseen_letters
from finetrial.metrics.metric import Settings
from finetrial.metrics.metric_table import metric_named
from finetrial.store.records import Sample, Score

CLEAN = {
    "a": {"p": [0.1, 0.2], "q": [0.3, 0.5], "r": [0.2, 0.1]},
    "b": {"p": [0.4, 0.2], "q": [0.1, 0.6], "r": [0, 1]},
}


def warnings(samples: list[Sample], scores: list[Score], **setting: object) -> tuple[str, ...]:
    return conclude(samples, scores, setting=AnalysisSettings(**{"primary": "rouge1", **setting})).warnings


def test_clean_data_give_no_warning():
    assert concluded(CLEAN).warnings == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"b": {"p": [0.4, 0.2]}}, "Of 3 prompts every arm answered 1; b lacks 2. Pairs use what both did."),
        ({"b": {"p": [0.1], "q": [0.2], "r": [0.3]}}, "Arms and prompts have from 1 to 2 samples"),
        ({"b": {"p": [None, 0.2], "q": [0.1, 0.6], "r": [0, 1]}}, "1 of 12 samples have no ROUGE-1."),
    ],
)
def test_holes_in_the_table_are_named(change, said):
    assert any(warning.startswith(said) for warning in concluded({**CLEAN, **change}).warnings)


def test_a_constant_metric_separates_no_arms():
    found = concluded({arm: {p: [0.0, 0.0] for p in "pqr"} for arm in "ab"}).warnings
    assert "ROUGE-1: 0 for every sample, which separates no arms." in found


def test_more_samples_than_prompts_is_named():
    found = concluded({arm: {p: [i * k / 10 for k in range(3)] for i, p in enumerate("pq", 1)} for arm in "ab"})
    assert any(w.startswith("3 samples a prompt on 2 prompts") for w in found.warnings)


def test_arms_that_say_the_same_are_named():
    samples, scores = from_values(CLEAN)
    same = [sample(s.arm, s.prompt_id, s.index, text=f"{s.prompt_id} {s.index}") for s in samples]
    assert "a and b gave the same texts on 3 of 3 prompts." in warnings(same, scores)


def test_many_arms_that_say_the_same_are_counted_and_not_listed():
    rows = [sample(arm, p, 0, text="same" if arm != "e" or p != "p" else "other") for arm in "abcde" for p in "pqr"]
    found = warnings(rows, [Score(r.id, "rouge1", 0.1, "s") for r in rows])
    alike = [line for line in found if "the same texts" in line]
    assert alike == [
        "10 pairs of arms gave the same texts on most of their prompts; most of all a and b gave the same texts on "
        "3 of 3 prompts."
    ]


def test_an_arm_that_repeats_itself_over_its_samples_is_named():
    rows = [sample("a", p, k, text=p if k < 2 else f"{p} {k}") for p in "pqrs" for k in range(3)]
    found = warnings(rows, [Score(r.id, "rouge1", 0.1 * i, "s") for i, r in enumerate(rows)])
    assert "4 of 12 samples of a are word for word another sample of their prompt." in found


def test_one_text_under_two_prompt_ids_is_named():
    rows = [sample(arm, p, source="one post" if p in "pq" else None) for arm in "ab" for p in "pqrs"]
    found = warnings(rows, [Score(r.id, "rouge1", 0.1 * i, "s") for i, r in enumerate(rows)])
    assert "2 prompts are only 1 different texts (p, q): not independent." in found


def test_scores_computed_in_two_ways_are_named():
    samples, scores = from_values(CLEAN)
    mixed = [Score(s.sample_id, s.metric, s.value, f"way {i % 2}") for i, s in enumerate(scores)]
    assert "ROUGE-1 was computed in 2 ways: way 0; way 1." in warnings(samples, mixed)


def test_what_rouge_cannot_see_is_named_and_unicode_mends_it():
    texts = ["привет мир", "ещё один ответ", "...", "plain words"]
    rows = [sample("a", f"p{i}", text=text, references=("слово за словом",)) for i, text in enumerate(texts)]
    scores = [Score(r.id, "rougeLsum", 0.1 * i, "s") for i, r in enumerate(rows)]
    found = "\n".join(warnings(rows, scores, primary="rougeLsum"))
    (unseen,) = unseen_letters(rows, metrics=[metric_named("rougeLsum")], scoring=Settings())
    assert "most of 2 of 4 samples and most of 1 of 1 references" in unseen
    assert "3 of 4 samples have no words: their ROUGE is 0 by definition." in found
    assert "ROUGE-Lsum splits at newlines, and no text has one" in found
    mended = "\n".join(warnings(rows, scores, primary="rougeLsum", scoring=Settings(unicode=True)))
    assert not unseen_letters(rows, metrics=[metric_named("rougeLsum")], scoring=Settings(unicode=True))
    assert "1 of 4 samples have no words" in mended


def test_metrics_that_compare_are_not_asked_where_nothing_stands_to_compare_with():
    places = [(p, arm) for p in range(4) for arm in ("a", "b")]
    rows = [{"prompt": f"p{p}", "arm": arm, "text": f"{arm} {p}", "grade": "good"} for p, arm in places]
    found = score(rows, primary="grade", metrics=["macro_f1", "exact", "json"]).findings
    (unasked,) = [text for text in found.warnings if "not asked" in text]
    assert "not asked of 8 of 8 samples" in unasked
    assert all(name in unasked for name in ("Macro-F1", "Exact match")) and "JSON" not in unasked
    assert found.intervals["exact"]["a"].mean is None and found.intervals["json"]["a"].mean == 0.0
