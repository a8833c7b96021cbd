"""The model as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from finetrial.methods.method import Method


class Base(Method):
    """The trial's model, with the trial's template and nothing else."""

    name: ClassVar[str] = "base"
    title: ClassVar[str] = "the model as it is"
    is_the_model_itself: ClassVar[bool] = True

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        """What no other method claims is the base."""
        return True

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        for key in ("shots", "prompt_file"):
            if keys.get(key):
                raise ValueError(f"a base arm is the model as it is and takes no `{key}`; use method: prompted")

    def describe(self, keys: Mapping[str, Any]) -> str:
        return self.title
