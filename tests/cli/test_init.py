"""What `finetrial init` writes for a table: columns, alternatives, and metrics that fit its completions."""

import csv
import json
from pathlib import Path

import pytest
from trials import SHARED, write_jsonl

from finetrial.cli.main import dispatch
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import load_trial

REVIEWS = [
    {"review": f"The {'lovely' if i % 3 else 'awful'} lamp {i}.", "label": int(i % 3 > 0)} for i in range(60)
]


@pytest.fixture
def init(tmp_path, capsys, monkeypatch):
    """Run `init` on rows and give its JSON with the file that it wrote, and the trial in it."""
    monkeypatch.chdir(tmp_path)

    def run(rows, *options, name="a.jsonl"):
        if rows is not None:
            write_jsonl(tmp_path / name, rows)
        status = dispatch(["init", "--data", name, "--model", "gpt2", "--force", "--json", *options])
        said = json.loads(capsys.readouterr().out)
        if status:
            return said["error"]
        return said, Path(said["file"]).read_text(), load_trial(Path(said["file"]))

    return run


def everything(loaded):
    splits = read_splits(loaded)
    return [*splits.train, *splits.validation, *splits.heldout]


def test_integer_labels_are_labels_that_exact_match_decides_and_the_template_names(init):
    said, text, loaded = init(REVIEWS)
    assert (said["prompt"], said["completion"], said["completions"]) == ("review", "label", "labels")
    assert said["alternatives"] == []
    assert (loaded.trial.judging.primary, loaded.trial.judging.metrics) == (
        "exact",
        ("exact", "macro_f1", "exact_squad"),
    )
    assert loaded.trial.data.template == "{prompt}\nAnswer with one of: 0, 1.\nAnswer:"
    assert loaded.trial.judging.grade_prompts == 0 and "2 different ones" in text
    assert {e.references for e in everything(loaded)} == {("0",), ("1",)}


def test_boolean_labels_are_spelt_as_in_json(init):
    _, _, loaded = init([{"prompt": f"p{i}", "completion": i % 2 == 0} for i in range(20)])
    assert {e.references for e in everything(loaded)} == {("true",), ("false",)}


def test_json_values_are_serialised_with_sorted_keys_and_scored_by_their_fields(init):
    rows = [{"text": f"{i} pieces", "output": {"unit": "pie{ce", "count": i}} for i in range(40)]
    said, _, loaded = init(rows)
    assert said["completions"] == "JSON"
    assert (loaded.trial.judging.primary, loaded.trial.judging.metrics) == ("json_fields", ("json_fields", "json"))
    assert "fields count, unit" in loaded.trial.data.template
    assert '{"count": 7, "unit": "pie{ce"}' in {e.references[0] for e in everything(loaded)}


def test_a_list_of_texts_is_several_references_unless_the_column_holds_json(init):
    texts = [{"prompt": f"p{i}", "completion": ["a", f"b{i}"]} for i in range(20)]
    assert {len(e.references) for e in everything(init(texts)[2])} == {2}
    found = init([{"prompt": f"p{i}", "completion": [{"name": i}] if i % 2 else []} for i in range(20)])
    assert {e.references[0] for e in everything(found[2])} >= {"[]", '[{"name": 3}]'}
    assert found[0]["primary"] == "json_fields"


def test_a_criterion_makes_people_s_grades_decide_with_the_metric_beside_them(init):
    rows = [{"prompt": f"p{i}", "completion": f"Reply number {i}."} for i in range(40)]
    said, text, loaded = init(rows, "--criterion", 'Is it "true" & short: yes?')
    judging = loaded.trial.judging
    assert (said["primary"], judging.primary) == ("grade", "grade")
    assert judging.criterion == 'Is it "true" & short: yes?' and judging.grade_prompts == "auto"
    assert judging.metrics == ("rouge1", "rouge2", "rougeL") and "or rouge1" in text
    labels = init(REVIEWS, "--criterion", "Is it the right label?")[2].trial.judging
    assert (labels.primary, labels.grade_prompts) == ("grade", "auto")


def test_free_text_is_scored_by_rouge_and_graded(init):
    said, _, loaded = init([{"prompt": f"p{i}", "completion": f"Reply number {i}."} for i in range(40)])
    assert said["completions"] == "text" and loaded.trial.judging.primary == "rouge1"
    assert loaded.trial.judging.grade_prompts == "auto" and loaded.trial.data.template == "{prompt}"


def test_the_name_of_the_completions_is_the_cue_where_it_is_one(init):
    rows = [{"ticket": f"t{i}", "reply": f"Reply number {i}."} for i in range(40)]
    assert init(rows)[2].trial.data.template == "{prompt}\nReply:"


