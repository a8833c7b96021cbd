"""Count what one request to an arm takes: prompt tokens, generated tokens and FLOPs, means over its samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.footprint.beside import Beside
from finetrial.footprint.flops import sampling_flops
from finetrial.footprint.structure import Shape
from finetrial.store.records import Sample


@dataclass(frozen=True, slots=True)
class RequestCost:
    """Means over requests. A request is one prompt, with its shots, and one answer."""

    prompt_tokens: float
    generated_tokens: float  # the end token included
    flops: float | None  # None: an architecture that footprint does not know


def request_cost(
    shape: Shape | None,
    samples: Sequence[Sample],
    *,
    prompt_tokens: Mapping[str, int],
    beside: Beside | None = None,
) -> RequestCost:
    """The mean cost of a request over these samples; `prompt_tokens` maps prompt ids to their length.

    A request reads its own prompt, as a served model does; the sampler here reads it once for all samples of it.
    An adapter that is merged into the weights counts nothing; `beside` is one that is not. FLOPs are those of
    `footprint.flops.sampling_flops`: the prompt read once and its head on the last token, then one decoding step
    for every generated token but the last, attention included.
    """
    assert samples
    counts = Counter((prompt_tokens[s.prompt_id], s.tokens or 1) for s in samples)
    total = counts.total()

    def mean(values: Mapping[tuple[int, int], float]) -> float:
        return math.fsum(values[request] * count for request, count in counts.items()) / total

    flops = None
    if shape is not None:
        flops = mean(
            {
                (read, made): float(
                    sampling_flops(shape, prompt_tokens=read, sample_tokens=[made], adapter=beside).total
                )
                for read, made in counts
            }
        )
    return RequestCost(
        prompt_tokens=mean({request: request[0] for request in counts}),
        generated_tokens=mean({request: request[1] for request in counts}),
        flops=flops,
    )
