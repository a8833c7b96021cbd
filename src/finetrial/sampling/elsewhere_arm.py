"""Share what every arm has in common whose answers are not drawn from a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetrial.footprint.beside import Beside
from finetrial.footprint.structure import Shape
from finetrial.store.records import RetainedText, SamplingCheck
from finetrial.trial.examples import Encoded

if TYPE_CHECKING:
    from finetrial.models.pretraining_corpus import Document


class ElsewhereArm:
    """Nothing is known of its model here: the base of a LoadedArm of a file, a server or another program."""

    positions: int | None = None
    parameters: int | None = None
    shape: Shape | None = None
    precision: str | None = None
    device: str | None = None
    unmerged: str | None = None
    sampled_alone: str | None = None
    base_unknown: str | None = None
    beside: Beside | None = None
    checks: tuple[SamplingCheck, ...] = ()

    def nats(self, examples: Sequence[Encoded]) -> Sequence[float]:
        return ()

    def retained(self, documents: Sequence[Document]) -> Sequence[RetainedText]:
        return ()
