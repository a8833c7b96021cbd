"""What goes wrong is found in the arm that does it, shown in its words, beside the references' own rate."""

from __future__ import annotations

import json

import pytest
from evidence_material import sample

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.diagnose import MOST_TEXTS, Diagnosis, diagnose
from finetrial.evidence.diagnosis_file import diagnosis_note, read_diagnosis, write_diagnosis
from finetrial.evidence.file_findings import ScoringOptions, file_findings
from finetrial.evidence.findings import Diagnostic
from finetrial.store.layout import TrialFolder

POST = (
    "SUBREDDIT: r/gardening\nTITLE: My neighbour cut my hedge\nPOST: I came home on Tuesday and the hedge that my "
    "father planted was gone. The neighbour says that it took his light. I do not know whom to ask.\nTL;DR:"
)
REFERENCE = "The neighbour cut down the hedge that my father planted, and I do not know what to do."
LOOP = "The hedge is gone. " + "I want the hedge back. " * 9
COPY = POST
CODE = "The hedge is gone and I am sad\nimport os\nfor i in range(10):\n    print(i)\n"


def found(texts: dict[str, str], **given: object) -> dict[str, Diagnostic]:
    ends = {"looping": "length", "copying": "length"}
    rows = [
        sample(arm, "p", k, text=text, references=(REFERENCE,), source=POST, end_reason=ends.get(arm))
        for arm, text in texts.items()
        for k in range(2)
    ]
    return {row.name: row for row in diagnose(rows, **given).diagnostics}


TEXTS = {"looping": LOOP, "copying": COPY, "coding": CODE, "fine": REFERENCE}


@pytest.mark.parametrize(
    ("name", "arm", "quoted"),
    [
        ("loop to the end", "looping", "I want the hedge back."),
        ("repeated sentence", "looping", "I want the hedge back."),
        ("prompt copied back", "copying", "SUBREDDIT: r/gardening TITLE: My neighbour"),
        ("copied headers", "copying", "SUBREDDIT:"),
        ("code", "coding", "import os for i in range(10): print(i)"),
        ("unfinished", "copying", "TL;DR:"),
    ],
)
def test_each_failure_is_found_in_its_arm_and_quoted(name, arm, quoted):
    row = found(TEXTS)[name]
    assert row.arms[arm] == 1.0 and row.arms["fine"] == 0.0
    assert row.references == 0.0
    quotes = [e.quote for e in row.examples if e.arm == arm]
    assert len(quotes) == 1 and quotes[0].startswith(quoted)  # one of each prompt, though both samples fail


def test_copying_is_measured_and_people_copy_too():
    rows = found(TEXTS)
    assert rows["copied words"].arms["copying"] == 1.0
    assert 0.5 < rows["copied words"].references < 1.0
    # SUBREDDIT ... DR: the whole post is one fragment, as long as it has words
    assert rows["longest copied run"].unit == "words"
    assert rows["longest copied run"].arms["copying"] == rows["copied fragment"].arms["copying"] > 40


def test_copies_of_the_training_text_are_asked_only_where_there_is_one():
    assert found(TEXTS)["copied from training"].arms == dict.fromkeys(TEXTS)
    learned = found(TEXTS, training=["He said: " + REFERENCE])["copied from training"]
    assert learned.arms["fine"] == learned.references == 1.0 and learned.arms["coding"] == 0.0


def test_words_of_ones_own_reference_do_not_make_it_known():
    # Most of its words stand in the post; "what" stands in no other text than the reference itself.
    rows = found(TEXTS)["novel words"]
    assert 0 < rows.references < 0.3
    assert rows.arms["fine"] == 0.0  # for a sample the references are a dictionary


def test_empty_texts_are_counted_and_asked_nothing_else():
    rows = found({"silent": "", "fine": REFERENCE})
    assert rows["empty"].arms == {"silent": 1.0, "fine": 0.0}
    assert rows["repeated 4-grams"].arms["silent"] is None


def test_samples_that_are_alike_are_measured_over_one_prompt():
    assert found(TEXTS)["samples alike"].arms["fine"] == 1.0
    assert found(TEXTS)["samples alike"].references is None  # one reference has nothing to be like


def test_many_texts_are_a_seeded_choice_of_prompts_that_is_named():
    rows = [sample("a", f"p{i}", text="x") for i in range(MOST_TEXTS + 10)]
    one, same, other = (diagnose(rows, seed=seed) for seed in (0, 0, 1))
    assert one == same and one.n_prompts == other.n_prompts == MOST_TEXTS
    assert diagnosis_note(one) == "What goes wrong was looked for on 3,000 of 3,010 prompts, chosen by the seed."
    assert diagnosis_note(diagnose(rows[:5])) is None


def test_no_text_of_a_prompt_that_awaits_grades_is_quoted():
    rows = [sample("a", p, text=LOOP, references=(REFERENCE,), source=p) for p in ("open", "held")]
    diagnostics = diagnose(rows).diagnostics
    shown = conclude(rows, [], setting=AnalysisSettings(primary="rouge1", hidden={"held"}), diagnostics=diagnostics)
    loop = next(row for row in shown.diagnostics if row.name == "loop to the end")
    assert [e.prompt_id for e in loop.examples] == ["open"] and loop.arms == {"a": 1.0}


def test_what_is_written_is_read_again(tmp_path):
    folder = TrialFolder(tmp_path)
    assert read_diagnosis(folder) is None
    rows = [sample(arm, "p", text=text, references=(REFERENCE,), source=POST) for arm, text in TEXTS.items()]
    written = diagnose(rows, training=["some text"])
    write_diagnosis(folder, written)
    assert isinstance(written, Diagnosis) and read_diagnosis(folder) == written


def test_without_its_prompt_what_needs_one_is_not_known_and_headers_are_found_still(tmp_path):
    text = "I want my money back. Thanks, Jo SUBREDDIT: r/help TITLE: The bank POST: Hello, how can I mange it?"
    file = tmp_path / "outs.jsonl"
    rows = [{"prompt": None, "prompt_id": "7", "arm": "base", "text": text}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {row.name: row for row in file_findings(file, asked=ScoringOptions()).diagnostics}
    needs = ("copied words", "prompt copied back", "unsupported name", "misspelt from prompt", "question kept")
    assert {name: found[name].arms["base"] for name in needs} == dict.fromkeys(needs)
    assert found["copied headers"].arms["base"] == found["second document"].arms["base"] == 1.0
    rows[0] |= {"prompt": "POST: The bank lost my money. How can I manage it?"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = {row.name: row for row in file_findings(file, asked=ScoringOptions()).diagnostics}
    assert known["misspelt from prompt"].examples[0].quote == "mange for manage"
    assert known["question kept"].arms["base"] == 1.0
