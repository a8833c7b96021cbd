"""In a report people's grades and the metric stand side by side, and what was named beforehand comes first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from building import Answer
from whole_trial import TRIAL, Parts, Whole, build_whole

from finetrial.evidence.first_judging import judged_by
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.document import Document, Facts, Figure, Folded, Paragraph, Table, Tone, plain
from finetrial.reporting.write import compose_report
from finetrial.store.records import write_object
from finetrial.trial.trial_file import load_trial


def trial_by(primary: str, root: Path) -> Whole:
    """The whole trial, judged by this primary metric from the first sample on."""
    text = TRIAL.replace("primary: rouge1", f"primary: {primary}")
    root.mkdir(parents=True)
    (root / "trial.yaml").write_text(text)
    parts = Parts(
        trial_text=text,
        edit=lambda folder: write_object(folder.judging, judged_by(load_trial(root).trial, base=root)),
    )
    return build_whole(root, parts)


@pytest.fixture(scope="module", params=["rouge1", "grade"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Document]:
    whole = trial_by(request.param, tmp_path_factory.mktemp(request.param) / "trial")
    return request.param, compose_report(
        whole.folder, open_grades=False, findings=trial_findings(whole.folder)
    ).document


def said(document: Document) -> list[str]:
    """The paragraphs of a verdict's size."""
    return [plain(b.text) for b in document.lead.blocks if isinstance(b, Paragraph) and b.tone is Tone.VERDICT]


def table(document: Document, name: str) -> Table:
    blocks = [block for section in document.sections for block in section.blocks]
    return next(block for block in blocks if isinstance(block, Table) and block.name == name)


def test_what_was_named_gives_the_first_sentence_and_the_other_stands_beside_it_at_the_same_size(made):
    primary, document = made
    first, second = said(document)
    names = ["ROUGE-1", "Grades"] if primary == "rouge1" else ["Grades", "ROUGE-1"]
    assert names[0] in first and names[1] not in first
    assert second.startswith("Not named beforehand: ") and names[1] in second


def test_the_named_one_s_test_is_the_main_table_and_no_grade_is_listed_as_not_named(made):
    primary, document = made
    assert table(document, "scores").columns[0] == ("ROUGE-1" if primary == "rouge1" else "Grades")
    by = "By ROUGE-1:" if primary == "rouge1" else "By Grades:"
    assert table(document, "pairs").note.startswith(by)
    means = {plain(row.head): row.cells[0].text for row in table(document, "scores").rows}
    if primary == "grade":
        # base is never called good, full always, lora twice of three
        assert means == {"base": "0.000", "full": "1.000", "lora": "0.667"}


def test_the_grades_stand_among_the_scores_of_a_trial_that_a_metric_decides(made):
    scores = table(made[1], "scores")
    place = scores.columns.index("Grades")
    assert [row.cells[place].text for row in scores.rows] == ["0.000", "1.000", "0.667"]


def test_results_json_holds_the_second_verdict(tmp_path):
    whole = trial_by("grade", tmp_path / "trial")
    content = json.loads((whole.folder.report / "results.json").read_text())
    assert content["metric"] == content["primary"] == "grade"
    assert content["beside"]["metric"] == "rouge1" and content["beside"]["named"] is False
    assert content["prompt_means"]["lora"]["p1"] == pytest.approx(2 / 3)


def test_references_that_were_mixed_in_stand_in_the_grid_with_their_grades(tmp_path):
    text = TRIAL.replace("grade_prompts: 5", "grade_prompts: 5, grade_references: true")
    answer = lambda arm, prompt_id, index: Answer(f"it is raining in {arm} on day {index} of {prompt_id}")
    grade = lambda text: ("bad" if "raining" in text or "lamp" in text else "good", (), None)
    whole = build_whole(tmp_path / "trial", Parts(trial_text=text, answer=answer, grade=grade))
    findings = trial_findings(whole.folder)
    assert (findings.good["references"].good, findings.good["references"].of) == (4, 5)
    assert set(findings.intervals["grade"]) == {"base", "full", "lora"}  # they are no arm: nothing is compared
    grid = table(compose_report(whole.folder, open_grades=False, findings=findings).document, "good_by_prompt")
    place = grid.columns.index("references")
    assert [row.cells[place].text for row in grid.rows] == ["0/1", "1/1", "1/1", "1/1", "1/1", "4/5"]
    assert grid.rows[-1].cells[place].lines == ("0.38 to 0.96",)  # Wilson's of 4 of 5 by hand: 0.376 to 0.964
    assert "graded among the answers" in grid.note


def test_the_smallest_p_that_five_prompts_could_give_stands_below_the_pairs(made):
    # two of five prompts differ between some pair; five that differ give 2 / 2^5, thrice that after Holm
    note = table(made[1], "pairs").note
    assert "The smallest p that these prompts could give is 0.062" in note
    assert "0.188 after correcting for 3 comparisons: no result could reach p\u00a0<\u00a0.05." in note


def test_the_metrics_stand_beside_the_raters_in_one_table_and_the_texts_that_are_seen_most_differently(made):
    beside = table(made[1], "metrics_beside_raters")
    assert [plain(row.head) for row in beside.rows] == ["ROUGE-1", "ROUGE-L"]
    assert "50\u00a0% is chance" in beside.note
    people = next(section for section in made[1].sections if section.id == "good")
    assert sum(isinstance(block, Paragraph) for block in people.blocks) == 0  # one rater: no agreement to speak of
    (folded,) = [b for b in people.blocks if isinstance(b, Folded) and "differ most" in b.summary]
    (facts,) = [b for b in folded.blocks if isinstance(b, Facts)]
    assert facts.rows and all(" broke in " in plain(row.text) or "new" in plain(row.text) for row in facts.rows)


def test_arms_that_nothing_tells_apart_share_a_rank_and_the_metric_is_put_in_a_sentence(made):
    primary, document = made
    ranking = table(document, "ranking")
    assert [row.cells[0].text for row in ranking.rows] == ["1", "1", "1"]  # five prompts tell no arms apart
    assert all(len(row.cells[2].text.split(" and ")) == 2 for row in ranking.rows)
    scores = next(section for section in document.sections if section.id == "scores")
    (meaning,) = [plain(b.text) for b in scores.blocks if isinstance(b, Paragraph)]
    what = "ROUGE-1: words shared with a reference, as an F measure"
    if primary == "grade":
        what = "Grades: the share of good among blind grades"
    assert meaning == f"What decides is {what}; from 0 to 1, higher is better."


def test_one_figure_shows_the_verdict_by_both(made):
    primary, document = made
    (figure,) = [block for block in document.lead.blocks if isinstance(block, Figure)]
    names = ["ROUGE-1", "Grades"] if primary == "rouge1" else ["Grades", "ROUGE-1"]
    said = figure.drawing.description
    assert said.index(f"By {names[0]}") < said.index(f"By {names[1]}")
    assert "base 0.000 (0.000 to 0.522), full 1.000 (0.478 to 1.000), lora 0.667" in said
    for name in (*names, "base", "full", "lora"):
        assert f">{name}<" in figure.drawing.file
