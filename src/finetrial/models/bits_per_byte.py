"""Measure a model's bits per byte on texts that it was not tuned on.

Each document is read apart, in windows of the model's context: after the beginning token, every token of the
document is predicted exactly once, from at most a window before it. Bits over bytes of UTF-8, not over tokens, so
that models with different tokenizers can be compared (Gao et al. 2020, The Pile, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import UserError
from finetrial.models.batches import trained_tokens
from finetrial.models.evaluate import default_micro_tokens, loss_of, measuring
from finetrial.models.pretraining_corpus import Document
from finetrial.models.tokenise import plain_ids, traits_of
from finetrial.store.records import RetainedText
from finetrial.trial.examples import Encoded

_LONGEST_WINDOW = 1024  # tokens; assumption: GPT-2's context, and enough for text in models of longer ones


def _first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands before a document: the tokenizer's beginning token, or its end token."""
    leading = traits_of(tokenizer).leading
    first = leading[-1] if leading else tokenizer.bos_token_id
    first = tokenizer.eos_token_id if first is None else first
    if first is None:
        raise UserError(
            "the tokenizer has neither a beginning nor an end token, so a text's first token cannot be predicted",
            fix="Remove data.retain, or give the tokenizer an end token.",
        )
    return int(first)


def document_windows(
    text: str, *, tokenizer: PreTrainedTokenizerBase, context: int | None, name: str = ""
) -> list[Encoded]:
    """The text as examples of at most `context` inputs and one token more; each of its tokens carries loss once."""
    inputs = min(context or _LONGEST_WINDOW, _LONGEST_WINDOW)
    ids = (_first_token(tokenizer), *plain_ids(text, tokenizer=tokenizer))
    return [
        Encoded(f"{name}/{start}", part, (False, *(True,) * (len(part) - 1)))
        for start in range(0, len(ids) - 1, inputs)
        for part in (ids[start : start + inputs + 1],)
    ]


def bits_per_byte_of(
    model: PreTrainedModel,
    documents: Sequence[Document],
    *,
    tokenizer: PreTrainedTokenizerBase,
    context: int | None,
) -> tuple[RetainedText, ...]:
    """The bits and bytes of every document under a model, in their order. The model is left as it was found."""
    rows = []
    micro_tokens = default_micro_tokens(model.device)
    with measuring(model) as loss_model:
        for number, document in enumerate(documents):
            windows = document_windows(document.text, tokenizer=tokenizer, context=context, name=str(number))
            count = sum(trained_tokens(window) for window in windows)
            nats_per_token = loss_of(loss_model, windows, micro_tokens=micro_tokens)
            assert nats_per_token is not None, "a document without text"
            bits = nats_per_token * count / math.log(2)
            rows.append(RetainedText(document=number, n_bytes=len(document.text.encode()), bits=bits))
    return tuple(rows)
