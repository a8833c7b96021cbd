"""Bits per byte of other text: what the formula gives by hand, whatever the windows or the tokenizer."""

import math

import pytest
import torch
from tiny_models import FAMILIES, save_model
from tiny_tokenizers import SENTENCES, byte_level, space_adding

from finetrial.models.bits_per_byte import bits_per_byte_of, document_windows
from finetrial.models.loading import load_model
from finetrial.models.pretraining_corpus import Document

TEXTS = (
    " ".join(SENTENCES[:3]) * 2,  # longer than one window of 64
    "A summary states nothing.",
    "Über naïve Füchse – und Bären.",  # more bytes than characters
)


def documents(texts=TEXTS):
    return [Document("other.jsonl", text, False) for text in texts]


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request, tmp_path_factory):
    return load_model(save_model(request.param, tmp_path_factory.mktemp(request.param)))


def bits_by_hand(model, tokenizer, text, *, context):
    """Each token's log-probability by the model's own logits, a window at a time, without our loss or packing."""
    ids = [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    bits = 0.0
    for start in range(0, len(ids) - 1, context):
        part = torch.tensor(ids[start : start + context + 1])
        with torch.no_grad():
            logp_TV = model(part[None, :-1]).logits[0].double().log_softmax(-1)
        bits -= float(logp_TV.gather(1, part[1:, None]).sum()) / math.log(2)
    return bits


@pytest.mark.parametrize("context", [64, 16])
def test_bits_and_bytes_are_those_worked_out_by_hand(model, context):
    rows = bits_per_byte_of(model, documents(), tokenizer=byte_level(), context=context)
    assert [row.document for row in rows] == [0, 1, 2]
    assert [row.n_bytes for row in rows] == [len(text.encode("utf-8")) for text in TEXTS]
    for row, text in zip(rows, TEXTS, strict=True):
        assert row.bits == pytest.approx(bits_by_hand(model, byte_level(), text, context=context), rel=1e-5)


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary_for_every_token(tmp_path):
    model = load_model(save_model("llama", tmp_path))
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    n_tokens = len(byte_level()(TEXTS[1])["input_ids"])
    (row,) = bits_per_byte_of(model, documents(TEXTS[1:2]), tokenizer=byte_level(), context=64)
    assert row.bits == pytest.approx(n_tokens * math.log2(len(byte_level())), rel=1e-6)


def test_documents_are_read_apart_and_the_model_is_left_as_it_was(model):
    model.train()
    attention = model.config._attn_implementation
    together = bits_per_byte_of(model, documents(), tokenizer=byte_level(), context=64)
    assert model.training and model.config._attn_implementation == attention
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = bits_per_byte_of(model, documents([text]), tokenizer=byte_level(), context=64)
        assert alone.bits == pytest.approx(row.bits, rel=1e-6)


@pytest.mark.parametrize("tokenizer", [byte_level(), space_adding()], ids=["bytes", "spaces"])
@pytest.mark.parametrize("context", [5, 64, None])
def test_every_token_of_a_text_is_predicted_once_after_a_beginning_token(tokenizer, context):
    ids = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    windows = document_windows(TEXTS[0], tokenizer=tokenizer, context=context)
    predicted = [token for w in windows for token, carries in zip(w.token_ids, w.trained, strict=True) if carries]
    assert predicted == ids
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    assert windows[0].token_ids[0] == begin
    assert all(len(w.token_ids) <= (context or 1024) + 1 for w in windows)
