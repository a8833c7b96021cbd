"""Pretraining: a base from text through the same loop, deterministic, resumed, with its manifest."""

import json
import math
import signal

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetrial.errors import UserError
from finetrial.models.pretraining_corpus import END_OF_TEXT, cut, read_documents, train_tokenizer
from finetrial.training.pretraining import PretrainTask, initial_deviation, pretrain
from finetrial.trial.contamination import read_fingerprint

LINES = [
    f"line {i}: the {w} sat on the {v} and looked at the {w}."
    for i in range(60)
    for w, v in (("cat", "mat"), ("dog", "log"), ("fox", "box"))
]


@pytest.fixture
def plays(tmp_path):
    path = tmp_path / "plays.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Abstract {i}. {LINES[i]}"}) + "\n" for i in range(40)))
    return path


def make_task(tmp_path, *texts, **changes):
    settings = {
        "layers": 1,
        "width": 32,
        "heads": 2,
        "context": 32,
        "tokenizer": "train:300",
        "tokens": 12_000,
        "batch_tokens": 512,
        "precision": "float32",
        "evaluations": 2,
        "device": "cpu",
    }
    return PretrainTask(texts=tuple(map(str, texts)), folder=tmp_path / "base", **{**settings, **changes})


def test_a_base_is_made_that_transformers_alone_loads(tmp_path, plays, rows):
    task = make_task(tmp_path, plays, rows)
    result = pretrain(task)
    model = AutoModelForCausalLM.from_pretrained(task.folder)
    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    assert sum(p.numel() for p in model.parameters()) == result.parameters
    assert model.config.vocab_size == len(tokenizer) == result.vocabulary == 300
    assert tokenizer.decode(tokenizer("The cat, the mat!")["input_ids"]) == "The cat, the mat!"
    # Uniform guessing costs ln 300 = 5.7 nats; the text repeats itself.
    assert result.heldout_loss < 4.5
    assert 0 < result.bits_per_byte < 8
    assert result.measured.tokens_processed == pytest.approx(12_000, rel=0.05)


def test_the_manifest_says_what_was_read_and_where_it_is_looked_up(tmp_path, plays, rows):
    task = make_task(tmp_path, f"{plays}[:90]", rows)
    pretrain(task)
    manifest = json.loads((task.folder / "manifest.json").read_text())
    assert [s["name"] for s in manifest["read"]] == ["plays.txt[:90]", "rows.jsonl"]
    assert all(len(s["sha256"]) == 64 for s in manifest["read"])
    assert manifest["documents"] == 41
    known = read_fingerprint(task.folder)
    assert known is not None and len(known) > 100 and known.dtype == np.uint64


