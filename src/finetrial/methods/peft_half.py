"""The torch half of methods that peft makes: modules beside frozen ones, saved in peft's own layout."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetrial.errors import UserError
from finetrial.footprint.beside import Beside
from finetrial.methods.method import TunedMethod
from finetrial.methods.model_targets import TargetedModule, targeted_modules
from finetrial.methods.torch_half import AnyMethod, Attached, Loaded, Part, TorchHalf, Where, trained
from finetrial.models.library_calls import quiet
from finetrial.models.merging import load_adapter, tuner_layers

ADAPTER = "default"  # the name that peft gives the one adapter of a model


@dataclass(frozen=True, slots=True)
class Entries:
    """One trained parameter of an adapted module: how many of its entries may move, and which."""

    parameter: nn.Parameter
    count: int
    mask: torch.Tensor | None  # of the parameter's shape; None: every entry moves
    decays: bool = True  # towards zero under weight decay; not what starts at one


def parameter_of(value: object) -> nn.Parameter:
    """What peft types as any module's attribute, as the parameter that it is."""
    assert isinstance(value, nn.Parameter)
    return value


def every_entry(parameter: nn.Parameter) -> Entries:
    """A parameter that is trained whole."""
    return Entries(parameter, parameter.numel(), None)


def rows_of(parameter: nn.Parameter, module: TargetedModule) -> Entries:
    """A parameter with one entry for each output row of the module: the targets' rows move, the others stay."""
    rows = torch.zeros(module.outputs, dtype=torch.float32, device=parameter.device)
    for block in module.blocks:
        Part.of_rows(block).of(rows).fill_(1)
    mask = None if module.whole else rows.reshape(parameter.shape)
    return Entries(parameter, int(rows.sum()), mask)


def short_names(wanted: Sequence[str], *, every: Sequence[str]) -> list[str]:
    """The shortest endings that match the wanted modules and no others; their full names where there are none."""
    for parts in (1, 2):
        endings = sorted({".".join(name.split(".")[-parts:]) for name in wanted})
        matched = [n for n in every if any(n == e or n.endswith("." + e) for e in endings)]
        if set(matched) == set(wanted):
            return endings
    return sorted(wanted)


def are_conv1d(model: PreTrainedModel, targeted: Sequence[TargetedModule]) -> bool:
    """Whether the modules keep their weights as inputs x outputs. Raises UserError where they differ in that."""
    modules = dict(model.named_modules())
    kinds = {isinstance(modules[one.name], Conv1D) for one in targeted}
    if len(kinds) > 1:
        raise UserError(
            "these targets mix layer types that one adapter cannot hold",
            got=", ".join(sorted({one.name.rsplit(".", 1)[-1] for one in targeted})),
        )
    return kinds == {True}


def adapt(
    model: PreTrainedModel, config: PeftConfig, *, seed: int, make: Callable[..., PeftModel] = get_peft_model
) -> PeftModel:
    """Freeze the model and put peft's modules in place, at the model's precision."""
    if model.name_or_path:
        config.base_model_name_or_path = model.name_or_path
    torch.manual_seed(seed)
    with quiet():
        return make(model, config, autocast_adapter_dtype=False)


def save_adapter(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """Write the adapter in peft's layout."""
    assert isinstance(model, PeftModel)
    with quiet():
        model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)


def _not_adapted(method: TunedMethod, model: PreTrainedModel, reason: str) -> UserError:
    return UserError(
        f"peft cannot adapt these targets of {model.config.model_type} by {method.title}",
        got=f"{', '.join(method.named_targets)}: {reason}"[:300],
        fix="Name other targets, or use method: full.",
    )


