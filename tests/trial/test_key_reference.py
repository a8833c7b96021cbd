"""Every key of a trial file is explained, in the terminal, the docs and for editors, and nothing else is."""

import json
from pathlib import Path

import yaml

from finetrial.cli.main import dispatch
from finetrial.trial.key_reference import json_schema, key_entries, reference_text
from finetrial.trial.key_texts import KEY_TEXTS, text_name
from finetrial.trial.trial_file import parse_trial

DOCS = Path(__file__).parents[2] / "docs" / "trial-file.md"


SERVER = {"url": "http://127.0.0.1:8000/v1", "model": "m"}
PRICES = {"input_million": 1, "output_million": 2}
# What must stand beside any key inside these mappings.
BESIDE = {
    "data.source": {"train": "a.jsonl"},
    "judging.scale": {"labels": ["excellent", "usable", "wrong"], "good": ["excellent"]},
    "judging.judges": {"name": "qwen", "endpoint": SERVER, "prices": PRICES},
    "judging.judges.endpoint": SERVER,
    "judging.judges.prices": PRICES,
    "judging.stopping": {"margin": 0.1},
    "arms.NAME.endpoint": {**SERVER, "prices": PRICES},
    "arms.NAME.endpoint.prices": PRICES,
}


def test_every_key_has_a_text_and_every_text_a_key():
    entries = key_entries()
    assert {text_name(entry.path) for entry in entries} == set(KEY_TEXTS) and len(KEY_TEXTS) > 130
    paths = [entry.path for entry in entries]
    assert len(paths) == len(set(paths)) > 150


def inside(path, value):
    """(key, its value) of the section, or of the arm, in which a key has a value."""
    parent, _, key = path.rpartition(".")
    if "." not in parent or parent == "arms.NAME":
        return key, value
    whole = {**BESIDE.get(parent, {}), key: value}
    if path == "judging.judges.model":
        del whole["endpoint"]
    return inside(parent, [whole] if parent == "judging.judges" else whole)


def content_of(entry):
    """The smallest trial file in which a key has its example."""
    content = {"trial": "t", "model": "m", "data": {"source": "a.jsonl"}, "arms": {"base": {}}}
    key, value = inside(entry.path, yaml.safe_load(entry.example))
    if entry.path.startswith("arms.NAME."):
        arm = {"method": "full"} if key in ("learning_rate", "epochs", "rows") else {}
        if entry.methods and entry.methods[-1] != "external":
            arm = {"method": "lora" if "lora" in entry.methods else entry.methods[0]}
        if key == "trained_on":
            arm = {"adapter": "./a"}
        if entry.methods == ("deployed",):
            arm = {"of": "lora", "as": "gguf" if key == "file" else "merged"}
            content["arms"]["lora"] = {"method": "lora"}
        content["arms"]["mine"] = arm | {key: value}
    else:
        section = entry.path.partition(".")[0]
        content[section] = {**content.get(section, {}), key: value}
        if key == "strip":
            content[section]["max_new_tokens"] = 64
    return content


def test_every_example_is_a_value_that_its_key_takes():
    tried = [entry for entry in key_entries() if "." in entry.path]
    for entry in tried:
        parse_trial(yaml.safe_dump(content_of(entry)), origin=entry.path)
    assert len(tried) > 140


def test_the_reference_in_the_docs_is_what_the_command_prints(capsys):
    assert dispatch(["explain", "--markdown"]) == 0
    assert capsys.readouterr().out == reference_text() == DOCS.read_text(encoding="utf-8")


def test_one_key_is_explained_as_a_trial_file_names_it(capsys):
    assert dispatch(["explain", "arms.lora.rank"]) == 0
    out = capsys.readouterr().out
    assert "whole number (from 1)" in out and "default  256 (vera), 8 (lora)" in out and "example  rank: 8" in out
    assert max(map(len, out.splitlines())) <= 80
    assert dispatch(["explain", "judging.judges.budget.money"]) == 0
    assert "number (above 0)" in capsys.readouterr().out
    assert dispatch(["explain", "arms.served.endpoint.url"]) == 0 and "must be given" in capsys.readouterr().out
    assert dispatch(["explain", "data.tempalte"]) == 2
    assert "Did you mean 'data.template'?" in capsys.readouterr().err


def test_the_schema_for_editors_knows_the_keys_and_their_words(capsys):
    assert dispatch(["explain", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json_schema() and schema["required"] == ["trial", "model", "data", "arms"]
    assert set(schema["properties"]["data"]["properties"]["overlong"]["enum"]) == {"refuse", "cut"}
    arm = schema["properties"]["arms"]["additionalProperties"]["anyOf"][0]
    assert arm["properties"]["rank"]["type"] == "integer" and "lora" in arm["properties"]["method"]["enum"]
    assert not arm["additionalProperties"]
    judge = schema["properties"]["judging"]["properties"]["judges"]["items"]["properties"]
    assert set(judge["order"]["enum"]) == {"both", "one"}
    (endpoint,) = [kind for kind in judge["endpoint"]["anyOf"] if kind["type"] == "object"]
    assert "key_env" in endpoint["properties"] and not endpoint["additionalProperties"]
