"""What only trained weights can show: packing, merging, sampling, end tokens, chat form, precision, resumption.

Random weights are too kind: their hidden states are alike, their logits flat, their rounding small. Everything here
is measured on SmolLM2-135M-Instruct, with few and short rows.
"""

import os
import signal

import pytest
import torch
from arm_loading import load_arm
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.encode import encode_prompt, encode_split, end_ids
from finetrial.models.evaluate import mean_loss, measuring
from finetrial.models.loading import load_adapted, load_model
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Example
from finetrial.trial.form import Form
from finetrial.trial.resolve import Decoding

ROWS = [
    ("What is the capital of France?", "Paris."),
    ("Name the colours of the German flag, from the top down.", "Black, red and gold."),
    ("How many legs has a spider?", "Eight."),
    ("Which gas do plants take in, and which do they give off by day?", "Carbon dioxide in, oxygen out."),
    ("What is the opposite of cold?", "Hot."),
    ("Who wrote Romeo and Juliet, and about when was it first played?", "William Shakespeare, about 1595."),
]
EXAMPLES = [
    Example(id=f"r{i}", origin=f"r:{i}", prompt=prompt, references=(answer,), fields={"prompt": prompt})
    for i, (prompt, answer) in enumerate(ROWS)
]


@pytest.fixture(scope="module")
def model(real_model):
    return load_model(str(real_model))


