"""What goes to the hub is shown first, is whole, and holds no text of the trial; errors are one clear line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from local_hub import LocalHub
from tiny_trials import TRIAL, make_base

from finetrial.cli.main import dispatch

TOKEN = "hf_of_this_test"


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A whole small trial, with its report."""
    base = tmp_path_factory.mktemp("push")
    make_base(base)
    (base / "tiny.yaml").write_text(
        TRIAL.replace("grade_prompts: 2", "grade_prompts: 2, criterion: Names the animal.")
    )
    with contextlib.chdir(base), contextlib.redirect_stdout(io.StringIO()):
        assert dispatch(["run", "tiny.yaml"]) == 0
    return base


@pytest.fixture
def hub():
    started = LocalHub(token=TOKEN)
    yield started
    started.stop()


def here(arguments, *, base, capsys, status=0):
    """A command in this process, which loads torch once: what asks nothing of the hub."""
    with contextlib.chdir(base):
        assert dispatch(arguments) == status
    said = capsys.readouterr()
    return said.out if status == 0 else said.err


def push_or(arguments, *, base, **environment):
    """A command in a process of its own: the hub's library reads its settings when it is imported."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE"))}
    env |= {"HF_HOME": str(base / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    command = [sys.executable, "-m", "finetrial.cli.main", *arguments]
    return subprocess.run(command, cwd=base, env=env, capture_output=True, text=True)


def test_without_yes_all_is_shown_and_nothing_is_asked_of_the_hub(trial, hub):
    done = push_or(["push", "tiny.yaml", "lora", "--to", "me/tiny"], base=trial, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.requests == []
    for said in ("private model me/tiny", "adapter_model.safetensors", "model-index", "Nothing was sent"):
        assert said in done.stdout


def test_an_adapter_goes_with_its_card_and_no_path_or_text_of_the_trial(trial, hub):
    done = push_or(
        ["push", "tiny.yaml", "lora", "--to", "me/tiny", "--yes", "--json"],
        base=trial,
        HF_ENDPOINT=hub.url,
        HF_TOKEN=TOKEN,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["sent"] == f"{hub.url}/me/tiny" and said["private"]
    assert [(one["name"], one["private"]) for one in hub.made] == [("tiny", True)]
    sent = hub.files["models/me/tiny"]
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(sent)
    assert set(sent) == set(said["files"])
    assert {name: len(content) for name, content in sent.items()} == said["files"]
    config = json.loads(sent["adapter_config.json"])
    assert config["base_model_name_or_path"] == "model"
    rows = [json.loads(line) for line in (trial / "rows.jsonl").read_text().splitlines()]
    for name in ("README.md", "adapter_config.json", "tokenizer_config.json"):
        text = sent[name].decode()
        assert str(trial) not in text, name
        assert not any(row["prompt"] in text or row["completion"] in text for row in rows), name


def test_the_card_says_what_results_json_says(trial, capsys):
    said = here(["push", "tiny.yaml", "lora", "--to", "me/tiny", "--json"], base=trial, capsys=capsys)
    card = json.loads(said)["card"]
    results = json.loads((trial / "runs" / "tiny" / "report" / "results.json").read_text())
    head = yaml.safe_load(card.split("---\n")[1])
    index = head["model-index"][0]
    assert index["name"] == "lora" and head["library_name"] == "peft" and "base_model" not in head
    metrics = {one["type"]: one for one in index["results"][0]["metrics"]}
    assert set(metrics) == set(results["metrics"])
    for name, arms in results["metrics"].items():
        assert metrics[name]["value"] == arms["lora"]["mean"]
    for arm in results["arms"]:
        assert re.search(rf"^\| {arm} \| {results['metrics']['rouge1'][arm]['mean']:.3f}", card, re.M)
    assert results["verdict"] in card and results["recommendation"]["text"] in card
    assert "Names the animal" in card
    for name in ("trial file", "results"):
        assert re.search(rf"^- {name}: `[0-9a-f]{{64}}`$", card, re.M)


def test_a_merged_model_goes_whole(trial, capsys):
    asked = ["push", "tiny.yaml", "lora", "--to", "me/tiny", "--merged", "--out", "merged", "--json"]
    files = json.loads(here(asked, base=trial, capsys=capsys))["files"]
    assert "model.safetensors" in files and "adapter_config.json" not in files
    assert {path.name for path in (trial / "merged").iterdir()} == set(files)
    error = here(asked[:-1], base=trial, capsys=capsys, status=2)
    assert "there is something at merged" in error


def test_a_report_goes_as_a_static_space(trial, hub):
    done = push_or(
        ["push", "tiny.yaml", "--report", "--to", "me/report", "--public", "--yes"],
        base=trial,
        HF_ENDPOINT=hub.url,
        HF_TOKEN=TOKEN,
    )
    assert done.returncode == 0, done.stderr
    assert "The report shows prompts and answers" in done.stdout
    made = hub.made[0]
    assert made["type"] == "space" and made["sdk"] == "static" and not made["private"]
    sent = hub.files["spaces/me/report"]
    assert sent["index.html"] == (trial / "runs" / "tiny" / "report" / "index.html").read_bytes()
    head = yaml.safe_load(sent["README.md"].decode().split("---\n")[1])
    assert head["sdk"] == "static" and head["app_file"] == "index.html"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {"HF_HUB_OFFLINE": "1"}, "needs the hub; got HF_HUB_OFFLINE is set"),
        ([], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "needs the hub; got 127.0.0.1 does not answer"),
    ],
)
def test_without_a_network_the_error_is_one_line(trial, arguments, environment, said):
    done = push_or(["push", "tiny.yaml", "lora", "--to", "me/tiny", "--yes"], base=trial, **environment)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_without_a_token_or_with_a_wrong_one_the_error_is_one_line(trial, hub):
    asked = ["push", "tiny.yaml", "lora", "--to", "me/tiny", "--yes"]
    none = push_or(asked, base=trial, HF_ENDPOINT=hub.url)
    assert none.returncode == 2 and "there is no token for the hub" in none.stderr
    wrong = push_or(asked, base=trial, HF_ENDPOINT=hub.url, HF_TOKEN="hf_another")
    assert wrong.returncode == 2 and "status 401" in wrong.stderr and "It does not know the token" in wrong.stderr
    hub.refuse = 403
    refused = push_or(asked, base=trial, HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    assert refused.returncode == 2 and "The token may not write there" in refused.stderr
    for done in (none, wrong, refused):
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_cannot_be_pushed_is_refused(trial, capsys):
    for arguments, said in (
        (["lora", "--to", "tiny"], "expected OWNER/NAME"),
        (["nobody", "--to", "me/tiny"], "unknown arm"),
        (["prompted", "--report", "--to", "me/tiny"], "a report goes without a model"),
    ):
        assert said in here(["push", "tiny.yaml", *arguments], base=trial, capsys=capsys, status=2)
