"""A metric of the user's own reads columns of the data; those that it reads are stored and check the trial."""

import json
import shutil

import pytest
from tiny_trials import TRIAL, make_base

from finetrial import Trial
from finetrial.errors import UserError
from finetrial.evidence.sample_scores import check_metrics, heldout_sample
from finetrial.evidence.trial_findings import read_samples
from finetrial.store.layout import TrialFolder
from finetrial.store.records import PromptColumns, Score, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import load_trial

# How many of the words that the row lists stand in the text; a column of lists, which no template could show.
OWN = """
def listed(text, references, *, prompt, row):
    assert prompt.startswith("The ") and row.arm in ("base", "full", "heldout")
    return sum(word in text for word in row["words"]) / len(row["words"])


def weights(texts, references, rows):
    return [row["weight"] for row in rows]


def stray(text, references, row):
    return row["wight"]
"""
METRICS = "[rubric.py:listed, rubric.py:weights, exact]"
JUDGING = f"judging: {{primary: rubric.py:listed, metrics: {METRICS}, grade_prompts: 0}}"


def rewritten(base, change):
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]
    (base / "rows.jsonl").write_text("".join(json.dumps(change(row, i)) + "\n" for i, row in enumerate(rows)))


@pytest.fixture
def base(tmp_path):
    make_base(tmp_path)
    rewritten(tmp_path, lambda row, i: row | {"words": row["completion"].split(), "weight": i / 4, "unread": [i]})
    (tmp_path / "rubric.py").write_text(OWN)
    text = TRIAL.replace("judging: {grade_prompts: 2}", JUDGING)
    for arm in ("prompted: {shots: 1}", "lora: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}"):
        text = text.replace(f"  {arm}\n", "")
    (tmp_path / "tiny.yaml").write_text(text)
    return tmp_path


def test_columns_that_a_metric_reads_are_stored_and_verify_the_trial_without_the_data(base, tmp_path_factory):
    trial = Trial.load(base / "tiny.yaml")
    trial.run(progress=False)
    folder = trial.folder
    splits = read_splits(load_trial(base / "tiny.yaml"))
    data = {example.id: example.columns for example in splits.heldout}
    stored = {row.prompt_id: row.columns for row in read_rows(folder.columns, PromptColumns)}
    assert len(stored) == 6
    for prompt_id, columns in stored.items():
        assert columns == {name: data[prompt_id][name] for name in ("words", "weight")}  # and not the unread one
    scores = [s for s in read_rows(folder.scores, Score) if s.metric == "rubric.py:weights"]
    assert len(scores) == 2 * 6 * 2
    assert all(s.value == stored[s.sample_id.split("/")[1]]["weight"] for s in scores)
    # the folder alone, elsewhere: every score is computed anew
    copied = tmp_path_factory.mktemp("elsewhere") / "bundle"
    shutil.copytree(folder.root, copied)
    shutil.rmtree(base)
    found = Trial.load(copied).verify(run_own_metrics=True)
    assert found.holds, found.mismatches
    assert found.scores == 3 * 24
    unrun = Trial.load(copied).verify()
    assert unrun.holds and unrun.scores == 24 and unrun.given == 2 * 24, "code of a bundle is not run unasked"
    assert "words" in read_samples(TrialFolder(copied), arms=("base",))[0].columns


def test_a_changed_column_is_scored_anew_and_no_arm_is_sampled_again(base):
    trial = Trial.load(base / "tiny.yaml")
    trial.run(progress=False)
    before = (trial.folder.samples("base").read_bytes(), trial.folder.scores.read_text())
    rewritten(base, lambda row, i: row | {"weight": 7.5})
    Trial.load(base / "tiny.yaml").run(progress=False)
    assert trial.folder.samples("base").read_bytes() == before[0] and trial.folder.scores.read_text() != before[1]
    weights = {s.value for s in read_rows(trial.folder.scores, Score) if s.metric == "rubric.py:weights"}
    assert weights == {7.5}


def test_a_column_that_is_not_there_is_told_before_anything_is_tuned(base):
    loaded = load_trial(base / "tiny.yaml", overrides=["judging.primary=rubric.py:stray"])
    example = read_splits(loaded).heldout[0]
    with pytest.raises(UserError, match=r"no column 'wight', of prompt, completion, words, weight, unread"):
        check_metrics(loaded.trial.judging, base=base, example=heldout_sample(example))
