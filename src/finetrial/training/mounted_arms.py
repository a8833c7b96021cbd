"""Put the adapters of several arms on one frozen base: all of them side by side, or one in peft's own modules.

Each arm keeps the modules that peft made for it. In the place of every module that some arm targets stands one that
gives each arm's slice of a row the arm's adapter (kernels/arm_slices.py); to write an arm's adapter its own modules
are put in place for a moment, and saved as ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers import PreTrainedModel

from finetrial.methods.halves import half_of
from finetrial.models.batches import MicroBatch
from finetrial.models.forward import LossModel, probe
from finetrial.models.kernels.arm_slices import ArmSlices, ArmSlicesLinear, RowMismatch, why_not_sliced
from finetrial.models.merging import tuner_layers
from finetrial.models.special_tokens import embedding_weight
from finetrial.store.records import FastPath
from finetrial.training.arm_setup import Base, TrainingSetup, set_up
from finetrial.training.task import TuneTask

_LOOKED_AT = 6  # tokens


class CannotShare(Exception):
    """These arms cannot share their passes; one by one they can be tuned."""


class MountedArms:
    """The arms' adapters on their base. Made with none in place."""

    def __init__(self, base: PreTrainedModel, layers: Sequence[dict[str, LoraLinear]]) -> None:
        """`layers` are each arm's adapted modules by name."""
        self._base, self._layers = base, layers
        self.slices = ArmSlices()
        names = dict.fromkeys(name for own in layers for name in own)
        self._side_by_side: dict[str, nn.Module] = {
            name: ArmSlicesLinear({i: own[name] for i, own in enumerate(layers) if name in own}, slices=self.slices)
            for name in names
        }
        self._plain = {name: self._base.get_submodule(name) for name in names}

    def _put(self, modules: dict[str, nn.Module]) -> None:
        for name, module in modules.items():
            holder, _, last = name.rpartition(".")
            setattr(self._base.get_submodule(holder), last, module)

    def mount(self) -> None:
        """Put all arms' adapters in place, side by side."""
        self._put(self._side_by_side)

    def unmount(self) -> None:
        """Leave the base as it was."""
        self._put(self._plain)

    @contextlib.contextmanager
    def alone(self, arm: int) -> Iterator[None]:
        """One arm's adapter in peft's own modules while the block runs; afterwards all are side by side."""
        self.unmount()
        self._put(dict(self._layers[arm]))
        try:
            yield
        finally:
            self._put(self._plain)
            self.mount()


@dataclasses.dataclass(frozen=True, slots=True)
class SharedSetup:
    """Arms that can take their first step, and what computes the losses of all of them."""

    arms: tuple[TrainingSetup, ...]
    loss_model: LossModel
    mounted: MountedArms


def _not_probed(model: PreTrainedModel | PeftModel) -> LossModel:
    """For an arm whose fast paths are looked for when all are in place."""
    return LossModel(model, packed=False, fused=False)


def set_up_arms(tasks: Sequence[TuneTask], base: Base, *, dtype: torch.dtype) -> SharedSetup:
    """Attach every arm's adapter to the base, and find the fastest way to their losses.

    Raises CannotShare where the model does not let rows be told apart.
    """
    model, setups, layers = base.model, [], []
    for task in tasks:
        setup = set_up(
            task, model=model, tokenizer=base.tokenizer, fresh=base.fresh, dtype=dtype, probing=_not_probed
        )
        layers.append(_layers_of(setup, model))
        half_of(task.method).restore_modules(setup.model)
        setups.append(setup)
    mounted = MountedArms(model, layers)
    mounted.mount()
    loss_model = probe(model)
    if not loss_model.packed:
        raise CannotShare(next(path.reason for path in loss_model.fast_paths if path.name == "packed rows"))
    _check_rows(loss_model, mounted.slices, arms=len(tasks))
    paths = tuple(
        FastPath(path.name, on=True, reason=f"of {len(tasks)} arms side by side")
        if path.name == "LoRA's thin products"
        else path
        for path in loss_model.fast_paths
    )
    made = [
        dataclasses.replace(
            setup,
            loss_model=dataclasses.replace(loss_model, model=setup.model, fast_paths=paths),
            saving=partial(mounted.alone, place),
        )
        for place, setup in enumerate(setups)
    ]
    return SharedSetup(tuple(made), loss_model, mounted)


def _layers_of(setup: TrainingSetup, model: PreTrainedModel) -> dict[str, LoraLinear]:
    """The arm's adapted modules by their names. Raises CannotShare for what cannot stand side by side."""
    found: dict[str, LoraLinear] = {}
    for name, module in tuner_layers(setup.model).items():
        if (reason := why_not_sliced(module)) is not None:
            raise CannotShare(reason)
        if module is model.get_output_embeddings():
            raise CannotShare("an adapter on the head sees other tokens than the layers")
        if ".experts." in f".{name}.":
            raise CannotShare("experts see the tokens in an order of their own")
        assert isinstance(module, LoraLinear)
        found[name] = module
    return found


@torch.no_grad()
def _check_rows(loss_model: LossModel, slices: ArmSlices, *, arms: int) -> None:
    """Pass a short row of all arms forward. Raises CannotShare where a module is given other tokens."""
    vocabulary = embedding_weight(loss_model.base).shape[0]
    ids_T = torch.arange(1, _LOOKED_AT + 1) % vocabulary
    row = MicroBatch(ids_T, torch.arange(_LOOKED_AT), ((1, _LOOKED_AT),), torch.arange(_LOOKED_AT), ids_T)
    batch = loss_model.bring(row.repeated(arms))
    slices.set(range(arms), tokens=_LOOKED_AT, total=batch.input_ids_T.numel())
    try:
        loss_model.part_losses(batch, scales=[1.0] * arms)
    except RowMismatch as error:
        raise CannotShare(str(error)) from None
    finally:
        slices.clear()
