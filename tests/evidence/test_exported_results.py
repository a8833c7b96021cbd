"""Results in the forms in which others collect them, and people's grades as preference pairs."""

import json

import pytest
import yaml
from grading_material import distinct_samples, make_folder

from finetrial.cli.main import dispatch
from finetrial.evidence.exported_results import EvaluatedArm, EvaluatedOn, every_eval_ever, model_index
from finetrial.evidence.findings import Findings, Interval
from finetrial.judging.export_grades import Shape, save_grades
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.judge import Judgement, grade_items
from finetrial.store.records import Item, ItemPair, read_rows

ROWS = [
    {"prompt": f"p{n}", "arm": arm, "text": f"a b {word}", "reference": "a b c"}
    for n in range(4)
    for arm, word in (("ours", "c"), ("their model", "d"))
]


@pytest.fixture
def outputs(tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_every_eval_ever_gets_a_record_an_arm_with_all_that_its_schema_requires(outputs, tmp_path):
    saved = tmp_path / "saved"
    assert dispatch(["score", str(outputs), "--metric", "rouge1", "--save", str(saved), "--json"]) == 0
    assert sorted(path.name for path in saved.iterdir()) == ["ours.json", "their-model.json"]
    record = json.loads((saved / "their-model.json").read_text())
    # what eval.schema.json 0.3.0 requires, with the types that it gives
    for key in ("schema_version", "evaluation_id", "retrieved_timestamp"):
        assert isinstance(record[key], str)
    assert record["schema_version"] == "0.3.0" and record["retrieved_timestamp"].isdigit()
    assert record["evaluation_id"].startswith("outputs/their model/")
    assert record["source_metadata"]["source_type"] == "evaluation_run"
    assert record["source_metadata"]["evaluator_relationship"] in ("first_party", "third_party", "other")
    assert record["eval_library"]["name"] == "finetrial"
    assert set(record["model_info"]) == {"name", "id", "additional_details"}
    assert record["model_info"]["additional_details"] == {
        "deployment_type": "unknown",
        "model_availability": "unknown",
    }
    (result,) = record["evaluation_results"]
    assert result["source_data"] == {"dataset_name": "outputs", "source_type": "other"}
    config = result["metric_config"]
    assert (config["metric_id"], config["lower_is_better"], config["min_score"], config["max_score"]) == (
        *("rouge1", False),
        *(0.0, 1.0),
    )
    # two of three words on either side: precision and recall are 2/3, and so is F1
    assert result["score_details"]["score"] == pytest.approx(2 / 3)
    assert result["score_details"]["uncertainty"]["num_samples"] == 4


def test_an_arms_model_and_sampling_go_along_and_an_undefined_mean_does_not():
    row = Interval(0.2, 0.6, 0.4, n_prompts=9, n_units=9)
    findings = Findings(
        intervals={"rouge1": {"a": row}, "f1": {"a": Interval(None, None, None)}, "loss": {"a": row}}
    )
    arm = EvaluatedArm(model="org/m", is_served_elsewhere=True, generation={"temperature": 0.0, "max_tokens": 8})
    on = EvaluatedOn(name="t", hub_dataset="org/data", arms={"a": arm}, lower_is_better=["loss"])
    record = every_eval_ever(findings, on=on, at=1_700_000_000.4)["a"]
    assert record["retrieved_timestamp"] == "1700000000" and record["model_info"]["id"] == "org/m"
    assert record["model_info"]["additional_details"]["deployment_type"] == "externally_managed"
    rouge, loss = record["evaluation_results"]
    assert loss["metric_config"]["lower_is_better"] and rouge["source_data"]["hf_repo"] == "org/data"
    assert rouge["generation_config"]["generation_args"]["max_tokens"] == 8
    interval = rouge["score_details"]["uncertainty"]["confidence_interval"]
    assert interval == {"lower": 0.2, "upper": 0.6, "confidence_level": 0.95}
    block = model_index(findings, on=on)["a"]["model-index"][0]
    assert [metric["value"] for metric in block["results"][0]["metrics"]] == [0.4, 0.4]


def test_the_hubs_model_index_is_what_its_own_library_reads(outputs, tmp_path):
    saved = tmp_path / "cards"
    command = ["score", str(outputs), "--metric", "rouge1", "--save", str(saved), "--as", "model_index", "--json"]
    assert dispatch(command) == 0
    content = yaml.safe_load((saved / "ours.yaml").read_text())
    cards = pytest.importorskip("huggingface_hub.repocard_data")  # comes with transformers
    name, results = cards.model_index_to_eval_results(content["model-index"])
    (result,) = results
    assert name == "ours" and (result.metric_type, result.metric_value, result.dataset_name) == (
        *("rouge1", 1.0),
        "outputs",
    )
    assert dispatch([*command[:-3], "--as", "nosuch"]) == 2


def test_grades_become_pairs_of_a_chosen_and_a_rejected_text_under_one_prompt(tmp_path):
    folder = make_folder(tmp_path / "trial", distinct_samples(prompts=2, per_prompt=2), grade_prompts=2)
    ask = lambda item, settings: Judgement("good" if item.text.endswith("version 0") else "bad", (), None)
    grade_items(folder, rater="picky", question=ask)
    written = save_grades(folder, tmp_path / "dpo.jsonl", shape=Shape.PAIRS)
    assert (written.rows, written.left_out) == (18, 0)
    rows = [json.loads(line) for line in (tmp_path / "dpo.jsonl").read_text().splitlines()]
    assert rows and all(set(row) == {"prompt", "chosen", "rejected"} for row in rows)
    assert all(row["chosen"].endswith("version 0") and row["rejected"].endswith("version 1") for row in rows)
    by_prompt = {prompt: [row for row in rows if row["prompt"] == prompt] for prompt in {r["prompt"] for r in rows}}
    # three arms with two samples each: three good texts before three bad ones make nine pairs
    assert [len(of_one) for of_one in by_prompt.values()] == [9, 9]


def test_where_raters_chose_between_two_texts_their_choice_is_the_pair_and_a_tie_is_none(tmp_path):
    folder = make_folder(tmp_path / "trial", distinct_samples(prompts=1, per_prompt=1), grade_prompts=1)
    items = {item.item_id: item for item in read_rows(folder.items, Item)}
    pairs = sorted(read_rows(folder.pairs, ItemPair), key=lambda pair: pair.pair_id)
    assert len(pairs) == 3, "three arms, every two"
    session = GradingSession(folder)
    session.book.join("Anna")
    for n, (pair, value) in enumerate(zip(pairs, ("second", "tie", "first"), strict=True)):
        event = {"uid": f"uid-{n:08}", "kind": "grade", "mode": "pairs", "item_id": pair.pair_id, "value": value}
        session.record({**event, "left": "first"}, rater="Anna")
    session.close()
    written = save_grades(folder, tmp_path / "dpo.jsonl", shape=Shape.PAIRS)
    assert (written.rows, written.left_out) == (2, 1)
    rows = [json.loads(line) for line in (tmp_path / "dpo.jsonl").read_text().splitlines()]
    assert [(row["chosen"], row["rejected"]) for row in rows] == [
        (items[pairs[0].second].text, items[pairs[0].first].text),
        (items[pairs[2].first].text, items[pairs[2].second].text),
    ]