def test_columns_without_a_known_name_give_a_file_with_the_alternatives(init):
    rows = [{"frage": f"Wie alt ist {i}?", "antwort": f"Es ist {i}."} for i in range(30)]
    said, text, loaded = init(rows)
    assert (loaded.trial.data.prompt, loaded.trial.data.completion) == ("frage", "antwort")
    assert said["alternatives"] == [{"prompt": "antwort", "completion": "frage"}]
    assert "the names do not say which is which" in text
    # the comment mark taken off, the other pair is read
    other = text.replace("  prompt: frage\n  completion: antwort\n", "").replace("  # prompt:", "  prompt:")
    Path("other.yaml").write_text(other.replace("  # completion:", "  completion:"))
    assert everything(load_trial(Path("other.yaml")))[0].prompt.startswith("Es ist")


def test_columns_that_fit_twice_give_a_file_too(init):
    row = {"question": "q", "answer": "a", "text": "t", "summary": "s"}
    said, text, _ = init([{key: f"{value} {i}" for key, value in row.items()} for i in range(30)])
    pairs = {(p["prompt"], p["completion"]) for p in [said, *said["alternatives"]]}
    assert {("question", "answer"), ("text", "summary")} <= pairs and text.count("# prompt:") == 3


def test_columns_that_are_named_are_taken_and_a_wrong_name_is_told(init):
    rows = [{"a": f"x {i}", "b": f"y {i}", "label": "z"} for i in range(30)]
    said, _, loaded = init(rows, "--prompt", "b", "--completion", "a")
    assert (loaded.trial.data.prompt, loaded.trial.data.completion, said["alternatives"]) == ("b", "a", [])
    assert init(rows, "--prompt", "a")[0]["completion"] == "label"
    assert "Did you mean 'label'" in init(rows, "--completion", "lable")["fix"]


def test_chats_in_a_column_of_any_name_are_found_when_it_is_named(init):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    said, _, loaded = init([{"talk": turns, "n": i} for i in range(20)], "--prompt", "talk")
    assert said["format"] == "messages" and loaded.trial.data.prompt == "talk"


def test_chats_for_a_model_without_a_chat_template_are_shown_as_text(init, tmp_path):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": turns, "n": i} for i in range(20)]
    assert init(rows, "--model", "starter")[2].trial.data.template == "{prompt}\nassistant:"
    (tmp_path / "mine").mkdir()
    settings = tmp_path / "mine" / "tokenizer_config.json"
    settings.write_text('{"chat_template": "x"}')
    assert init(rows, "--model", "mine")[2].trial.data.template == "{prompt}"
    settings.write_text("{}")
    assert init(rows, "--model", "mine")[2].trial.data.template == "{prompt}\nassistant:"
    assert '# template: "{prompt}\\nassistant:"' in init(rows)[1]  # a hub id, which is not looked up


def test_a_table_with_one_column_of_text_is_still_refused(init):
    refused = init([{"name": f"n{i}", "size": i, "empty": ""} for i in range(20)])
    assert refused["what"].startswith("no two columns") and "(empty: empty)" in refused["got"]
    assert "--prompt and --completion" in refused["fix"]


def test_a_column_that_is_named_and_empty_is_named_in_the_refusal(init):
    rows = [{"text": f"ticket {i}", "notes": ""} for i in range(20)]
    assert "column 'notes' is empty" in init(rows, "--prompt", "text", "--completion", "notes")["got"]


def test_empty_completions_are_dropped_and_said(init):
    rows = [{"prompt": f"p{i}", "completion": "" if i % 10 == 0 else f"r{i}"} for i in range(40)]
    said, text, loaded = init(rows)
    assert loaded.trial.data.empty == "drop" and "dropped 4 of 40 rows" in said["note"]
    assert "# 36 examples" in text and len(everything(loaded)) == 36


def test_the_file_names_every_metric(init):
    from finetrial.metrics.metric_table import METRICS

    text = init(REVIEWS)[1]
    named = [metric.name for metric in METRICS if metric.name in text]
    assert {m.name for m in METRICS} - set(named) == {f"rouge{n}" for n in range(2, 9)}
    assert "regex:PATTERN" in text and max(map(len, text.splitlines())) <= 116


def test_people_summaries_are_free_text(init):
    path = SHARED / "scitldr_dev.jsonl"
    if not path.exists():
        pytest.skip(f"NOT TESTED: {path} is not here")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    said, _, loaded = init(rows)
    assert said["completions"] == "text" and said["primary"] == "rouge1" and len(everything(loaded)) == len(rows)


def test_a_table_of_tickets_with_a_customer_column_needs_no_edit(init, tmp_path):
    with (tmp_path / "tickets.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "customer", "ticket", "reply"])
        table.writerows([i, f"c{i % 30}", f"My lamp {i} broke.", f"We send lamp {i}, today."] for i in range(90))
    said, _, loaded = init(None, name="tickets.csv")
    assert (said["prompt"], said["completion"], said["group"]) == ("ticket", "reply", "customer")
    assert said["alternatives"] == []
    assert len(everything(loaded)) == 90