class PeftHalf(TorchHalf[AnyMethod]):
    """A method whose targets finetrial resolves and whose modules peft makes."""

    shares_base: ClassVar[bool] = True
    trains_new_rows: ClassVar[bool] = False  # whether the rows of new tokens can be trained beside it

    @abstractmethod
    def config(
        self,
        model: PreTrainedModel,
        *,
        method: AnyMethod,
        targeted: Sequence[TargetedModule],
        fresh: Sequence[int],
        seed: int,
    ) -> PeftConfig:
        """peft's configuration for exactly these modules."""

    @abstractmethod
    def entries(self, layer: BaseTunerLayer, module: TargetedModule, *, method: AnyMethod) -> Iterator[Entries]:
        """The trained parameters of one adapted module."""

    def check(self, method: AnyMethod, config: PretrainedConfig, *, trust_remote_code: bool = False) -> None:
        """Attach it to a model without weights. What only real weights can show is said when the arm is tuned."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        try:
            self._adapted(model, method=method, fresh=(), seed=0)
        except (NotImplementedError, RuntimeError):  # a start that must be computed
            return

    def attach(
        self, model: PreTrainedModel, *, method: AnyMethod, fresh: Sequence[int], seed: int, dtype: torch.dtype
    ) -> Attached:
        """Freeze the model and adapt what the targets mean. What starts at random depends on the seed alone."""
        peft_model, targeted, layers = self._adapted(model, method=method, fresh=fresh, seed=seed)
        places = {id(p): i for i, p in enumerate(trained(peft_model))}
        masks: dict[int, torch.Tensor] = {}
        undecayed: set[int] = set()
        count = 0
        for one in targeted:
            for found in self.entries(layers[one.name], one, method=method):
                count += found.count
                if found.mask is not None:
                    masks[places[id(found.parameter)]] = found.mask.float()
                if not found.decays:
                    undecayed.add(places[id(found.parameter)])
        return Attached(peft_model, count, special_rows=len(fresh), masks=masks, undecayed=frozenset(undecayed))

    def _adapted(
        self, model: PreTrainedModel, *, method: AnyMethod, fresh: Sequence[int], seed: int
    ) -> tuple[PeftModel, tuple[TargetedModule, ...], dict[str, BaseTunerLayer]]:
        """The adapted model, what the targets mean, and the modules that stand there now."""
        if fresh and not self.trains_new_rows:
            raise UserError(
                f"{method.title} cannot train the rows of new tokens",
                got=f"{len(fresh)} of data.special_tokens are new to the model",
                fix="Leave data.special_tokens out, or use method: lora or full.",
            )
        targeted = targeted_modules(model, targets=method.named_targets)
        with quiet():
            config = self.config(model, method=method, targeted=targeted, fresh=fresh, seed=seed)
        try:
            peft_model = adapt(model, config, seed=seed)
        except (ValueError, TypeError) as error:
            raise _not_adapted(
                method, model, (str(error).strip().splitlines() or [type(error).__name__])[0]
            ) from None
        layers = {name: layer for name, layer in tuner_layers(peft_model).items() if self.is_adapted(layer)}
        if left_out := sorted({one.name for one in targeted} - set(layers)):
            # of some mixtures of experts peft takes such names for the experts' own tensors
            raise _not_adapted(method, model, f"peft adapts no {left_out[0]}, though it is targeted")
        assert set(layers) == {one.name for one in targeted}, "peft adapted other modules than the targets mean"
        return peft_model, targeted, layers

    def is_adapted(self, layer: BaseTunerLayer) -> bool:
        """Whether this is one of the method's own modules, not of the rows of new tokens."""
        return True

    def restore_modules(self, model: PreTrainedModel | PeftModel) -> PreTrainedModel:
        assert isinstance(model, PeftModel)
        base = model.unload()
        assert isinstance(base, PreTrainedModel)
        return base

    def save(
        self, model: PreTrainedModel | PeftModel, *, method: AnyMethod, fresh: Sequence[int], folder: Path
    ) -> None:
        save_adapter(model, folder)

    def load(self, method: AnyMethod, where: Where, *, folder: Path) -> Loaded:
        """The base with the adapter merged in float32 and rounded to the precision once, or beside the weights."""
        prepare = functools.partial(self.as_trained, dtype=where.dtype)
        found = load_adapter(where.base, adapter=folder, dtype=where.dtype, prepare=prepare, **where.source)
        if found.unmerged is None:
            return Loaded(found.model, moved=found.moved)
        counted = method.counted()
        beside = counted if isinstance(counted, Beside) else None
        return Loaded(found.model, unmerged=found.unmerged, beside=beside, adapter=folder, moved=found.moved)

    def as_trained(self, model: PeftModel, *, dtype: torch.dtype) -> None:
        """Give a model that was read at float32 what it was trained with where that is not saved."""
