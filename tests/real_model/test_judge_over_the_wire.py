"""A judge that a real server answers, and one in this process: the real small model, by both ways."""

import importlib.util

import pytest
from grading_material import make_folder, sample
from real_servers import transformers_serve

from finetrial.judging.model_judge import run_judge
from finetrial.store.grades import read_grades
from finetrial.store.model_answers import read_answers
from finetrial.trial.judges import JudgeSetting
from finetrial.trial.trial_file import LoadedTrial, parse_trial
from finetrial.workflow.local_judge import LocalJudge

TEXTS = ("Paris is the capital of France.", "I like bananas and cannot say.")


def small_folder(root, judge):
    rows = [
        sample(arm, n, 0, text, source=f"What is the capital of France? ({n})")
        for n in range(3)
        for arm, text in zip(("base", "lora"), TEXTS, strict=True)
    ]
    return make_folder(root, rows, grade_prompts=1, judges=[judge], criterion="Is the answer right?")


@pytest.fixture(scope="module")
def served(real_model_folder):
    """`transformers serve` with the real model; skipped where its own dependencies are not installed."""
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("openai") is None:
        pytest.skip("transformers serve needs fastapi and openai: pip install 'transformers[serving]'")
    with transformers_serve(real_model_folder) as url:
        yield url, str(real_model_folder)


@pytest.mark.long
def test_transformers_serve_answers_every_question_and_nonsense_is_counted(served, tmp_path):
    url, model = served
    setting = {"name": "small", "endpoint": {"url": url, "model": model}, "max_tokens": 40, "concurrency": 2}
    judge = JudgeSetting.model_validate({**setting, "timeout_seconds": 300})
    folder = small_folder(tmp_path / "served", judge)
    done = run_judge(folder, judge)
    rows = [row for row in read_answers(folder.judge("small")) if row.raw is not None]
    assert done.complete and done.questions == len(rows) == 6 and all(row.raw.strip() for row in rows)
    assert len(read_grades(folder)) == 6 - done.unreadable
    assert run_judge(folder, judge).asked == 0


@pytest.mark.long
def test_the_same_model_answers_in_this_process(real_model_folder, tmp_path):
    judge = JudgeSetting.model_validate({"name": "own", "model": str(real_model_folder), "max_tokens": 40})
    folder = small_folder(tmp_path / "own", judge)
    text = "trial: t\nmodel: gpt2\ndata: {source: x.jsonl}\narms: {base: {}}\n"
    loaded = LoadedTrial(trial=parse_trial(text, origin="trial.yaml"), base=tmp_path)
    done = run_judge(folder, judge, asker=LocalJudge(judge, loaded))
    rows = [row for row in read_answers(folder.judge("own")) if row.raw is not None]
    assert done.complete and len(rows) == 6 and all(row.raw.strip() and row.prompt_tokens > 50 for row in rows)
    assert len(read_grades(folder)) == 6 - done.unreadable