def test_the_same_seed_makes_the_same_weights(tmp_path, plays):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        task = make_task(tmp_path / name, plays, seed=seed, tokens=3000)
        (tmp_path / name).mkdir()
        pretrain(task)
        weights.append((task.folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_stopped_run_continues_to_the_same_base(tmp_path, plays):
    whole = make_task(tmp_path / "whole", plays, tokens=4000, dropout=0.1)
    pretrain(whole)
    stopped = make_task(tmp_path / "stopped", plays, tokens=4000, dropout=0.1)

    def stop(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain(stopped, on_progress=stop)
    pretrain(stopped)
    names = ("model.safetensors", "tokenizer.json")
    assert [(whole.folder / n).read_bytes() for n in names] == [(stopped.folder / n).read_bytes() for n in names]


def test_the_random_start_widens_as_the_model_narrows(tmp_path, plays):
    assert initial_deviation(768) == pytest.approx(0.0228, abs=5e-5)  # GPT-2's width, where it chose 0.02
    assert initial_deviation(192) == pytest.approx(2 * initial_deviation(768))
    result = pretrain(make_task(tmp_path, plays, tokens=600, learning_rate=1e-9))
    weight = AutoModelForCausalLM.from_pretrained(result.folder).transformer.wte.weight  # 300 x 32
    assert weight.std().item() == pytest.approx(initial_deviation(32), rel=0.05)


def test_minutes_cap_the_plan(tmp_path, plays):
    result = pretrain(make_task(tmp_path, plays, tokens=1e12, minutes=0.02))
    assert result.measured.tune_seconds < 30
    assert not (result.folder / "budget.json").exists()


def test_other_architectures_come_from_a_config_file(tmp_path, plays):
    config = tmp_path / "config.json"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config.write_text(json.dumps({"model_type": "llama", **shape, "max_position_embeddings": 32}))
    result = pretrain(make_task(tmp_path, plays, config=config, tokens=2000, context=None))
    assert AutoModelForCausalLM.from_pretrained(result.folder).config.model_type == "llama"


def test_windows_predict_every_token_of_a_document_once():
    documents = read_documents_of("alpha beta gamma delta " * 30)
    tokenizer = train_tokenizer(["alpha beta gamma delta"], size=280, context=16)
    corpus = cut(documents, tokenizer=tokenizer, context=16, heldout=0.0, seed=0)
    ids = tokenizer(documents[0].text)["input_ids"]
    predicted = [t for window in corpus.train for t in window.token_ids[1:]]
    assert predicted == [*ids, tokenizer.eos_token_id]
    assert all(len(window.token_ids) <= 17 for window in corpus.train)
    assert corpus.train[0].token_ids[0] == tokenizer.eos_token_id
    assert len(corpus.heldout) == 0


def read_documents_of(text):
    from finetrial.models.pretraining_corpus import Document

    return [Document("here", text, True)]


def test_a_row_is_held_out_whole_and_plain_text_by_windows(tmp_path, plays, rows):
    documents = read_documents([str(plays), str(rows)])
    tokenizer = train_tokenizer((d.text for d in documents), size=300, context=8)
    corpus = cut(documents, tokenizer=tokenizer, context=8, heldout=0.3, seed=0)
    held = {window.example_id.split("/")[0] for window in corpus.heldout}
    kept = {window.example_id.split("/")[0] for window in corpus.train}
    assert held & kept == {"0"}  # the plays; of the rows each is on one side
    assert len(held) > 5
    share = corpus.heldout.token_count / (corpus.heldout.token_count + corpus.train.token_count)
    assert share == pytest.approx(0.3, abs=0.1)
    text = [tokenizer.decode(w.token_ids[1:], skip_special_tokens=True) for w in corpus.heldout]
    assert corpus.heldout_bytes == sum(len(t.encode()) for t in text)


def test_the_end_of_text_token_separates_documents(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(f"one story\n{END_OF_TEXT}\nanother story\n")
    documents = read_documents([str(path)])
    assert [d.text.strip() for d in documents] == ["one story", "another story"]
    assert not any(d.continuous for d in documents)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "not divisible by the number of heads"),
        ({"tokenizer": "train:100"}, "at least 257"),
        ({"tokenizer": "train"}, "train:4096"),
        ({"column": "nosuch"}, "unknown text column"),
    ],
)
def test_what_a_user_can_mend_is_one_line(changes, message, tmp_path, rows):
    with pytest.raises(UserError, match=message):
        pretrain(make_task(tmp_path, rows, **changes))


def test_a_finished_base_is_not_overwritten(tmp_path, plays):
    pretrain(make_task(tmp_path, plays, tokens=1000))
    with pytest.raises(UserError, match="holds a model already"):
        pretrain(make_task(tmp_path, plays, tokens=1000))


def test_bits_per_byte_count_the_held_out_text(tmp_path, plays):
    result = pretrain(make_task(tmp_path, plays, tokens=1000))
    tokenizer = AutoTokenizer.from_pretrained(result.folder)
    corpus = cut(read_documents([str(plays)]), tokenizer=tokenizer, context=32, heldout=0.05, seed=0)
    tokens = sum(len(w.token_ids) - 1 for w in corpus.heldout)
    expected = result.heldout_loss * tokens / corpus.heldout_bytes / math.log(2)
    assert result.bits_per_byte == pytest.approx(expected)
    assert torch.isfinite(torch.tensor(expected))
