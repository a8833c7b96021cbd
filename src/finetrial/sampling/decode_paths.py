"""Choose how a card takes a decoding step: which modules are computed otherwise, and by which kernels.

A kernel is tried against the plain computation it equals, on random numbers of the arm's precision and shapes,
before it is used; what is not used says why.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from finetrial.models.kernels.accelerator import device_capabilities, why_no_triton
from finetrial.models.kernels.float32_copy import NoFloat32Copy, decoder_layers
from finetrial.models.kernels.opaque_attention import opaque
from finetrial.models.kernels.place import near, place, restore_modules
from finetrial.models.kernels.rms_norm import eps_of, is_norm
from finetrial.models.kernels.shared_attention import plain_shared_attention
from finetrial.sampling.nucleus import Choice, choose, choose_by
from finetrial.trial.resolve import Decoding

# Relative errors, in norm, of attention at a precision: rounding of inputs and probabilities. Assumption
_NEAR = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}
_AGREE = 0.98  # of the tokens chosen on random numbers; float32 sums in another order move a few. Assumption


class Modules(StrEnum):
    """How the model's modules are computed in a decoding step."""

    OWN = "the model's own modules"
    NORMS = "norms as one kernel"
    COMPILED = "layers compiled"


@dataclass(slots=True)
class Paths:
    """What a step is made of, and why something is not."""

    modules: Modules = Modules.OWN
    attend: Callable[..., torch.Tensor] | None = None  # attend_kernel.attend_slots
    choose: Callable[..., Choice] | None = None
    left_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        used = [str(self.modules)]
        used += ["attention as one kernel"] if self.attend is not None else []
        used += ["choice as one kernel"] if self.choose is not None else []
        return "; ".join([*used, *self.left_out])


def choose_paths(
    model: PreTrainedModel,
    *,
    dtype: torch.dtype,
    samples: int,
    modules: Modules | None = None,
    kernels: bool = True,
) -> Paths:
    """What a step is made of on the model's device."""
    device = model.device
    if device.type == "cpu":
        return Paths()
    paths = Paths(modules=Modules.NORMS if modules is None else modules)
    reason = why_no_triton(device_capabilities(device)) if kernels else "not asked for"
    if reason is not None:
        paths.left_out.append(f"no kernels of our own: {reason}")
        return paths
    from finetrial.models.kernels.attend_kernel import attend_slots  # they need Triton
    from finetrial.models.kernels.choice_kernel import choose_tokens

    if (reason := _tried(lambda: _why_not_attend(attend_slots, model, dtype=dtype, samples=samples))) is None:
        # a compiler must not look into it
        paths.attend = opaque(attend_slots) if paths.modules is Modules.COMPILED else attend_slots
    else:
        paths.left_out.append(f"attention as one kernel not: {reason}")
    if dtype == torch.float32:  # whose samples are the same in every batch but for near-ties, which are noted
        paths.left_out.append("choice as one kernel not: it does not note near-ties")
    elif (reason := _tried(lambda: _why_not_choose(choose_tokens, dtype=dtype, device=device))) is None:
        paths.choose = KernelChoice(choose_tokens)
    else:
        paths.left_out.append(f"choice as one kernel not: {reason}")
    return paths


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """Chooses tokens as `nucleus.choose_by` does, by one kernel."""

    run: Callable[..., tuple[torch.Tensor, torch.Tensor]]

    def __call__(
        self,
        decoding: Decoding,
        logits_BV: torch.Tensor,
        *,
        uniform_B: torch.Tensor,
        seen_BV: torch.Tensor | None = None,
    ) -> Choice:
        """See `choose_by`."""
        if decoding.temperature == 0 or seen_BV is not None:
            return choose_by(decoding, logits_BV, uniform_B=uniform_B, seen_BV=seen_BV, shortlist=False)
        return Choice(
            *self.run(
                logits_BV,
                uniform_B=uniform_B,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                top_k=decoding.top_k,
                min_p=decoding.min_p,
            )
        )


def _tried(work: Callable[[], str | None]) -> str | None:
    try:
        return work()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler's, a driver's, a missing operation's
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"[:160]


def _why_not_attend(
    run: Callable[..., torch.Tensor], model: PreTrainedModel, *, dtype: torch.dtype, samples: int
) -> str | None:
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    for window in (None, 9):
        error = attend_error(
            run,
            heads=heads,
            key_heads=key_heads,
            size=size,
            samples=samples,
            window=window,
            dtype=dtype,
            device=model.device,
        )
        if not error <= _NEAR[dtype]:
            return f"its error against float32 is {error:.2g}"
    return None


