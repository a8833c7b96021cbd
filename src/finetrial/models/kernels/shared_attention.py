"""Attend, while sampling, to a prompt's keys and values, which its samples share, and to each sample's own.

One attention function is registered with transformers' AttentionInterface; a model computes with its own modules
and hands its queries, keys and values to it. Prompts are read as one packed row without padding, which fills the
slots of the prompts. A decoding step reads every prompt once for all its samples: their queries are rows of one
matrix. Caches are made once and filled in place.

Shapes: W slots in use (of S), k samples of a slot's prompt, K key-value heads, G query heads of each, H = K G,
D head size; P places of a prompt, O places of what a sample has written; N rows, a sequence each (N = W k, or
fewer); T tokens of a packed row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AttentionInterface

from finetrial.models.kernels.attention import UnsupportedAttention, block_attention, refuse_others
from finetrial.models.kernels.block_products import BlockRuns
from finetrial.models.kernels.rows_layout import RowLayout

SHARED_ATTENTION = "finetrial_shared"
_CACHE = "sampling_cache"  # the attribute of an attention module: layers of one kind are then compiled once


class Attends(Protocol):
    """What a model's forward pass is given as `sampling`: how its tokens attend."""

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        """[B, T, H, D] of [B, H, T, D], [B, K, T, D] and [B, K, T, D]."""


@dataclass(slots=True, eq=False)
class LayerCache:
    """One layer's keys and values, of all slots."""

    prompt_k: torch.Tensor  # S K P D
    prompt_v: torch.Tensor
    own_k: torch.Tensor  # S K k O D: a slot's samples beside each other
    own_v: torch.Tensor


@dataclass(slots=True, eq=False)
class CacheStore:
    """The caches of a model's layers, each made when its layer is first called."""

    slots: int
    samples: int
    prompt_places: int
    own_places: int
    holders: list[nn.Module] = field(default_factory=list)
    key_heads: set[int] = field(default_factory=set)
    windows: set[int | None] = field(default_factory=set)

    def cache_of(self, module: nn.Module, *, key: torch.Tensor, value: torch.Tensor) -> LayerCache:
        """The module's caches. Zeros: what is masked must still be a number."""
        found: LayerCache | None = vars(module).get(_CACHE)
        if found is None or module not in self.holders:
            heads = key.shape[1]
            sizes = [(self.slots, heads, self.prompt_places), (self.slots, heads, self.samples, self.own_places)]
            made = [x.new_zeros(*size, x.shape[-1]) for size in sizes for x in (key, value)]
            found = LayerCache(*made)
            setattr(module, _CACHE, found)
            self.holders.append(module)
            self.key_heads.add(heads)
        return found

    @property
    def caches(self) -> list[LayerCache]:
        """Of all layers."""
        return [getattr(module, _CACHE) for module in self.holders]

    @property
    def n_bytes(self) -> int:
        """What they take."""
        tensors = (x for c in self.caches for x in (c.prompt_k, c.prompt_v, c.own_k, c.own_v))
        return sum(x.numel() * x.element_size() for x in tensors)

    def move_slots(self, sources_W: torch.Tensor) -> None:
        """Bring the slots of these numbers to the front, in their order."""
        for cache in self.caches:
            for x in (cache.prompt_k, cache.prompt_v, cache.own_k, cache.own_v):
                x[: len(sources_W)] = x.index_select(0, sources_W)

    def release(self) -> None:
        """Let go of everything."""
        for module in self.holders:
            if _CACHE in vars(module):
                delattr(module, _CACHE)
        self.holders.clear()


@dataclass(slots=True, eq=False)
class PromptRow:
    """A packed row of prompts, read into their slots."""

    store: CacheStore
    runs: BlockRuns
    slot_T: torch.Tensor
    place_T: torch.Tensor
    make_layout: Any = None  # (query, key, window) -> RowLayout, on a card
    _index: dict[int, torch.Tensor] = field(default_factory=dict)

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        """Causal attention of every prompt to itself; its keys and values are kept."""
        cache = self.store.cache_of(module, key=key, value=value)
        self.store.windows.add(window)
        for kept, fresh in ((cache.prompt_k, key), (cache.prompt_v, value)):
            heads, size = fresh.shape[1], fresh.shape[3]
            rows = fresh[0].transpose(0, 1).reshape(-1, size)
            kept.view(-1, size).index_copy_(0, self._places(heads), rows)
        runs: BlockRuns | RowLayout = self.runs
        if self.make_layout is not None:
            runs = self.make_layout(query, key, window)
        return block_attention(
            module, query, key, value, None, scaling=scaling, sliding_window=window, block_runs=runs
        )[0]

    def _places(self, heads: int) -> torch.Tensor:
        """Where every token and head of the row stands in a prompts' cache: [T K]."""
        if heads not in self._index:
            head_K = torch.arange(heads, device=self.slot_T.device)
            index_TK = (self.slot_T[:, None] * heads + head_K) * self.store.prompt_places + self.place_T[:, None]
            self._index[heads] = index_TK.flatten()
        return self._index[heads]


