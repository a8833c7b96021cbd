"""Define a method: its keys of the trial file, its targets, what it counts, its learning rate, its description.

A method is a class whose fields are its keys of the trial file; an instance is the method of one arm. What any arm
may carry (template, shots, learning rate, ...) stands in `trial.schema.Arm`. A method that tunes names the module
of its torch half, which is imported when an arm is tuned or loaded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from finetrial.endpoints.setting import ArmEndpoint
from finetrial.footprint.adapters import Method as Counted

NonEmpty = Annotated[str, Field(min_length=1)]


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


# one name may stand without brackets: `targets: all-linear`
Targets = Annotated[tuple[NonEmpty, ...], Field(min_length=1), BeforeValidator(_several)]


class Method(BaseModel):
    """How an arm gets its answers, with its settings. The class attributes say what is true of every arm of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]  # the word in the trial file
    title: ClassVar[str]  # as people write it
    is_the_model_itself: ClassVar[bool] = False  # what forgetting and gains are measured against
    is_a_prompt: ClassVar[bool] = False  # changes what the model is shown, and no weight
    is_from_elsewhere: ClassVar[bool] = False  # tuned where nobody measured what it took
    is_answered_elsewhere: ClassVar[bool] = False  # a file or a server answers: no model and no tokenizer here

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        """Whether an arm with these keys, and no `method`, has this method."""
        return False

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        """Raise ValueError for an arm whose keys, the common ones, make no sense with this method."""

    @abstractmethod
    def describe(self, keys: Mapping[str, Any]) -> str:
        """What the arm is, in words; `keys` are the common ones."""

    @property
    def model_source(self) -> str | None:
        """The model folder, GGUF file or hub id that the arm brings; None: the trial's model."""
        return None

    @property
    def adapter_source(self) -> str | None:
        """The adapter folder that the arm brings; None: none."""
        return None

    @property
    def training_rows(self) -> str | None:
        """The source of the rows that an arm from elsewhere was trained on; None: tuned here, or not known."""
        return None

    @property
    def sampler(self) -> str | None:
        """The sampler that its answers come from; None: the one that `sampling.engine` names."""
        return None

    @property
    def answers_file(self) -> str | None:
        """The file that its answers stand in, or that is run for them; None: none."""
        return None

    @property
    def served_by(self) -> ArmEndpoint | None:
        """The server that answers for it; None: none does."""
        return None

    @property
    def deployed_from(self) -> str | None:
        """The arm of which it is the deployed form: what that one is shown, it is shown; None: of none."""
        return None

    @property
    def equivalence_margin(self) -> float | None:
        """How far a deployed form may be from its arm; None: judging.margin."""
        return None

    @classmethod
    def own_keys(cls) -> Collection[str]:
        """The keys of the trial file that belong to this method."""
        return cls.model_fields.keys()


class TunedMethod(Method):
    """A method that trains something."""

    torch_half: ClassVar[str]  # the module with `HALF`, by its dotted name
    # forward passes that a step costs, about: one, and the gradients of what enters each layer; a third pass where
    # the matrices have gradients of their own (Kaplan et al. 2020, section 2.1)
    step_passes: ClassVar[int] = 2
    # the keys that a method on paper names in their order, as `lora:4:q,v` does; None: it is not counted on paper
    paper_keys: ClassVar[tuple[str, ...] | None] = None

    @abstractmethod
    def default_learning_rate(self, width: int) -> float:
        """The learning rate where nobody names one, for a model whose embedding has this width."""

    @abstractmethod
    def counted(self) -> Counted | None:
        """What `footprint` counts of it; None: known from the model that it makes, and from nothing less."""

    @property
    def named_targets(self) -> tuple[str, ...]:
        """The targets that the resolver must find in the model; none where the method takes none."""
        return ()

    @property
    def base_bits(self) -> str | None:
        """How the frozen base is quantised; None: not."""
        return None
