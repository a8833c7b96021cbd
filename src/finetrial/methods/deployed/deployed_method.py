"""Another arm in the form in which it is deployed: merged, converted, or behind a server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from finetrial.endpoints.setting import ArmEndpoint
from finetrial.methods.method import Method, NonEmpty
from finetrial.methods.outputs.outputs_method import refuse_keys
from finetrial.methods.served.served_method import SAMPLER as ENDPOINT

LLAMA_CPP = "llama.cpp"  # the sampler that runs GGUF files

_WORDS = {"merged": "merged into its base", "endpoint": "as it is served", "gguf": "as a GGUF file in llama.cpp"}


class Deployed(Method):
    """What another arm of the trial becomes on its way to users; it is tested for equivalence with that arm."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)

    name: ClassVar[str] = "deployed"
    title: ClassVar[str] = "another arm as it is deployed"
    is_from_elsewhere: ClassVar[bool] = True

    of: NonEmpty  # the arm
    form: Literal["merged", "endpoint", "gguf"] = Field(alias="as")
    file: NonEmpty | None = None  # the GGUF file
    endpoint: ArmEndpoint | None = None  # the server
    margin: float | None = Field(default=None, gt=0)  # of the primary metric; None: judging.margin

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        return bool(keys.get("of"))

    @classmethod
    def own_keys(cls) -> Collection[str]:
        return {field.alias or key for key, field in cls.model_fields.items()}

    @model_validator(mode="after")
    def _what_the_form_needs(self) -> Deployed:
        for form, key in (("gguf", "file"), ("endpoint", "endpoint")):
            given = getattr(self, key) is not None
            if given != (self.form == form):
                raise ValueError(f"`as: {form}` {'and' if given else 'needs'} `{key}` " + _both(given, key))
        return self

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        names = "template prompt_file chat system stop shots precision from"
        refuse_keys(keys, names, of="another one's deployed form")

    def describe(self, keys: Mapping[str, Any]) -> str:
        name = {"gguf": f": {Path(self.file or '').name}", "endpoint": f": {self.endpoint_model}"}
        return f"{self.of} {_WORDS[self.form]}{name.get(self.form, '')}"

    @property
    def endpoint_model(self) -> str:
        return "" if self.endpoint is None else self.endpoint.model

    @property
    def sampler(self) -> str | None:
        return {"merged": None, "endpoint": ENDPOINT, "gguf": LLAMA_CPP}[self.form]

    @property
    def answers_file(self) -> str | None:
        return self.file

    @property
    def served_by(self) -> ArmEndpoint | None:
        return self.endpoint

    @property
    def equivalence_margin(self) -> float | None:
        return self.margin

    @property
    def deployed_from(self) -> str | None:
        return self.of


def _both(given: bool, key: str) -> str:
    return "belong together" if given else f"beside it: `{{of: ARM, as: ..., {key}: ...}}`"
