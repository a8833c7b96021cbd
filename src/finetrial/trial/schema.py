"""Define the trial file.

The models below are the trial file: their field names are its keys, their defaults its defaults. An arm's keys are
those of `Arm` and those of its method, which `methods` defines. Reading a file with line numbers in its errors is
`trial.load`'s work.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from finetrial.methods.method import NonEmpty
from finetrial.store.gguf import GGUF_SUFFIX
from finetrial.trial.arms import Arm
from finetrial.trial.judges import JudgeSetting, Stopping
from finetrial.trial.setting_types import ChatUse, Stops, Strict, WholeOrAuto, number_or_auto, positive


class TextFormat(Strict):
    """Plain text cut into prompt and completion: `prefix` units, then `continuation` units."""

    unit: Literal["line", "paragraph", "word"] = "line"
    prefix: int = Field(default=1, ge=1)
    continuation: int = Field(default=4, ge=1)


class _TextKey(Strict):
    text: TextFormat = TextFormat()


class Source(Strict):
    """Where each split comes from: a hub id's split, or a local file, each with an optional [from:to] slice."""

    train: NonEmpty
    validation: NonEmpty | None = None
    heldout: NonEmpty | None = None


class Data(Strict):
    source: NonEmpty | Source
    revision: str | None = None
    format: Literal["prompt_completion", "messages", "text"] | _TextKey = "prompt_completion"
    prompt: NonEmpty | None = None  # None: found by the usual names
    completion: NonEmpty | None = None
    group: NonEmpty | None = None
    template: NonEmpty = "{prompt}"
    chat: ChatUse = "auto"  # whether the template's text becomes a user turn of the tokenizer's chat template
    system: NonEmpty | None = None  # a system turn before it; for chats only
    special_tokens: tuple[NonEmpty, ...] = ()
    assistant_loss: Literal["all", "last"] = "last"  # chat: which assistant turns carry loss
    max_tokens: int = Field(default=512, ge=2)
    overlong: Literal["refuse", "cut"] = "refuse"
    overlap: Literal["error", "drop"] = "error"
    empty: Literal["error", "drop"] = "error"  # rows whose prompt or completion is empty
    train: int | None = Field(default=None, ge=1)  # None: all there are
    validation: int | None = Field(default=None, ge=1)
    heldout: int | None = Field(default=None, ge=1)
    seed: int = 0  # of the cut, where the source has no split of its own
    retain: NonEmpty | None = None  # other text on which forgetting is measured

    @property
    def text_format(self) -> TextFormat | None:
        """The cut of plain text, or None when the data are not plain text."""
        if isinstance(self.format, _TextKey):
            return self.format.text
        return TextFormat() if self.format == "text" else None

    @model_validator(mode="after")
    def _running_text_is_no_chat(self) -> Data:
        if self.text_format is not None and self.chat == "always":
            raise ValueError("`chat: always` does not go with `format: text`: running text has no turns")
        if self.system and (self.chat == "never" or self.text_format is not None):
            raise ValueError("`system` is a turn of a chat and this is none; write it into the `template`")
        return self


class Training(Strict):
    epochs: float = Field(default=1, gt=0)
    batch_tokens: int = Field(default=8192, ge=1)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: float = Field(default=0.03, ge=0, lt=1)  # share of all steps
    learning_rate: float | Literal["auto"] | None = None
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=1.0, gt=0)  # gradient norm
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd"] = "adamw"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    # recompute activations in the backward pass; auto: where memory is too small without
    checkpointing: bool | Literal["auto"] = "auto"
    # of several processes each holds a share of the weights that it tunes; auto: where one device is too small
    sharding: Literal["auto", "none", "full"] = "auto"
    early_stopping: int | None = Field(default=None, ge=1)  # evaluations without improvement
    # of validation loss, spread over the run; auto: a tenth of the compute, on the same rows throughout
    evaluations: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    checkpoint_seconds: float = Field(default=60, ge=0)
    seeds: int = Field(default=1, ge=1)  # training runs of every tuned arm, with seeds from `seed` on
    seed: int = 0
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()

    _readable_rate = field_validator("learning_rate", mode="before")(number_or_auto)
    _positive_rate = field_validator("learning_rate")(positive)


