"""Rows as people have them are read: text parts, chats as JSON, other names of roles, tool calls and reasoning."""

import csv
import json

import pytest
from tiny_tokenizers import CHATML, TOOL_CHAT, byte_level
from trials import trial_with, write_jsonl

from finetrial.errors import UserError
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.models.encode import encode, encode_prompt
from finetrial.trial.data import read_splits
from finetrial.trial.examples import Message
from finetrial.trial.form import Form
from finetrial.trial.split_files import split_row
from finetrial.workflow.turn_fields import turn_field_findings

WHOLE = {"max_tokens": 999, "overlong": "refuse", "assistant_loss": "last"}
CHAT = Form(chat=True)
TEXT = Form(template="{prompt}\nassistant:")
QUESTIONS = [f"What is {n}?" for n in range(8)]
CALL = {"name": "weather", "arguments": {"city": "Graz"}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def chats(base, rows, **data):
    """Every example of these rows, in their order."""
    write_jsonl(base / "a.jsonl", rows)
    splits = read_splits(trial_with(base, source="a.jsonl", format="messages", validation=1, heldout=1, **data))
    return sorted((e for s in splits.by_name.values() for e in s), key=lambda e: int(e.origin.rpartition(":")[2]))


def asked(turn):
    return [{"messages": [{"role": "user", "content": question}, turn]} for question in QUESTIONS]


def shown(example, tokenizer, form=CHAT):
    """The example as training sees it, the trained part between marks."""
    found = encode(example, tokenizer=tokenizer, form=form, **WHOLE)
    first = found.trained.index(True)
    parts = (found.token_ids[:first], found.token_ids[first:])
    return "»".join(tokenizer.decode(list(ids)) for ids in parts)


def test_content_in_text_parts_is_their_text(tmp_path):
    parts = [{"type": "text", "text": "It is"}, {"type": "text", "text": "so."}]
    found = chats(tmp_path, asked({"role": "assistant", "content": parts}))
    assert found[0].messages == (Message("user", "What is 0?"), Message("assistant", "It is\nso."))
    assert found[0].references == ("It is\nso.",)
    one = chats(tmp_path, asked({"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}))
    assert one[0].references == ("Yes",)
    with pytest.raises(UserError, match=r"a\.jsonl:1, turn 2: a part of the content is not text; got image_url"):
        chats(tmp_path, asked({"role": "assistant", "content": [parts[0], {"type": "image_url", "image_url": {}}]}))


@pytest.mark.parametrize("spell", [json.dumps, str])
def test_chats_that_a_cell_spells_are_the_chats(tmp_path, spell):
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": 'It\'s "so".'}] for q in QUESTIONS]
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["messages"], *([spell(chat)] for chat in turns)])
    splits = read_splits(trial_with(tmp_path, source="a.csv", format="messages", validation=1, heldout=1))
    found = [e for s in splits.by_name.values() for e in s]
    assert {e.prompt for e in found} == set(QUESTIONS)
    assert {e.references for e in found} == {('It\'s "so".',)}


def test_a_cell_of_text_is_no_chat(tmp_path):
    with pytest.raises(UserError, match="the column 'messages' is not a chat; got str"):
        chats(tmp_path, [{"messages": "[1, 2, 3"}, {"messages": "[]"}])


def test_a_tool_call_is_what_the_template_makes_of_it(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Graz"}'}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    rows = [row | {"tools": TOOLS} for row in asked(turn)]
    found, tokenizer = chats(tmp_path, rows), byte_level(chat=TOOL_CHAT)
    assert shown(found[0], tokenizer) == (
        "<|im_start|>system\nTools: weather<|im_end|>\n<|im_start|>user\nWhat is 0?<|im_end|>\n"
        "<|im_start|>assistant\n»<tool_call>weather: Graz</tool_call><|im_end|>"
    )
    assert json.loads(found[0].references[0]) == CALL  # and as text, JSON
    assert shown(found[0], byte_level(), TEXT) == f"What is 0?\nassistant:» {json.dumps(CALL)}<|endoftext|>"
    prompt = encode_prompt(found[0], tokenizer=tokenizer, form=CHAT).text
    assert prompt.startswith("<|im_start|>system\nTools: weather") and "tool_call" not in prompt
    assert split_row(found[0])["messages"][1]["tool_calls"][0]["function"] == CALL
    assert split_row(found[0])["tools"] == TOOLS


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "human", "value": "Q"}, {"from": "function_call", "value": json.dumps(CALL)},
         {"from": "observation", "value": "18"}, {"from": "gpt", "value": "18 degrees"}],
        [{"role": "user", "content": "Q"}, {"role": "assistant", "content": None, "function_call": CALL},
         {"role": "function", "name": "weather", "content": "18"}, {"role": "assistant", "content": "18 degrees"}],
    ],
)  # fmt: skip
def test_other_spellings_of_a_call_are_one(tmp_path, turns):
    tools = json.dumps([TOOLS[0]["function"]])
    rows = [json.loads(json.dumps({"messages": turns, "tools": tools}).replace('"Q"', f'"Q{n}"')) for n in range(3)]
    example = chats(tmp_path, rows)[0]
    assert [turn.role for turn in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert example.messages[1].extra["tool_calls"] == [{"type": "function", "function": CALL}]
    assert example.tools == tuple(TOOLS)
    assert example.prompt == f"user: Q0\nassistant: {json.dumps(CALL)}\ntool: 18"


def test_check_says_what_becomes_of_reasoning_and_shows_it(tmp_path):
    turn = {"role": "assistant", "reasoning_content": "One more.", "content": "Five."}
    found = chats(tmp_path, asked(turn))
    for chat, said in ((TOOL_CHAT, "writes them"), (CHATML, "leaves them out: nothing of them is seen or trained")):
        tokenizer = byte_level(chat=chat)
        (finding,) = turn_field_findings(found, form=CHAT, tokenizer=tokenizer)
        assert finding.message.startswith("8 of 8 training chats have reasoning_content, and the chat template ")
        assert said in finding.message
        assert ("<think>One more.</think>Five." in shown(found[0], tokenizer)) == (chat is TOOL_CHAT)
    (finding,) = turn_field_findings(found, form=TEXT, tokenizer=byte_level())
    assert finding.message.endswith("as text they are shown without")
    assert found[0].references == ("Five.",)


def test_a_json_list_is_read_under_any_name_and_lines_under_json(tmp_path):
    rows = [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(6)]
    for name, text in (
        ("a.jsonl", json.dumps(rows)),
        ("b.jsonl", json.dumps(rows, indent=2)),
        ("c.json", "".join(json.dumps(row) + "\n" for row in rows)),
    ):
        (tmp_path / name).write_text(text)
        splits = read_splits(trial_with(tmp_path, source=name, validation=1, heldout=1))
        found = {(e.prompt, e.references) for s in splits.by_name.values() for e in s}
        assert found == {(f"p{n}", (f"c{n}",)) for n in range(6)}, name
    outputs = [row | {"arm": "a", "text": "t"} for row in rows]
    (tmp_path / "out.jsonl").write_text(json.dumps(outputs))
    assert len(read_outputs_file(tmp_path / "out.jsonl").samples) == 6
    (tmp_path / "out.jsonl").write_text(json.dumps([*outputs, 3]))
    with pytest.raises(UserError, match="row 7 is not an object"):
        read_outputs_file(tmp_path / "out.jsonl")


def test_labels_that_are_numbers_or_truth_values_are_spelt_as_json_spells_them(tmp_path):
    for values, spelt in (([0, 1], {"0", "1"}), ([True, False], {"true", "false"})):
        rows = [{"prompt": f"p{n}", "completion": values[n % 2]} for n in range(6)]
        write_jsonl(tmp_path / "a.jsonl", rows)
        splits = read_splits(trial_with(tmp_path, source="a.jsonl", validation=1, heldout=1))
        assert {e.references[0] for s in splits.by_name.values() for e in s} == spelt


def test_alpaca_rows_without_an_output_are_counted_and_left_out_on_request(tmp_path):
    rows = [{"instruction": f"do {n}", "input": "", "output": None if n % 4 == 0 else f"{n}"} for n in range(12)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"3 of 12 rows of a\.jsonl have an empty prompt or completion"):
        read_splits(trial_with(tmp_path, source="a.jsonl", validation=1, heldout=1))
    splits = read_splits(trial_with(tmp_path, source="a.jsonl", validation=1, heldout=1, empty="drop"))
    assert sum(len(s) for s in splits.by_name.values()) == 9
    assert any("dropped 3 of 12 rows of a.jsonl" in note for note in splits.notes)
