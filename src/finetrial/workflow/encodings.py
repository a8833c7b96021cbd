"""Encode examples as training sees them: the splits that tuning reads once for all arms that see them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from finetrial.models.encode import encode_split
from finetrial.trial.examples import EncodedSplit, Example, Splits
from finetrial.trial.form import Form
from finetrial.trial.resolve import ResolvedArm
from finetrial.trial.schema import Trial

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encodings:
    """The examples of one trial behind its arms' tokenizers and forms."""

    def __init__(
        self, trial: Trial, splits: Splits, *, tokenizer_of: Callable[[str], PreTrainedTokenizerBase]
    ) -> None:
        self._data, self._splits, self._tokenizer_of = trial.data, splits, tokenizer_of
        self._kept: dict[tuple[int, Form, int], EncodedSplit] = {}

    def of(self, arm: ResolvedArm, examples: Sequence[Example]) -> EncodedSplit:
        """Examples as this arm's training sees them. Those of the train and validation splits are kept."""
        tokenizer = self._tokenizer_of(arm.name)
        key = (id(tokenizer), arm.form, id(examples))
        if key in self._kept:
            return self._kept[key]
        encoded = encode_split(
            examples,
            tokenizer=tokenizer,
            form=arm.form,
            max_tokens=self._data.max_tokens,
            overlong=self._data.overlong,
            assistant_loss=self._data.assistant_loss,
        )
        if examples is self._splits.train or examples is self._splits.validation:
            self._kept[key] = encoded
        return encoded
