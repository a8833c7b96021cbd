"""Read the documents of pretraining, tokenise them and cut them into training and held-out windows.

A row of a table is a document; plain text is one document, or several where it holds the end-of-text token. A
document begins after an end token and ends with one. It is cut into windows of the model's context; every token
but the document's first end token is predicted exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from finetrial.errors import UserError, unknown_name
from finetrial.trial.examples import Encoded
from finetrial.trial.sources import read_source

END_OF_TEXT = "<|endoftext|>"
_TEXT_COLUMNS = ("text", "prompt", "content", "document")


@dataclass(frozen=True, slots=True)
class Document:
    """A text as its source gives it."""

    source: str
    text: str
    continuous: bool  # plain text without documents: its windows, not itself, are what is held out


class Windows(Sequence[Encoded]):
    """Token windows as examples, made when they are asked for."""

    def __init__(self, tokens: np.ndarray, spans: Sequence[tuple[str, int, int]]) -> None:
        self._tokens, self._spans = tokens, spans  # (id, from, to)

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> Windows: ...
    def __getitem__(self, place: int | slice) -> Encoded | Windows:
        if isinstance(place, slice):
            return Windows(self._tokens, self._spans[place])
        name, start, stop = self._spans[place]
        ids = tuple(self._tokens[start:stop].tolist())
        return Encoded(name, ids, (False, *(True,) * (len(ids) - 1)))

    @property
    def token_count(self) -> int:
        """Tokens that are processed, as batches count them."""
        return sum(stop - start for _, start, stop in self._spans)


@dataclass(frozen=True, slots=True)
class Corpus:
    train: Windows
    heldout: Windows
    heldout_bytes: int  # UTF-8 bytes of the text that the held-out windows' trained tokens stand for


def read_documents(names: Sequence[str], *, column: str | None = None) -> list[Document]:
    """The documents of files or hub splits, slices allowed: plays.txt[:30000], abstracts.jsonl."""
    documents = []
    for name in names:
        table = read_source(name, base=Path.cwd(), revision=None)
        if table.lines_of_text:
            text = "\n".join(str(row.values["text"]) for row in table.rows) + "\n"
            parts = text.split(END_OF_TEXT)
            documents += [Document(name, part, len(parts) == 1) for part in parts if part.strip()]
            continue
        chosen = column or next((c for c in _TEXT_COLUMNS if c in table.columns), None)
        if chosen is None or chosen not in table.columns:
            raise unknown_name(f"text column of {name}", str(column or "text"), table.columns)
        for row in table.rows:
            value = row.values.get(chosen)
            if not isinstance(value, str):
                raise UserError(f"{row.origin}: the column {chosen!r} holds no text", got=repr(value)[:80])
            if value.strip():
                documents.append(Document(name, value, False))
    if not documents:
        raise UserError("there is nothing to read", got="no text in " + ", ".join(names))
    return documents


def train_tokenizer(texts: Iterable[str], *, size: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE (Radford et al. 2019, section 2.2) of `size` tokens, learned from these texts."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size < len(alphabet) + 1:
        raise UserError(
            "the tokenizer is too small", got=f"{size} tokens", expected=f"at least {len(alphabet) + 1}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END_OF_TEXT], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def _heldout(unit: str, *, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"pretrain-heldout\0{seed}\0{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def cut(
    documents: Sequence[Document],
    *,
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    heldout: float,
    seed: int,
) -> Corpus:
    """Tokenise the documents and cut them into windows: at most `context` inputs and one more token to predict."""
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError("the tokenizer has no end token", fix="Use --tokenizer train:4096.")
    pieces: list[np.ndarray] = []
    train: list[tuple[str, int, int]] = []
    held: list[tuple[str, int, int]] = []
    offset = 0
    for number, document in enumerate(documents):
        ids = tokenizer(document.text, add_special_tokens=False, verbose=False)["input_ids"]
        array = np.array([end, *ids, end], dtype=np.int32)
        for window, start in enumerate(range(0, len(array) - 1, context)):
            unit = f"{number}/{window}" if document.continuous else str(number)
            span = (f"{number}/{window}", offset + start, offset + min(start + context + 1, len(array)))
            (held if _heldout(unit, share=heldout, seed=seed) else train).append(span)
        pieces.append(array)
        offset += len(array)
    tokens = np.concatenate(pieces)
    if not train:
        raise UserError("there is nothing left to train on", got=f"{len(held)} windows, all held out")
    text = tokenizer.batch_decode([tokens[a + 1 : b].tolist() for _, a, b in held], skip_special_tokens=True)
    return Corpus(Windows(tokens, train), Windows(tokens, held), sum(len(t.encode()) for t in text))