class Sampling(Strict):
    """How every arm is sampled. `auto` follows the training completions: see `trial.autos`."""

    prompts: int = Field(default=100, ge=1)
    per_prompt: WholeOrAuto = "auto"
    max_new_tokens: WholeOrAuto = "auto"
    temperature: float | Literal["auto"] = "auto"  # 0 is greedy
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float = Field(default=0.0, ge=0, le=1)  # as a share of the most probable token's probability
    repetition_penalty: float = Field(default=1.0, gt=0)  # of tokens that the prompt or the answer has already
    stop: Stops = "auto"
    strip: NonEmpty | None = None  # taken off before scoring: `<think>` names blocks, else a regular expression
    engine: NonEmpty = "torch"  # which sampler draws the answers
    seed: int = 0  # of the prompts that are sampled, of the examples in a prompt and of the random numbers

    _readable_temperature = field_validator("temperature", mode="before")(number_or_auto)

    @field_validator("temperature")
    @classmethod
    def _no_negative_temperature(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value < 0:
            raise ValueError("must be zero or more")
        return value

    @field_validator("strip")
    @classmethod
    def _readable_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is neither a tag such as <think> nor a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _room_for_what_is_taken_off(self) -> Sampling:
        if self.strip is not None and self.max_new_tokens == "auto":
            raise ValueError(
                "`strip` takes off text that no completion has, so `max_new_tokens: auto` cannot tell how long "
                "answers grow; set max_new_tokens to what thinking and answer take together"
            )
        return self

    @model_validator(mode="after")
    def _greedy_has_one_answer(self) -> Sampling:
        if self.temperature == 0 and self.per_prompt not in (1, "auto"):
            raise ValueError("temperature 0 gives one answer a prompt; set per_prompt: 1")
        return self


def _label_text(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a label reads as true or false; put labels such as 'yes' and 'no' in quotes")
    return str(value) if isinstance(value, (int, float)) else value


Label = Annotated[str, BeforeValidator(_label_text), Field(min_length=1, max_length=30)]


class OwnLabels(Strict):
    """Answers of one's own that a rater chooses from, and those among them that count as good."""

    labels: tuple[Label, ...]
    good: tuple[Label, ...]

    @model_validator(mode="after")
    def _some_are_good_and_some_are_not(self) -> OwnLabels:
        if not 2 <= len(self.labels) <= 9 or not self.good:  # one key each, 1 to 9
            raise ValueError("give two to nine `labels`, and in `good` those that count as good")
        folded = [label.strip().casefold() for label in self.labels]
        if len(set(folded)) < len(folded) or "" in folded:
            raise ValueError("two of `labels` are the same, or one is blank")
        if "unsure" in folded:
            raise ValueError('`unsure` stands beside every scale as "can\'t tell"; leave it out of `labels`')
        stray = [label for label in self.good if label not in self.labels]
        if stray:
            raise ValueError(f"`good` names {stray[0]!r}, which is none of `labels`")
        if set(self.good) == set(self.labels):
            raise ValueError("`good` names every label; then no grade could be bad")
        return self


def _scale(value: object) -> object:
    if isinstance(value, (dict, OwnLabels)) or value in ("good_bad", "1-5"):
        return value
    raise ValueError(f"must be good_bad, 1-5, or own labels as {{labels: [...], good: [...]}}, not {value!r}")


# The tags keep an error within own labels from being reported as a wrong word; see `load._is_union_branch`.
Scale = Annotated[
    Annotated[Literal["good_bad", "1-5"], Tag("literal[scale]")] | Annotated[OwnLabels, Tag("OwnLabels")],
    Discriminator(lambda value: "literal[scale]" if isinstance(value, str) else "OwnLabels"),
    BeforeValidator(_scale),
]


class Judging(Strict):
    primary: NonEmpty = "rouge1"
    margin: float = Field(default=0.02, ge=0)
    metrics: tuple[NonEmpty, ...] = ("rouge1", "rouge2", "rougeL")
    references: Literal["best_primary", "best", "mean"] = "best_primary"
    stemmer: bool = False
    # whether metrics of words count those of every script; auto: where the references need it
    unicode: bool | Literal["auto"] = "auto"
    # auto: as many as find `difference` between any two arms four times in five
    grade_prompts: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    difference: float = Field(default=0.2, gt=0, le=1)  # between two arms' shares of good answers, worth finding
    pilot: NonEmpty | None = None  # a graded trial's folder, whose variance stands in for the largest there is
    criterion: str | None = None
    scale: Scale = "good_bad"  # what raters choose from; 4 and 5 count as good on 1-5
    requests: int = Field(default=1000, ge=0)  # over which serving is counted into an arm's cost
    raters: int = Field(default=1, ge=1)
    repeats: float = Field(default=0.0, ge=0, le=0.5)  # share of samples shown twice, unannounced: consistency
    grade_references: bool = False  # mix the references in as a hidden arm
    judges: tuple[JudgeSetting, ...] = ()  # models that judge every sampled prompt
    # what gives the verdict on grades: people alone, or people with the first judge, corrected by them
    estimator: Literal["people", "people+judge"] = "people"
    stopping: Stopping | None = None  # None: a fixed number of prompts is graded

    @model_validator(mode="after")
    def _judges_have_names_of_their_own(self) -> Judging:
        names = [judge.name.casefold() for judge in self.judges]
        if len(set(names)) < len(names):
            raise ValueError("two of `judges` have one name")
        if self.estimator == "people+judge" and not self.judges:
            raise ValueError("`estimator: people+judge` needs a judge under `judges`")
        return self


class Report(Strict):
    title: str | None = None
    authors: tuple[str, ...] = ()
    acknowledgements: NonEmpty | None = None
    intended_use: NonEmpty | None = None  # as the base model's card says
    slices: tuple[NonEmpty, ...] = ("length",)  # columns of the data; length: of the prompt in words


class Prices(Strict):
    """What computing costs, in any one currency. None: not given."""

    hour: float | None = Field(default=None, ge=0)  # of the machine
    watts: float | None = Field(default=None, ge=0)  # that the machine draws
    input_million: float | None = Field(default=None, ge=0)  # of a million prompt tokens
    output_million: float | None = Field(default=None, ge=0)  # of a million generated tokens


class Trial(Strict):
    trial: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: NonEmpty
    data: Data
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], Arm] = Field(min_length=1)
    # lists of values by arm and key; expanded to arms when the file is read, see `trial.sweep`
    sweep: dict[str, dict[str, tuple[Any, ...]]] = Field(default_factory=dict, exclude=True)
    training: Training = Training()
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    report: Report = Report()
    prices: Prices = Prices()
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _running_text_has_no_turns(self) -> Trial:
        if self.data.text_format is not None:
            for name, arm in self.arms.items():
                for key in (key for key in ("chat", "system") if getattr(arm, key) not in (None, "auto", "never")):
                    raise ValueError(f"arms.{name}.{key}: `format: text` is running text and has no turns")
        return self

    @field_validator("arms", mode="before")
    @classmethod
    def _empty_arm(cls, value: object) -> object:
        """`base:` with nothing after it is an empty mapping."""
        if isinstance(value, dict):
            return {name: {} if arm is None else arm for name, arm in value.items()}
        return value

    @model_validator(mode="after")
    def _deployed_forms_are_of_arms_here(self) -> Trial:
        for name, arm in self.arms.items():
            of = arm.method.deployed_from
            if of is None:
                continue
            if of not in self.arms:
                raise ValueError(f"arms.{name}.of: there is no arm {of!r}; one of {', '.join(self.arms)}")
            origin = self.arms[of].method
            if of == name or origin.deployed_from is not None or origin.is_answered_elsewhere:
                raise ValueError(f"arms.{name}.of: {of!r} is no model that is run here and could be deployed")
        return self

    def shown_as(self, arm: str) -> Arm:
        """The arm whose keys say what this one is shown: the one it is deployed from, or itself."""
        return self.arms[self.arms[arm].method.deployed_from or arm]

    def base_of(self, arm: str) -> str:
        """The model that the arm starts from: its own base or the trial's; of one from elsewhere the trial's."""
        return self.shown_as(arm).start_from or self.model

    def model_of(self, arm: str) -> str:
        """The model that the arm runs: one from elsewhere, else its base."""
        return self.shown_as(arm).model or self.base_of(arm)

    def template_of(self, arm: str) -> str:
        """What this arm is shown: its own template or the data's."""
        return self.shown_as(arm).template or self.data.template

    def chat_of(self, arm: str) -> ChatUse:
        """The arm's `chat`, its own or the data's; running text is never a chat."""
        if self.data.text_format is not None:
            return "never"
        return self.shown_as(arm).chat or self.data.chat

    def system_of(self, arm: str) -> str | None:
        return self.shown_as(arm).system or self.data.system

    def epochs_of(self, arm: str) -> float:
        return self.arms[arm].epochs or self.training.epochs

    def rate_of(self, arm: str) -> float | Literal["auto"] | None:
        """The arm's learning rate as the file has it: a number, `auto`, or None for the method's default."""
        own = self.arms[arm].learning_rate
        return self.training.learning_rate if own is None else own

    def runs_of(self, arm: str) -> int:
        """How often the arm is tuned, each time with another seed; 0 where it is not tuned."""
        return self.training.seeds if self.arms[arm].tuned else 0


_TEXTS = (".jsonl", ".json", ".csv", ".txt")
LOCAL_SUFFIXES = (*_TEXTS, ".parquet", *(kind + packed for kind in _TEXTS for packed in (".gz", ".zst")))


def is_local(source: str, *, base: Path) -> bool:
    """Whether a source is a file or folder here, rather than a hub id."""
    path = source.split("[", 1)[0]
    return (
        path.endswith((*LOCAL_SUFFIXES, GGUF_SUFFIX)) or path.startswith((".", "/", "~")) or (base / path).exists()
    )
