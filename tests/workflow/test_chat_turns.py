"""A chat that an arm answered is read by raters turn by turn."""

import json

import torch
from tiny_trials import Lines, make_model
from transformers import AutoTokenizer

from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

TRIAL = """\
trial: chats
model: ./model
data: {source: rows.jsonl, format: messages, heldout: 4, validation: 4}
arms:
  base: {}
sampling: {prompts: 3, per_prompt: 1, max_new_tokens: 4}
judging: {grade_prompts: 3}
"""
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>\n{% endfor %}"


def rows():
    """Chats of three turns and of one turn before the answer."""
    for n in range(24):
        before = [("user", f"Hello {n}"), ("assistant", "Yes?"), ("user", f"What is {n}?")]
        turns = [*(before if n % 2 else before[2:]), ("assistant", f"It is {n}.")]
        yield {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_sampled_chats_reach_the_grading_page_as_turns(tmp_path):
    torch.set_num_threads(1)
    make_model(tmp_path / "model", [json.dumps(row) for row in rows()])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (tmp_path / "chats.yaml").write_text(TRIAL)
    folder = TrialFolder(tmp_path / "run")
    done = run_trial(TrialContext(load_trial(tmp_path / "chats.yaml"), folder, listener=Lines()))
    assert done.failures == {}
    items = list(read_rows(folder.items, Item))
    shown = {item.prompt: item.turns for item in items}
    asked = {n for n in range(24) if any(f"What is {n}?" in prompt for prompt in shown)}
    assert len(shown) == len(asked) == 3
    assert any(n % 2 for n in asked)  # else no chat of several turns was drawn
    for n in asked:
        if n % 2:
            prompt = f"user: Hello {n}\nassistant: Yes?\nuser: What is {n}?"
            turns = [("user", f"Hello {n}"), ("assistant", "Yes?"), ("user", f"What is {n}?")]
            assert list(map(tuple, shown[prompt])) == turns
        else:
            assert shown[f"What is {n}?"] is None  # one text, shown as one
