"""Tune every parameter of a model, or the matrices of some targets alone.

With targets, the other parameters take no gradient, and of a fused matrix (GPT-2's c_attn) only the targets' output
rows have masters, moments and a place in the arm's folder. What is stored are those weights alone, in
tuned_matrices.safetensors: a whole matrix under its own name, rows or columns of one as `NAME[DIMENSION:FROM:TO]`,
and those of each of N equal parts (GPT-NeoX has q, k and v of a head side by side) as `NAME[DIMENSION:FROM:TO:N]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetrial.errors import UserError
from finetrial.methods.full.full_method import Full
from finetrial.methods.model_targets import targeted_modules
from finetrial.methods.torch_half import Attached, Loaded, Part, TorchHalf, Where, trained
from finetrial.models.loading import cast_parameters, load_model, load_tokenizer
from finetrial.models.special_tokens import prepare_rows, row_modules
from finetrial.store.files import atomic_text

WEIGHTS, FACTS = "tuned_matrices.safetensors", "tuned_matrices.json"
_PART = re.compile(r"(.+)\[(\d+):(\d+):(\d+)(?::(\d+))?\]")


class FullHalf(TorchHalf[Full]):
    """Trains the model's own weights."""

    reads_float32: ClassVar[bool] = True
    shards: ClassVar[bool] = True

    def attach(
        self, model: PreTrainedModel, *, method: Full, fresh: Sequence[int], seed: int, dtype: torch.dtype
    ) -> Attached:
        if method.targets is None:
            model.requires_grad_(True)
            params = trained(model)
            masters = None
            if dtype != torch.float32:
                masters = [p.detach() for p in params]  # they take over the float32 memory
                cast_parameters(model, dtype)
            return Attached(model, sum(p.numel() for p in params), masters=masters)
        model.requires_grad_(False)
        slices = _slices(model, targets=method.targets, fresh=fresh)
        weights = dict(model.named_parameters())
        for name in slices:
            weights[name].requires_grad_(True)
        params = trained(model)
        places = {id(p): i for i, p in enumerate(params)}
        parts = {places[id(weights[name])]: found for name, found in slices.items() if found is not None}
        rows = {id(model.get_submodule(name).weight) for name in row_modules(model)} if fresh else set()
        count = sum(
            sum(part.of(p).numel() for part in parts[i]) if i in parts else p.numel()
            for i, p in enumerate(params)
            if id(p) not in rows
        )
        masters = None
        if dtype != torch.float32:
            masters = [v for i, p in enumerate(params) for v in _values(p, parts.get(i))]
            cast_parameters(model, dtype)
        return Attached(model, count, special_rows=len(fresh), parts=parts, masters=masters)

    def save(self, model: PreTrainedModel | PeftModel, *, method: Full, fresh: Sequence[int], folder: Path) -> None:
        """Write the model in transformers' layout, or the tuned weights alone."""
        assert isinstance(model, PreTrainedModel)
        if method.targets is None:
            model.save_pretrained(str(folder))
            return
        tensors: dict[str, torch.Tensor] = {}
        for name, parts in _slices(model, targets=method.targets, fresh=fresh).items():
            weight = model.get_parameter(name).detach()
            if parts is None:
                tensors[name] = weight.contiguous()
            else:
                tensors |= {f"{name}{_suffix(part)}": part.of(weight).contiguous() for part in parts}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        facts = {"base_model_name_or_path": model.name_or_path, "targets": list(method.targets)}
        atomic_text(folder / FACTS, json.dumps(facts, indent=2) + "\n")

    def load(self, method: Full, where: Where, *, folder: Path) -> Loaded:
        """The arm's own model, or the base with the tuned weights in their places."""
        if method.targets is None:
            own = load_model(
                str(folder), dtype=where.dtype, device=where.device, trust_remote_code=where.trust_remote_code
            )
            return Loaded(own)
        model = load_model(where.base, dtype=where.dtype, **where.source)
        if any(folder.glob("tokenizer*")):
            prepare_rows(model, tokens=len(load_tokenizer(str(folder))), fresh=(), known=0)
        put_tuned(model, folder=folder)
        return Loaded(model)


@torch.no_grad()
def put_tuned(model: PreTrainedModel, *, folder: Path) -> None:
    """Give a base the tuned weights of an arm's folder. Raises UserError where they do not fit it."""
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{folder} holds no tuned matrices", got=f"no {WEIGHTS}")
    weights = dict(model.named_parameters())
    for key, value in load_file(folder / WEIGHTS).items():
        found = _PART.fullmatch(key)
        name = found[1] if found else key
        place: torch.Tensor | None = weights.get(name)
        if place is not None and found:
            part = Part(int(found[2]), int(found[3]), int(found[4]), int(found[5] or 1))
            place = part.of(place) if part.fits(place) else None
        if place is None or place.shape != value.shape:
            raise UserError(f"the tuned matrices of {folder} do not fit the base model", got=key)
        place.copy_(value)


def _suffix(part: Part) -> str:
    groups = f":{part.groups}" if part.groups > 1 else ""
    return f"[{part.dimension}:{part.start}:{part.stop}{groups}]"


def _values(param: nn.Parameter, parts: tuple[Part, ...] | None) -> list[torch.Tensor]:
    """What is trained of a float32 parameter, in memory of its own once the parameter is cast."""
    return [param.detach()] if parts is None else [part.of(param.detach()).clone() for part in parts]


def _slices(
    model: PreTrainedModel, *, targets: Sequence[str], fresh: Sequence[int]
) -> Mapping[str, tuple[Part, ...] | None]:
    """The trained weights by their names, and which slices of them; None: the whole weight."""
    found: dict[str, tuple[Part, ...] | None] = {}
    for one in targeted_modules(model, targets=targets):
        dimension = 1 if isinstance(model.get_submodule(one.name), Conv1D) else 0
        parts = tuple(Part.of_rows(rows, dimension=dimension) for rows in one.blocks)
        found[f"{one.name}.weight"] = None if one.whole else parts
    for name in row_modules(model) if fresh else ():
        found[f"{name}.weight"] = tuple(Part(0, start, stop) for start, stop in _runs(fresh))
    return found


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Ids in ascending order as half-open ranges."""
    runs: list[tuple[int, int]] = []
    for one in sorted(ids):
        if runs and runs[-1][1] == one:
            runs[-1] = (runs[-1][0], one + 1)
        else:
            runs.append((one, one + 1))
    return runs


HALF = FullHalf()