@pytest.fixture(scope="module")
def stock(real_model_folder):
    """The same weights in transformers alone."""
    return AutoModelForCausalLM.from_pretrained(real_model_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(real_model_folder):
    return AutoTokenizer.from_pretrained(real_model_folder)


def encoded(tokenizer, *, chat):
    split = encode_split(
        EXAMPLES, tokenizer=tokenizer, form=Form(chat=chat), max_tokens=96, overlong="refuse", assistant_loss="last"
    )
    assert len(split.examples) == len(ROWS)
    return list(split.examples)


def stock_loss(stock, examples):
    """Cross-entropy of the trained tokens, one example at a time, as transformers computes logits."""
    total, count = 0.0, 0
    for example in examples:
        ids = torch.tensor(example.token_ids)
        with torch.no_grad():
            logprobs = stock(ids[None]).logits[0].log_softmax(dim=-1)
        for place in range(1, len(ids)):
            if example.trained[place]:
                total, count = total - float(logprobs[place - 1, ids[place]]), count + 1
    return total / count


# -- packing


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_packed_rows_have_the_losses_that_they_have_alone(model, stock, tokenizer, chat):
    rows = encoded(tokenizer, chat=chat)
    with measuring(model) as loss_model:
        assert loss_model.packed, "these weights may be packed"
    assert mean_loss(model, rows, micro_tokens=512) == pytest.approx(stock_loss(stock, rows), abs=2e-5)
    for row in rows:
        assert mean_loss(model, [row]) == pytest.approx(stock_loss(stock, [row]), abs=1e-4)


# -- chat form and end tokens


def test_a_row_in_chat_form_is_the_template_s_own_text_and_its_answer_is_trained_to_the_turn_s_end(tokenizer):
    rows, seen = encoded(tokenizer, chat=True), 0
    for row, (prompt, answer) in zip(rows, ROWS, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        assert whole.startswith(tokenizer.decode(row.token_ids)), "nothing but the template's text"
        trained = tokenizer.decode([t for t, on in zip(row.token_ids, row.trained, strict=True) if on])
        assert trained == f"{answer}<|im_end|>"
        seen += 1
    assert seen == len(ROWS)


def test_a_prompt_in_chat_form_ends_where_the_assistant_begins(tokenizer):
    found = encode_prompt(EXAMPLES[0], tokenizer=tokenizer, form=Form(chat=True))
    turns = [{"role": "user", "content": ROWS[0][0]}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert list(found.token_ids) == list(ids)


def asked(tokenizer, *examples):
    form = Form(chat=True)
    prompts = [encode_prompt(e, tokenizer=tokenizer, form=form) for e in examples]
    return [
        PromptTask(e.id, None, p.text, tuple(p.token_ids), e.references, e.prompt)
        for e, p in zip(examples, prompts, strict=True)
    ]


def greedy(model, tokenizer, tasks, *, tokens, **options):
    decoding = Decoding(per_prompt=1, max_new_tokens=tokens, temperature=0.0)
    ends = end_ids(tokenizer, chat=True)
    found = sample_arm(model, tokenizer, tasks, decoding=decoding, arm="base", ends=ends, **options)
    return {sample.prompt_id: sample for sample in found}


def test_the_end_of_a_turn_ends_an_answer_and_stands_in_no_text(model, tokenizer):
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in end_ids(tokenizer, chat=True)
    samples = greedy(model, tokenizer, asked(tokenizer, EXAMPLES[0]), tokens=48)
    sample = samples["r0"]
    assert sample.end_reason == "end_token" and sample.tokens < 48
    assert sample.token_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert "Paris" in sample.text and "<|" not in sample.text


# -- sampling


def test_greedy_answers_are_those_of_transformers_token_by_token(model, stock, tokenizer):
    tasks, tokens = asked(tokenizer, *EXAMPLES[:4]), 20
    together = greedy(model, tokenizer, tasks, tokens=tokens)
    seen = 0
    for task in tasks:
        ids = torch.tensor([task.token_ids])
        with torch.no_grad():
            out = stock.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        assert together[task.prompt_id].token_ids == tuple(out[0, ids.shape[1] :].tolist()), task.source
        seen += 1
    assert seen == 4


def test_an_answer_s_log_probability_is_that_of_the_untempered_model(model, stock, tokenizer):
    (task,) = asked(tokenizer, EXAMPLES[1])
    decoding = Decoding(per_prompt=2, max_new_tokens=12, temperature=0.8, seed=3)
    for sample in sample_arm(model, tokenizer, [task], decoding=decoding, arm="base"):
        ids = torch.tensor([[*task.token_ids, *sample.token_ids]])
        with torch.no_grad():
            logprobs = stock(ids).logits[0].log_softmax(dim=-1)
        start = len(task.token_ids) - 1
        expected = sum(float(logprobs[start + i, token]) for i, token in enumerate(sample.token_ids))
        assert sample.logprob == pytest.approx(expected, abs=1e-3)


# -- precision


def test_bfloat16_rounds_a_real_loss_little(model, real_model, tokenizer):
    rows = encoded(tokenizer, chat=True)
    wide = mean_loss(model, rows)
    narrow = mean_loss(load_model(str(real_model), dtype=torch.bfloat16), rows)
    # one part in 256 a number; over some forty tokens of about two nats
    assert narrow == pytest.approx(wide, rel=0.02)
    assert narrow != wide


# -- tuning


def lora_task(real_model, tokenizer, folder, **changes):
    rows = encoded(tokenizer, chat=True)
    return TuneTask(
        model=str(real_model),
        train=rows,
        folder=folder,
        **{
            "method": Lora(rank=4, targets=("q", "v"), alpha=8.0),
            "epochs": 2.0,
            "batch_tokens": 100,
            "learning_rate": 2e-3,
            "device": "cpu",
            **changes,
        },
    )


def test_a_merged_adapter_gives_the_logits_of_the_adapter_beside_its_base(model, real_model, tokenizer, tmp_path):
    task = lora_task(real_model, tokenizer, tmp_path / "arm", precision="float32")
    rows = list(task.train)
    tune(task)
    ids = torch.tensor([rows[3].token_ids])
    with torch.no_grad():
        beside = load_adapted(str(real_model), adapter=task.folder)(ids).logits
        merged = load_arm(str(real_model), folder=task.folder)(ids).logits
        base = model(ids).logits
    assert (merged - beside).abs().max() < 2e-3 < 0.1 < (merged - base).abs().max()
    learned = mean_loss(load_arm(str(real_model), folder=task.folder), rows)
    assert learned < mean_loss(model, rows) - 0.05, "real weights learn these rows in a few steps"


def stopping_after(step):
    def on_progress(progress):
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_progress


def test_an_interrupted_arm_goes_on_to_the_same_bytes(real_model, tokenizer, tmp_path):
    whole = lora_task(real_model, tokenizer, tmp_path / "whole")
    assert tune(whole).steps >= 4
    stopped = lora_task(real_model, tokenizer, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        tune(stopped, on_progress=stopping_after(2))
    assert (stopped.folder / "checkpoint" / "current").exists()
    tune(stopped)
    first, second = (load_file(task.folder / "adapter_model.safetensors") for task in (whole, stopped))
    assert first and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.long
def test_full_tuning_interrupted_goes_on_to_the_same_bytes(real_model, tokenizer, tmp_path):
    tasks = [lora_task(real_model, tokenizer, tmp_path / n, method=Full(), learning_rate=1e-5) for n in ("a", "b")]
    tune(tasks[0])
    with pytest.raises(KeyboardInterrupt):
        tune(tasks[1], on_progress=stopping_after(3))
    tune(tasks[1])
    first, second = (load_file(task.folder / "model.safetensors") for task in tasks)
    assert first and all(torch.equal(first[name], second[name]) for name in first)
