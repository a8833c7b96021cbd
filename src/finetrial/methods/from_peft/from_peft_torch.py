"""Adapters that peft makes of a configuration given as it is: attached, counted, merged where they can be.

What is merged must give the logits that it gives beside the weights. What cannot be merged, or gives others, is
sampled as it was trained, and exported as the adapter.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from finetrial.errors import UserError, unknown_name
from finetrial.footprint.beside import Beside
from finetrial.methods.from_peft.counting_torch import count_modules
from finetrial.methods.from_peft.from_peft_method import FromPeft
from finetrial.methods.peft_half import adapt, save_adapter
from finetrial.methods.torch_half import Attached, Loaded, TorchHalf, Where, trained
from finetrial.models.library_calls import quiet
from finetrial.models.merging import PEFT_REFUSALS, load_adapter, tuner_layers

_STEP = 0.1  # of a standard normal; enough for an effect, not for overflow. Assumption


class FromPeftHalf(TorchHalf[FromPeft]):
    """Whatever peft has that sits in the modules."""

    def __init__(self) -> None:
        self._counts: weakref.WeakKeyDictionary[PreTrainedModel, Beside | None] = weakref.WeakKeyDictionary()

    def check(self, method: FromPeft, config: PretrainedConfig, *, trust_remote_code: bool = False) -> None:
        """Attach it to a model without weights. What only real weights can show is said when the arm is tuned."""
        own = peft_config(method)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        try:
            adapt(model, own, seed=0)
        except (ValueError, TypeError) as error:
            raise _not_attached(method, error) from None
        except (NotImplementedError, RuntimeError):  # a start that must be computed
            return

    def attach(
        self, model: PreTrainedModel, *, method: FromPeft, fresh: Sequence[int], seed: int, dtype: torch.dtype
    ) -> Attached:
        if fresh:
            raise UserError(
                f"{method.title} cannot train the rows of new tokens",
                got=f"{len(fresh)} of data.special_tokens are new to the model",
                fix="Leave data.special_tokens out, or use method: lora or full.",
            )
        try:
            adapted = adapt(model, peft_config(method), seed=seed)
        except PEFT_REFUSALS as error:
            raise _not_attached(method, error) from None
        params = trained(adapted)
        if not params or not tuner_layers(adapted):
            raise UserError(f"peft's {method.peft_type} trains nothing in this model's modules", got=method.config)
        return Attached(adapted, sum(p.numel() for p in params))

    @contextlib.contextmanager
    def showing(self, model: PreTrainedModel | PeftModel) -> Iterator[None]:
        """A random step away from the start, taken back afterwards."""
        params = trained(model)
        kept = [p.detach().clone() for p in params]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            with torch.no_grad():
                for p in params:
                    p.add_(torch.randn(p.shape).to(p.device, p.dtype), alpha=_STEP)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in zip(params, kept, strict=True):
                    p.copy_(value)

    def counted(self, method: FromPeft, model: PreTrainedModel) -> Beside | None:
        """Counted once from the modules that peft has put in place."""
        if model not in self._counts:
            self._counts[model] = count_modules(model, words=f"peft's {method.peft_type}")
        return self._counts[model]

    def save(
        self, model: PreTrainedModel | PeftModel, *, method: FromPeft, fresh: Sequence[int], folder: Path
    ) -> None:
        save_adapter(model, folder)

    def load(self, method: FromPeft, where: Where, *, folder: Path) -> Loaded:
        found = load_adapter(where.base, adapter=folder, dtype=where.dtype, **where.source)
        if found.unmerged is None:
            return Loaded(found.model, moved=found.moved)
        beside = self.counted(method, found.model)
        return Loaded(found.model, unmerged=found.unmerged, beside=beside, adapter=folder, moved=found.moved)


def peft_config(method: FromPeft) -> PeftConfig:
    """peft's own configuration. Raises UserError where peft has no such type or setting, or it is a prompt."""
    known = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if method.peft_type not in known:
        raise unknown_name("peft_type", method.peft_type, known)
    settings = {key: value for key, value in method.config.items() if key != "peft_type"}
    try:
        with quiet():
            config: PeftConfig = known[method.peft_type](**({"task_type": "CAUSAL_LM"} | settings))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"peft does not take this configuration of {method.peft_type}",
            got=str(error).splitlines()[0][:300],
            expected="some of " + ", ".join(known[method.peft_type].__dataclass_fields__),
        ) from None
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise UserError(
            f"peft's {method.peft_type} learns a prompt and sits in none of the model's modules",
            fix="Name a type that adapts modules, such as LOHA, OFT or LN_TUNING.",
        )
    return config


def _not_attached(method: FromPeft, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        f"peft cannot put {method.peft_type} on this model",
        got=lines[0][:300],
        fix="Name modules of this model in `target_modules`, by peft's rules.",
    )


HALF = FromPeftHalf()
