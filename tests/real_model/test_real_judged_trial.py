"""The whole judged trial with the real model: in every arm, and as the judge behind two real servers.

Three arms, 40 prompts, 12 of them graded through the page by a stand-in. llama.cpp's server holds answers to the
schema and gives the first judge; `transformers serve` does not, and what its model says freely is counted. The
figures stand in docs/results/judges.md.
"""

import importlib.util
import itertools
import json
from pathlib import Path

import pytest
from killed_trial import grade_killed, judge_killed
from real_servers import CountingProxy, llama_cpp_server, transformers_serve

from finetrial.cli.main import dispatch
from finetrial.judging.model_judge import standing
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers
from finetrial.trial.trial_file import load_trial

EXAMPLE = Path(__file__).parents[2] / "examples" / "short_answers"
ARMS = {"base": {}, "prompted": {"shots": 3}, "lora": {"method": "lora", "rank": 8, "targets": ["q", "v"]}}
CONCURRENCY = 2


@pytest.fixture
def proxies(real_model, real_model_folder):
    """{judge: a counter before its server}; skipped where the servers' own dependencies are not installed."""
    for package in ("fastapi", "openai", "llama_cpp", "sse_starlette", "starlette_context"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("needs: pip install 'transformers[serving]' 'llama-cpp-python[server]'")
    with llama_cpp_server(real_model, alias="small") as held, transformers_serve(real_model_folder) as free:
        proxies = {"llm": CountingProxy(held), "free": CountingProxy(free)}
        yield proxies
        for proxy in proxies.values():
            proxy.close()


def judge(name, proxy, model, **more):
    endpoint = {"url": proxy.url, "model": str(model)}
    return {"name": name, "endpoint": endpoint, "concurrency": CONCURRENCY, "timeout_seconds": 300, **more}


@pytest.mark.long
def test_the_real_model_judges_over_real_servers_killed_on_the_way(proxies, real_model_folder, tmp_path):
    trial = {
        "trial": "judged",
        "model": str(real_model_folder),
        "data": {
            "source": str(EXAMPLE / "questions.jsonl"),
            "prompt": "question",
            "completion": "answer",
            "template": "{prompt} Answer with one word.",
            "max_tokens": 64,
            "validation": 10,
            "heldout": 40,
        },
        "arms": ARMS,
        "training": {"epochs": 4, "batch_tokens": 256},
        "sampling": {"prompts": 40, "per_prompt": 1, "temperature": 0.0},
        "judging": {
            "primary": "grade",
            "metrics": ["exact_squad"],
            "grade_prompts": 12,
            "estimator": "people+judge",
            "criterion": "Is the answer right?",
            "judges": [
                judge("llm", proxies["llm"], "small", max_tokens=100),
                judge("free", proxies["free"], real_model_folder, max_tokens=16),
            ],
        },
    }
    (tmp_path / "judged.yaml").write_text(json.dumps(trial))
    folder = TrialFolder(tmp_path / "run")
    where = ("judged.yaml", "--out", str(folder.root))
    commands = [("run", *where)] + [("judge", *where)] * 4
    kills = judge_killed(
        folder, commands, requests=lambda: sum(len(p.asked) for p in proxies.values()), after=35, seconds=1_800
    )
    assert kills >= 3, (tmp_path / "commands.log").read_text()
    for setting in load_trial(folder.root).trial.judging.judges:
        done, asked = standing(folder, setting), proxies[setting.name].not_refused
        rows = [row for row in read_answers(folder.judge(setting.name)) if row.raw is not None]
        assert done.complete and len(rows) == len({row.request_hash for row in rows}) == done.questions > 45
        assert {row.constrained for row in rows} == {True}, "both servers take a schema, and one follows it"
        assert len(set(asked)) == done.questions <= len(asked) <= done.questions + kills * CONCURRENCY
        print(
            f"{setting.name}: {done.questions} questions, {len(asked)} asked, {kills} kills, {done.unreadable} bad"
        )

    rows = map(json.loads, (EXAMPLE / "questions.jsonl").read_text().splitlines())
    right = {row["question"]: row["answer"].lower() for row in rows}

    def says(prompt, text):
        """Good where the right word stands in the answer."""
        (answer,) = {answer for question, answer in right.items() if question in prompt}
        return "good" if answer in text.lower() else "bad"

    texts = grade_killed(folder, says, after=(5, 10))
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert dispatch(["report", str(folder.root)]) == 0
    assert dispatch(["verify", str(folder.root)]) == 0
    held, free = json.loads((folder.report / "results.json").read_text())["judges"]
    assert held["decides"] and held["audit"]["reason"] is None and held["audit"]["n_texts"] > 0.8 * texts
    assert {(pair["a"], pair["b"]) for pair in held["pairs"]} == set(itertools.combinations(ARMS, 2))
    assert free["audit"]["unreadable"] > 0, "nothing holds it to the form"
    print(json.dumps(held, indent=1))
    print((folder.report / "report.md").read_text())