@dataclass(slots=True, eq=False)
class DecodingRows:
    """One new token of each row: its key and value are kept, and it attends to its prompt and to its own tokens."""

    width: int  # slots in use
    samples: int
    prompt_places: int  # of the longest prompt in use, at least
    own_places: int  # of the row that has written most, at least
    rows_N: torch.Tensor | None  # the rows' numbers among W k; None: all
    prompt_N: torch.Tensor  # tokens of each row's prompt
    place_N: torch.Tensor  # the new token's number among the row's own
    index: dict[int, torch.Tensor]  # by key heads: where each row's key goes, [N K]
    mask: dict[int | None, torch.Tensor]  # by window: 0 or minus infinity, [W, 1, k, 1, P + O]
    kernel: Callable[..., torch.Tensor] | None = None  # which keeps and attends at once, of all rows

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        """See the module's first lines."""
        cache: LayerCache = module.sampling_cache  # type: ignore[assignment]
        if self.kernel is not None:
            return self.kernel(
                query.squeeze(2),
                key.squeeze(2),
                value.squeeze(2),
                prompt_k=cache.prompt_k,
                prompt_v=cache.prompt_v,
                own_k=cache.own_k,
                own_v=cache.own_v,
                prompt_N=self.prompt_N,
                place_N=self.place_N,
                samples=self.samples,
                scaling=scaling,
                window=window,
            )[:, None]
        heads, size = key.shape[1], query.shape[3]
        for kept, fresh in ((cache.own_k, key), (cache.own_v, value)):
            kept.view(-1, fresh.shape[3]).index_copy_(0, self.index[heads], fresh.reshape(-1, fresh.shape[3]))
        q_NHD = query.squeeze(2)
        if self.rows_N is not None:
            q_full = q_NHD.new_zeros(self.width * self.samples, *q_NHD.shape[1:])
            q_NHD = q_full.index_copy_(0, self.rows_N, q_NHD)
        out_NHD = shared_attention(
            q_NHD.reshape(self.width, self.samples, heads, -1, size),
            cache.prompt_k[: self.width, :, : self.prompt_places],
            cache.prompt_v[: self.width, :, : self.prompt_places],
            cache.own_k[: self.width, :, :, : self.own_places],
            cache.own_v[: self.width, :, :, : self.own_places],
            mask=self.mask[window],
            scaling=scaling,
        )
        if self.rows_N is not None:
            out_NHD = out_NHD.index_select(0, self.rows_N)
        return out_NHD[:, None]


def shared_attention(
    q_WkKGD: torch.Tensor,
    prompt_k_WKPD: torch.Tensor,
    prompt_v_WKPD: torch.Tensor,
    own_k_WKkOD: torch.Tensor,
    own_v_WKkOD: torch.Tensor,
    *,
    mask: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """Scores against the prompt's keys and the sample's own, one softmax over both: [W k, H, D].

    `mask` is 0 or minus infinity: [W, 1, k, 1, P + O].
    """
    width, samples, heads, group, size = q_WkKGD.shape
    places = prompt_k_WKPD.shape[2]
    q_bqD = q_WkKGD.transpose(1, 2).reshape(width * heads, samples * group, size).contiguous()
    none = q_bqD.new_empty(())
    prompt_bqP = torch.baddbmm(none, q_bqD, prompt_k_WKPD.flatten(0, 1).transpose(1, 2), beta=0, alpha=scaling)
    own = torch.baddbmm(
        none,
        q_bqD.view(-1, group, size),
        own_k_WKkOD.flatten(0, 2).transpose(1, 2),
        beta=0,
        alpha=scaling,
    )
    scores = torch.cat((prompt_bqP, own.view(width * heads, samples * group, -1)), dim=-1)
    scores = scores.view(width, heads, samples, group, -1) + mask
    p = torch.softmax(scores, dim=-1).view(width * heads, samples * group, -1)
    out_bqD = torch.bmm(p[..., :places], prompt_v_WKPD.flatten(0, 1))
    p_own = p[..., places:].reshape(width * heads * samples, group, -1)
    out_bqD = torch.baddbmm(out_bqD.view(-1, group, out_bqD.shape[-1]), p_own, own_v_WKkOD.flatten(0, 2))
    out = out_bqD.view(width, heads, samples, group, -1).transpose(1, 2)
    return out.reshape(width * samples, heads * group, -1)


def plain_shared_attention(
    q_WkKGD: torch.Tensor,
    prompt_k_WKPD: torch.Tensor,
    prompt_v_WKPD: torch.Tensor,
    own_k_WKkOD: torch.Tensor,
    own_v_WKkOD: torch.Tensor,
    *,
    mask: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """The same with the prompt repeated for every sample, as a batch without sharing computes it."""
    samples = q_WkKGD.shape[1]
    k_WKksD, v_WKksD = (
        torch.cat((prompt[:, :, None].expand(-1, -1, samples, -1, -1), own), dim=3)
        for prompt, own in ((prompt_k_WKPD, own_k_WKkOD), (prompt_v_WKPD, own_v_WKkOD))
    )
    q_WKkGD = q_WkKGD.transpose(1, 2)
    scores = q_WKkGD @ k_WKksD.transpose(-1, -2) * scaling + mask
    out = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q_WkKGD.dtype) @ v_WKksD
    return out.transpose(1, 2).flatten(0, 1).flatten(1, 2)


def _by_sampling(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    sampling: Attends | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Raises UnsupportedAttention for score caps, sinks, biases and masks, and where the model did not hand
    `sampling` down to its attention."""
    refuse_others(softcap=softcap, attention_mask=attention_mask, others=kwargs)
    if sampling is None:
        raise UnsupportedAttention("what it is told of the sequences, which the model keeps to itself")
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    return sampling.attend(module, query, key, value, scaling=scale, window=sliding_window), None


AttentionInterface.register(SHARED_ATTENTION, _by_sampling)
