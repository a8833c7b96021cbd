"""Every key of a trial file is explained, in the terminal, the docs and for editors, and nothing else is."""

import json
from pathlib import Path

import yaml

from finetrial.cli.main import dispatch
from finetrial.trial.key_reference import json_schema, key_entries, reference_text
from finetrial.trial.key_texts import KEY_TEXTS
from finetrial.trial.trial_file import parse_trial

DOCS = Path(__file__).parents[2] / "docs" / "trial-file.md"


def test_every_key_has_a_text_and_every_text_a_key():
    paths = {entry.path.replace("arms.NAME.", "arms.") for entry in key_entries()}
    assert paths == set(KEY_TEXTS) and len(paths) > 90


def test_every_example_is_a_value_that_its_key_takes():
    tried = 0
    for entry in key_entries():
        if "." not in entry.path:
            continue
        content = {"trial": "t", "model": "m", "data": {"source": "a.jsonl"}, "arms": {"base": {}}}
        value = yaml.safe_load(entry.example)
        if entry.path.startswith("arms.NAME."):
            key = entry.path.removeprefix("arms.NAME.")
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
            section, _, key = entry.path.partition(".")
            content[section] = {**content.get(section, {}), key: value}
            if key == "strip":
                content[section]["max_new_tokens"] = 64
        parse_trial(yaml.safe_dump(content), origin=entry.path)
        tried += 1
    assert tried > 80


def test_the_reference_in_the_docs_is_what_the_command_prints(capsys):
    assert dispatch(["explain", "--markdown"]) == 0
    assert capsys.readouterr().out == reference_text() == DOCS.read_text(encoding="utf-8")


def test_one_key_is_explained_as_a_trial_file_names_it(capsys):
    assert dispatch(["explain", "arms.lora.rank"]) == 0
    out = capsys.readouterr().out
    assert "whole number (from 1)" in out and "default  256 (vera), 8 (lora)" in out and "example  rank: 8" in out
    assert max(map(len, out.splitlines())) <= 80
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