@torch.no_grad()
def attend_error(
    run: Callable[..., torch.Tensor],
    *,
    heads: int,
    key_heads: int,
    size: int,
    samples: int,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
    slots: int = 3,
    places: tuple[int, int] = (150, 70),
) -> float:
    """The relative error, in norm, of a kernel against the plain computation at float32."""
    prompt_places, own_places = places
    generator = torch.Generator().manual_seed(0)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    rows = slots * samples
    q_NHD, k_NKD, v_NKD = made(rows, heads, size), made(rows, key_heads, size), made(rows, key_heads, size)
    prompt_k, prompt_v = (made(slots, key_heads, prompt_places, size) for _ in range(2))
    own_k, own_v = (made(slots, key_heads, samples, own_places, size) for _ in range(2))
    prompt_N = (torch.arange(slots) * (prompt_places - 1) // max(1, slots - 1) + 1).repeat_interleave(samples)
    place_N = torch.arange(rows) * 13 % own_places
    hidden_P = torch.arange(prompt_places) >= prompt_N[:, None]
    hidden_O = torch.arange(own_places) > place_N[:, None]
    if window is not None:
        hidden_P = hidden_P | (torch.arange(prompt_places) <= (prompt_N + place_N - window)[:, None])
        hidden_O = hidden_O | (torch.arange(own_places) <= (place_N - window)[:, None])
    mask = torch.zeros(rows, prompt_places + own_places).masked_fill_(
        torch.cat((hidden_P, hidden_O), 1), float("-inf")
    )
    mask = mask.view(slots, 1, samples, 1, -1).to(device)
    prompt_N, place_N = prompt_N.to(device), place_N.to(device)
    written_k, written_v = own_k.clone(), own_v.clone()
    slot_N, sample_N = (
        torch.arange(rows, device=device) // samples,
        torch.arange(rows, device=device) % samples,
    )
    written_k[slot_N, :, sample_N, place_N], written_v[slot_N, :, sample_N, place_N] = k_NKD, v_NKD
    expected = plain_shared_attention(
        q_NHD.float().view(slots, samples, key_heads, -1, size),
        *(x.float() for x in (prompt_k, prompt_v, written_k, written_v)),
        mask=mask,
        scaling=size**-0.5,
    )
    found = run(
        q_NHD,
        k_NKD,
        v_NKD,
        prompt_k=prompt_k,
        prompt_v=prompt_v,
        own_k=own_k,
        own_v=own_v,
        prompt_N=prompt_N,
        place_N=place_N,
        samples=samples,
        scaling=size**-0.5,
        window=window,
    )
    if not (torch.equal(own_k, written_k) and torch.equal(own_v, written_v)):
        return float("inf")
    return float((found.float() - expected).norm() / expected.norm())


@torch.no_grad()
def _why_not_choose(
    run: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    *,
    dtype: torch.dtype,
    device: torch.device,
    rows: int = 64,
    words: int = 3001,
) -> str | None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(rows, words, generator=generator)).to(device, dtype)
    uniform = torch.rand(rows, generator=generator).to(device)
    settings: tuple[dict[str, Any], ...] = (
        {"temperature": 1.0, "top_p": 0.95, "top_k": None, "min_p": 0.0},
        {"temperature": 0.7, "top_p": 1.0, "top_k": None, "min_p": 0.0},
        {"temperature": 1.0, "top_p": 0.9, "top_k": 50, "min_p": 0.02},
    )
    for setting in settings:
        expected = choose(logits, uniform_B=uniform, shortlist=False, **setting)
        token_B, logprob_B = run(logits, uniform_B=uniform, **setting)
        same_B = token_B == expected.token_B
        if not same_B.float().mean() >= _AGREE:
            # ties are ordered by torch's sort as it likes: what was taken must be as probable
            as_likely = logits.gather(1, token_B[:, None]) == logits.gather(1, expected.token_B[:, None])
            if not (same_B | as_likely[:, 0]).float().mean() >= _AGREE:
                return f"it chooses others than a sort does, with {setting}"
        if not near(logprob_B[same_B], expected.logprob_B[same_B]):
            return "its log-probabilities differ"
    return None


@contextlib.contextmanager
def placed_modules(model: PreTrainedModel, modules: Modules) -> Iterator[None]:
    """While open, the model's decoding steps are computed that way; prompts are read by its own modules."""
    if modules is Modules.NORMS:
        plain: dict[type[nn.Module], bool] = {}
        for module in model.modules():
            if not is_norm(module) or "forward" in vars(module):
                continue
            kind = type(module)
            plain[kind] = plain[kind] if kind in plain else _is_plain_norm(module)
            if plain[kind]:
                place(module, _norm, name="RMS norm", when=_one_token)
    elif modules is Modules.COMPILED:
        _place_compiled(model)
    try:
        yield
    finally:
        if modules is not Modules.OWN:
            restore_modules(model)


def _one_token(x: torch.Tensor) -> bool:
    """Whether each sequence of a batch has one token."""
    return x.ndim > 2 and x.shape[1] == 1


def _norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, module.weight.shape, module.weight, eps_of(module))


@torch.no_grad()
def _is_plain_norm(module: Any) -> bool:
    weight = module.weight
    x = torch.linspace(-2, 3, 2 * weight.numel(), device=weight.device).view(2, -1).to(weight.dtype)
    return near(_norm(module, x), type(module).forward(module, x), tolerance=_NEAR.get(weight.dtype, 1e-4))


def _place_compiled(model: PreTrainedModel) -> None:
    try:
        _, _, layers = decoder_layers(model)
    except NoFloat32Copy:
        return
    for layer in layers:
        if "forward" not in vars(layer):
            kind: Any = type(layer)
            place(layer, _compiled(kind), name=str(Modules.COMPILED), when=_one_token)


@functools.cache
def _compiled(kind: Any) -> Any:
    """One for all layers of a class: their caches and weights are arguments."""
    return torch.compile(kind.forward, dynamic=False)
