"""A tiny model, rows it can learn, and a watcher that remembers: what tests of whole trials stand on."""

import json
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from finetrial.workflow.context import TrialContext
from finetrial.workflow.step_states import StepStates
from finetrial.workflow.trial_steps import trial_steps
from finetrial.workflow.walk import step_states

ANIMALS = ["cat", "dog", "fox", "owl", "hen", "cow", "bee", "ant", "elk", "bat"]
PLACES = ["barn", "wood", "yard", "field", "loft", "pond", "hill", "lane"]

TRIAL = """\
trial: tiny
model: ./model
data:
  source: rows.jsonl
  template: "{prompt}\\nTL;DR:"
  max_tokens: 64
  validation: 8
  heldout: 10
arms:
  base:
  prompted: {shots: 1}
  full: {method: full, learning_rate: 3e-3}
  lora: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}
training: {epochs: 2, batch_tokens: 256, precision: float32, evaluations: 2}
sampling: {prompts: 6, per_prompt: 2, max_new_tokens: 6}
judging: {grade_prompts: 2}
"""


class Lines:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step(self, label, *, done, total, detail="", seconds_left=None) -> None:
        assert 0 <= done <= total

    def end(self) -> None:
        pass

    def take(self) -> list[str]:
        taken, self.lines = self.lines, []
        return taken


def make_model(folder: Path, texts: list[str]) -> None:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        bos_token_id=end,
        eos_token_id=end,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)


def make_base(base: Path, *, heldout: bool = False) -> None:
    """Write rows and a model into a folder. `heldout`: rows to hold out stand in a file of their own."""
    rows = [
        {"prompt": f"The {a} ran to the {p} and did not come back.", "completion": f"{a} lost in {p}"}
        for a in ANIMALS
        for p in PLACES
    ]
    held = rows[::8] if heldout else []
    if heldout:
        (base / "heldout.jsonl").write_text("".join(json.dumps(r) + "\n" for r in held))
    (base / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows if r not in held))
    make_model(base / "model", [r["prompt"] + r["completion"] for r in rows])


def states_of(context: TrialContext) -> StepStates:
    """What is current of a trial, and what must run again and why."""
    return step_states(trial_steps(context), manifest=context.manifest)
