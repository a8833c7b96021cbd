"""Define a sampler: what it can do, and an arm's model as it answers.

A sampler loads an arm and draws answers to its prompts. What it cannot do is said beforehand and left out of the
records: the loss on held-out rows, and bits per byte of other text, are None where there are no log-likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from finetrial.footprint.beside import Beside
from finetrial.footprint.structure import Shape
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.usage import Usage
from finetrial.store.records import RetainedText, Sample, SamplingCheck
from finetrial.trial.examples import Encoded
from finetrial.trial.resolve import SampledArm

if TYPE_CHECKING:
    from finetrial.models.pretraining_corpus import Document

# Called after every decoding step with the tokens that it made, and how many samples are finished so far.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmToSample:
    """One training run of an arm, or an arm that is not tuned: what a sampler loads."""

    arm: SampledArm
    folder: Path | None  # the weights or adapter that this trial tuned; None: it is not tuned
    tokenizer: Any  # of transformers
    trust_remote_code: bool = False
    merged: Path | None = None  # the exported model that is sampled in place of base and adapter
    served: Path | None = None  # where an arm behind a server keeps what it was asked and answered
    batch_sequences: int | None = None  # sampled at once, as memory allows; None: for the sampler to choose


class LoadedArm(Protocol):
    """An arm's model, ready to answer. None where a sampler does not know."""

    @property
    def positions(self) -> int | None:
        """The number of positions that prompt and answer share."""

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has."""

    @property
    def shape(self) -> Shape | None:
        """Its shape, by which a request's FLOPs are counted."""

    @property
    def precision(self) -> str | None:
        """The precision that it computes in, such as bfloat16."""

    @property
    def device(self) -> str | None:
        """Where it runs."""

    @property
    def unmerged(self) -> str | None:
        """Why what was tuned stands beside the weights; None: it is merged into them, or nothing was tuned."""

    @property
    def sampled_alone(self) -> str | None:
        """Why its sequences are sampled one at a time; None: in batches, or it is not known."""

    @property
    def base_unknown(self) -> str | None:
        """Why an adapter from elsewhere may have been trained on another base; None: it was on this."""

    @property
    def checks(self) -> Sequence[SamplingCheck]:
        """What was looked at when it was loaded: whether an adapter is merged, whether it differs from its base."""

    @property
    def beside(self) -> Beside | None:
        """What then costs products of its own, where that is known."""

    @property
    def usage(self) -> Usage | None:
        """What only whoever answered elsewhere knows; None: it was answered here."""

    def nats(self, examples: Sequence[Encoded]) -> Sequence[float]:
        """Minus the log-likelihood of the trained tokens of each. Asked only of samplers with log-likelihoods."""

    def retained(self, documents: Sequence[Document]) -> Sequence[RetainedText]:
        """The bits and bytes of each document. Asked only of samplers with log-likelihoods."""

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield the arm's `decoding.per_prompt` samples of each prompt, in any order, each as soon as it has ended.

        Those in `drawn` of a prompt may be left out; they are not taken again.
        Each ends at an end token, at a stop of the arm's decoding, or at its longest length.
        """


class Sampler(Protocol):
    """A way of drawing answers from models."""

    @property
    def name(self) -> str:
        """The word for it under `sampling.engine`."""

    @property
    def log_likelihoods(self) -> bool:
        """Whether it gives the probabilities of texts: of its own samples, and of any that it is asked about."""

    @property
    def common_random_numbers(self) -> bool:
        """Whether a sample's random numbers follow from the seed, the prompt and its index, whatever the arm.

        Then two arms with the same weights give the same texts, and differences between arms are less noisy.
        """

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """The arm's model, ready to answer. Raises UserError where it cannot be had here."""


def is_sampler(value: object) -> TypeGuard[Sampler]:
    """Whether an object can be used as a sampler."""
    abilities = ("log_likelihoods", "common_random_numbers")
    return (
        isinstance(getattr(value, "name", None), str)
        and all(isinstance(getattr(value, ability, None), bool) for ability in abilities)
        and callable(getattr(value, "load", None))
    )
