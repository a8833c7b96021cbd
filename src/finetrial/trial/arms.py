"""Define an arm of the trial file: the keys that any arm may carry, and those of its method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    InstanceOf,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from finetrial.methods.method import Method, NonEmpty, TunedMethod
from finetrial.methods.method_table import all_methods, find_method, implied_method
from finetrial.trial.setting_types import ChatUse, Stops, Strict, is_path, number_or_auto, positive


def _as_raised(error: ValidationError) -> list[InitErrorDetails]:
    """What pydantic reports, in the form in which it may be raised again."""
    found: list[InitErrorDetails] = []
    for detail in error.errors(include_url=False):
        again: InitErrorDetails = {"type": detail["type"], "loc": detail["loc"], "input": detail["input"]}
        if "ctx" in detail:
            again["ctx"] = detail["ctx"]
        found.append(again)
    return found


class Arm(Strict):
    """One way of getting answers: its method, with the method's own keys, and what any arm may carry."""

    method: InstanceOf[Method]  # in the file a name, and the method's keys beside it
    template: NonEmpty | None = None  # None: data.template
    prompt_file: NonEmpty | None = None  # a template made elsewhere, in a text file
    chat: ChatUse | None = None  # None: data.chat
    system: NonEmpty | None = None  # None: data.system
    stop: Stops | None = None  # None: sampling.stop
    shots: int | None = Field(default=None, ge=1)
    learning_rate: float | Literal["auto"] | None = Field(default=None)  # None: the method's default
    epochs: float | None = Field(default=None, gt=0)
    rows: int | None = Field(default=None, ge=1)  # of the training split that the arm is tuned on; None: all
    precision: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    start_from: NonEmpty | None = Field(default=None, alias="from")  # another base; None: the trial's model

    @property
    def tuned(self) -> bool:
        return isinstance(self.method, TunedMethod)

    @property
    def tuning(self) -> TunedMethod:
        """The method of an arm that is tuned."""
        assert isinstance(self.method, TunedMethod)
        return self.method

    @property
    def model(self) -> str | None:
        """The model that the arm brings; None: the trial's."""
        return self.method.model_source

    @property
    def adapter(self) -> str | None:
        """The adapter that the arm brings; None: none."""
        return self.method.adapter_source

    @property
    def common(self) -> Mapping[str, Any]:
        """The keys that any arm may carry, with their values."""
        named = {key: field.alias or key for key, field in Arm.model_fields.items() if key != "method"}
        return {name: getattr(self, key) for key, name in named.items()}

    def describe(self) -> str:
        """What the arm is: `LoRA, rank 4 on q and v, alpha 8`."""
        text = self.method.describe(self.common)
        if self.shots and not self.method.is_a_prompt:
            text += f", {self.shots} examples in the prompt"
        if self.start_from:
            text += f", on {Path(self.start_from).name if is_path(self.start_from) else self.start_from}"
        if self.rows:
            text += f", tuned on {self.rows:,} rows"
        return text

    _readable_rate = field_validator("learning_rate", mode="before")(number_or_auto)
    _positive_rate = field_validator("learning_rate")(positive)

    @model_validator(mode="before")
    @classmethod
    def _read_method(cls, value: object) -> object:
        """Take the method's own keys out of the arm's, and read them as the method says."""
        if not isinstance(value, Mapping) or isinstance(value.get("method"), Method):
            return value
        keys = {str(key): given for key, given in value.items()}
        named = keys.pop("method", None)
        chosen = implied_method(keys) if named is None else find_method(named)
        if chosen is None:
            names = " or ".join(f"'{method.name}'" for method in all_methods())
            raise ValidationError.from_exception_data(
                "Arm", [{"type": "enum", "loc": ("method",), "input": named, "ctx": {"expected": names}}]
            )
        own = {key: keys.pop(key) for key in list(keys) if key in chosen.own_keys()}
        errors: list[InitErrorDetails] = []
        for key in sorted(keys.keys() - {field.alias or name for name, field in Arm.model_fields.items()}):
            owners = [method.name for method in all_methods() if key in method.own_keys()]
            if owners:
                text = f"`{key}` belongs to arms with method {' or '.join(owners)}"
                keys.pop(key)
                errors.append({"type": "value_error", "loc": (key,), "input": None, "ctx": {"error": text}})
        try:
            method = chosen.model_validate(own)
        except ValidationError as error:
            errors += _as_raised(error)
            method = chosen.model_construct()
        if not errors:
            return keys | {"method": method}
        try:  # the other keys too: every mistake is named at once
            cls.model_validate(keys | {"method": method})
        except ValidationError as error:
            errors += _as_raised(error)
        raise ValidationError.from_exception_data("Arm", errors)

    @model_serializer(mode="wrap")
    def _as_in_the_file(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Flat, as it is written: the method by its name, unless the other keys imply it, with its own keys."""
        content: dict[str, Any] = handler(self)
        if (base := content.pop("start_from", content.pop("from", None))) is not None:
            content["from"] = base
        if content.pop("method", None) is None:
            return content
        own = self.method.model_dump(
            mode=info.mode,
            exclude_unset=info.exclude_unset,
            exclude_defaults=info.exclude_defaults,
            exclude_none=info.exclude_none,
        )
        is_implied = implied_method(own | dict(self.common)) is type(self.method)
        return ({} if is_implied else {"method": self.method.name}) | own | content

    @model_validator(mode="after")
    def _keys_belong_to_the_method(self) -> Arm:
        self.method.check_arm(self.common)
        if self.start_from and self.model:
            raise ValueError("`from` names the arm's base, `model` a model tuned elsewhere; give one")
        if self.template and self.prompt_file:
            raise ValueError("`template` and `prompt_file` both say what the model is shown; give one")
        if self.system and self.chat == "never":
            raise ValueError("`system` is a turn of a chat, and `chat: never` has none; use the `template`")
        stray = sorted({"learning_rate", "epochs", "rows"} & self.model_fields_set)
        if not self.tuned and stray:
            trained = [method.name for method in all_methods() if issubclass(method, TunedMethod)]
            raise ValueError(f"`{stray[0]}` belongs to arms that are tuned (method {' or '.join(trained)})")
        return self
