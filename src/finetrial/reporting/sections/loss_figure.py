"""Show the training and validation losses of every tuned arm."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.reporting.document import Block, Figure, SectionMaker
from finetrial.reporting.drawings import loss_curves
from finetrial.reporting.results import Material

_CAPTION = (
    "The thick line with dots is the loss on the validation data, the thin one on the batches being trained; lower "
    "is better. Only the tokens that are trained count. Where the thick line turns up while the thin one still "
    "falls, an arm is overfitting."
)


def _losses(material: Material) -> Iterable[Block]:
    drawing = loss_curves(material.results)
    if drawing is not None:
        yield Figure(drawing, _CAPTION)


LOSSES = SectionMaker("losses", "Training and validation loss", _losses)
