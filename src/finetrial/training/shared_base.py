"""Share one frozen base among the arms of a trial that leave it as it is, one after another or side by side.

A base is loaded once for each model, precision and set of special tokens. When the next arm comes, the adapters of
the one before are taken off, and the base is as it was loaded: adapters never write to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel

from finetrial.methods.halves import half_of
from finetrial.methods.torch_half import TorchHalf
from finetrial.models.kernels.place import restore_modules
from finetrial.models.kernels.private_calls import attention_of, give_attention
from finetrial.training.arm_setup import Base, TrainingSetup, load_base, prepare, set_mode, set_up
from finetrial.training.mounted_arms import MountedArms, SharedSetup, set_up_arms
from finetrial.training.task import TuneTask

_Key = tuple[str, str | None, str | None, tuple[str, ...], torch.dtype, torch.device]


class SharedBase:
    """Holds at most one base. An arm that trains the model's own weights has a model of its own: the base is let
    go."""

    def __init__(self) -> None:
        self._key: _Key | None = None
        self._base: Base | None = None
        self._adapted: PeftModel | None = None
        self._half: TorchHalf[Any] | None = None  # of the arm on it
        self._mounted: MountedArms | None = None  # several arms on it
        self._attention: str | None = None
        self._recomputes = False  # the arm on it recomputes its activations
        self.loads = 0  # how often a base was read from disk

    def prepare_arms(self, tasks: Sequence[TuneTask], *, dtype: torch.dtype, device: torch.device) -> SharedSetup:
        """The setup of arms that share their passes, on the base in memory where it is the same.

        Raises CannotShare.
        """
        base = self._base_of(tasks[0], dtype=dtype, device=device)
        try:
            setup = set_up_arms(tasks, base, dtype=dtype)
        except BaseException:
            self.forget()
            raise
        self._mounted, self._recomputes = setup.mounted, tasks[0].checkpointing
        return setup

    def prepare(self, task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
        """The task's model setup for its first step, on the base in memory where it is the same."""
        if not half_of(task.method).shares_base:
            self.forget()
            return prepare(task, dtype=dtype, device=device)
        base = self._base_of(task, dtype=dtype, device=device)
        try:
            setup = set_up(task, model=base.model, tokenizer=base.tokenizer, fresh=base.fresh, dtype=dtype)
        except BaseException:
            self.forget()  # half an arm may hang on it
            raise
        assert isinstance(setup.model, PeftModel)
        self._adapted, self._half, self._recomputes = setup.model, half_of(task.method), task.checkpointing
        return setup

    def _base_of(self, task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> Base:
        """The task's base as it was loaded: the one in memory where it is the same."""
        key = (task.model, task.revision, task.method.base_bits, task.special_tokens, dtype, device)
        self._restore_base()
        if key != self._key or self._base is None:
            self.forget()
            self._base, self._key = load_base(task, dtype=dtype, device=device), key
            self._attention = attention_of(self._base.model)
            self.loads += 1
        return self._base

    def forget(self) -> None:
        """Let the base go."""
        self._mounted = None
        self._key = self._base = self._adapted = self._half = self._attention = None

    def _restore_base(self) -> None:
        """Bring the base back to how it was loaded."""
        if self._base is None or (self._adapted is None and self._mounted is None):
            return
        model = self._base.model
        if self._mounted is not None:
            self._mounted.unmount()
        elif self._adapted is not None:
            assert self._half is not None
            restored = self._half.restore_modules(self._adapted)
            assert restored is model
        self._adapted = self._mounted = None
        restore_modules(model)
        if self._recomputes:
            model.gradient_checkpointing_disable()
        give_attention(model, self._attention)
        set_mode(model, training=False, model_dropout=False)
