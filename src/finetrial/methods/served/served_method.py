"""A model behind a server that speaks OpenAI's completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from finetrial.endpoints.setting import ArmEndpoint
from finetrial.methods.method import Method

SAMPLER = "endpoint"  # the sampler that asks it


class Served(Method):
    """A model that is asked over the wire, with the trial's own prompts."""

    name: ClassVar[str] = "endpoint"
    title: ClassVar[str] = "asked over the wire"
    is_from_elsewhere: ClassVar[bool] = True
    is_answered_elsewhere: ClassVar[bool] = True

    endpoint: ArmEndpoint

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        return bool(keys.get("endpoint")) and not keys.get("of")

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        for key in ("precision", "from"):
            if keys.get(key) is not None:
                raise ValueError(f"an arm behind an endpoint takes no `{key}`: its server decides")

    def describe(self, keys: Mapping[str, Any]) -> str:
        shots = f", {keys['shots']} examples in the prompt" if keys.get("shots") else ""
        return f"{self.endpoint.model}, {self.title}{shots}"

    @property
    def sampler(self) -> str | None:
        return SAMPLER

    @property
    def served_by(self) -> ArmEndpoint | None:
        return self.endpoint
