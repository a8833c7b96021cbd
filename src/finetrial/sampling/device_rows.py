"""Hold the sequences that are being sampled on the device, and take one decoding step of all of them.

Slots hold a prompt each, with its k samples beside each other; a slot whose samples have ended takes another
prompt. A step asks nothing of the device: what was chosen stays there until it is fetched, so that the next step
can be given before this one is done. On a CPU ended rows are left out of a step; on a card, where launches cost
more than rows, they go on until their slot is free and what they write is cut.

Shapes: S slots, W of them in use, k samples each, B = S k rows, N rows of a step, O tokens of a sample at most,
n prompts that are read together, T their tokens, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetrial.models.kernels.accelerator import device_capabilities
from finetrial.models.kernels.attention_kernels import PADDED, HeadShape, choose_attention
from finetrial.models.kernels.block_products import BlockRuns
from finetrial.models.kernels.rows_layout import RowLayout, layout_of
from finetrial.models.kernels.shared_attention import CacheStore, DecodingRows, PromptRow
from finetrial.models.own_forward import accepts
from finetrial.models.special_tokens import embedding_weight
from finetrial.sampling.decode_paths import Paths
from finetrial.sampling.nucleus import Choice, choose_by
from finetrial.trial.resolve import Decoding


@dataclass(frozen=True, slots=True)
class StepSize:
    """What of the caches a step reads."""

    width: int  # slots
    prompt_places: int
    own_places: int


class DeviceRows:
    """The sequences of an arm on its model's device."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        slots: int,
        decoding: Decoding,
        prompt_places: int,
        paths: Paths | None = None,
    ) -> None:
        """`prompt_places` is the longest prompt's length. `paths` are of a card."""
        self.model, self.decoding, self.slots, self.samples = model, decoding, slots, decoding.per_prompt
        self.limit = decoding.max_new_tokens
        self.device = model.device
        self.store = CacheStore(slots, self.samples, prompt_places, self.limit)
        self._cuts_logits = accepts(model, "logits_to_keep")
        rows = slots * self.samples
        long: dict[str, Any] = {"dtype": torch.long, "device": self.device}
        self.token_B = torch.zeros(rows, **long)  # the newest of each row
        self.place_B = torch.zeros(rows, **long)  # its number among the sample's own
        self.prompt_B = torch.ones(rows, **long)  # tokens of the prompt
        # one column more: rows that have ended write there until they are left out
        self.made_BO = torch.zeros(rows, self.limit + 1, **long)
        self.logprob_BO = torch.zeros(rows, self.limit + 1, device=self.device)
        self.uniform_BO = torch.zeros(rows, self.limit + 1, device=self.device)
        self.seen_BV: torch.Tensor | None = None
        if decoding.repetition_penalty != 1:
            words = embedding_weight(model).shape[0]
            self.seen_BV = torch.zeros(rows, words, dtype=torch.bool, device=self.device)
        self.paths = Paths() if paths is None else paths
        # at float32 a sample is the same whatever its batch but for these; at half precision far more differs
        ties = self.paths.choose is None and embedding_weight(model).dtype == torch.float32
        self.near_BO = torch.zeros(rows, self.limit + 1, dtype=torch.bool, device=self.device) if ties else None
        self._choose = self.paths.choose or functools.partial(
            choose_by, shortlist=self.device.type == "cpu", ties=ties
        )

    # -- reading prompts

    def read(self, slots: Sequence[int], prompts: Sequence[Sequence[int]], *, uniforms: np.ndarray) -> None:
        """Read prompts into free slots and choose the first token of each sample; longest first.

        `uniforms` are the random numbers of their samples, [n k, O].
        """
        lengths = [len(ids) for ids in prompts]
        runs: BlockRuns = tuple((len(list(same)), length) for length, same in groupby(lengths))
        ids_T = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in prompts])
        place_T = np.concatenate([np.arange(n) for n in lengths])
        slot_T = np.repeat(np.asarray(slots), lengths)
        ends_n = np.cumsum(lengths) - 1
        put = self._put
        ids, places, slot_of = put(ids_T), put(place_T), put(slot_T)
        row = PromptRow(self.store, runs, slot_of, places)
        if self.device.type != "cpu":
            row.make_layout = functools.partial(_layout, runs, {}, dtype=embedding_weight(self.model).dtype)
        logits_nV = self._logits(ids[None], places[None], sampling=row, keep=put(ends_n))
        rows_N = put((np.asarray(slots)[:, None] * self.samples + np.arange(self.samples)).flatten())
        uniform_NO = put(np.pad(uniforms.astype(np.float32), ((0, 0), (0, 1))))
        logits_NV = logits_nV.repeat_interleave(self.samples, dim=0)
        if self.seen_BV is not None:
            seen_nV = torch.zeros(len(prompts), self.seen_BV.shape[1], dtype=torch.bool, device=self.device)
            seen_nV[put(np.repeat(np.arange(len(prompts)), lengths)), ids] = True
            self.seen_BV[rows_N] = seen_nV.repeat_interleave(self.samples, dim=0)
        choice = self._choice(logits_NV, uniform_N=uniform_NO[:, 0], rows_N=rows_N)
        self.uniform_BO[rows_N] = uniform_NO
        self.token_B[rows_N], self.place_B[rows_N] = choice.token_B, 0
        self.prompt_B[rows_N] = put(np.repeat(np.asarray(lengths), self.samples))
        self.made_BO[rows_N, 0], self.logprob_BO[rows_N, 0] = choice.token_B, choice.logprob_B
        if self.near_BO is not None and choice.near_B is not None:
            self.near_BO[rows_N, 0] = choice.near_B
        if self.seen_BV is not None:
            self.seen_BV[rows_N, choice.token_B] = True

    # -- one step

    def step(self, size: StepSize, *, rows_N: torch.Tensor | None = None) -> None:
        """Feed the newest token of each row and choose the next. `rows_N` are the rows' numbers; None: all."""
        count = size.width * self.samples
        if rows_N is None:
            token_N, place_N, prompt_N = self.token_B[:count], self.place_B[:count], self.prompt_B[:count]
        else:
            token_N, place_N, prompt_N = (
                x.index_select(0, rows_N) for x in (self.token_B, self.place_B, self.prompt_B)
            )
        sampling = self._decoding_rows(size, rows_N=rows_N, place_N=place_N)
        position_N1 = (prompt_N + place_N)[:, None]
        logits_NV = self._logits(token_N[:, None], position_N1, sampling=sampling)
        next_N1 = (place_N + 1).clamp_(max=self.limit)[:, None]
        uniform_NO = self.uniform_BO[:count] if rows_N is None else self.uniform_BO.index_select(0, rows_N)
        choice = self._choice(logits_NV, uniform_N=uniform_NO.gather(1, next_N1).squeeze(1), rows_N=rows_N)
        token_N1, logprob_N1 = choice.token_B[:, None], choice.logprob_B[:, None]
        if rows_N is None:
            self.made_BO[:count].scatter_(1, next_N1, token_N1)
            self.logprob_BO[:count].scatter_(1, next_N1, logprob_N1)
            if self.near_BO is not None and choice.near_B is not None:
                self.near_BO[:count].scatter_(1, next_N1, choice.near_B[:, None])
            self.token_B[:count].copy_(choice.token_B)
            self.place_B[:count].copy_(next_N1.squeeze(1))
            if self.seen_BV is not None:
                self.seen_BV[:count].scatter_(1, token_N1, True)
            return
        next_N = next_N1.squeeze(1)
        self.made_BO[rows_N, next_N], self.logprob_BO[rows_N, next_N] = choice.token_B, choice.logprob_B
        if self.near_BO is not None and choice.near_B is not None:
            self.near_BO[rows_N, next_N] = choice.near_B
        self.token_B[rows_N], self.place_B[rows_N] = choice.token_B, next_N
        if self.seen_BV is not None:
            self.seen_BV[rows_N, choice.token_B] = True

    def _decoding_rows(self, size: StepSize, *, rows_N: torch.Tensor | None, place_N: torch.Tensor) -> DecodingRows:
        width, samples, limit = size.width, self.samples, self.limit
        count = width * samples
        prompt_N = self.prompt_B[:count] if rows_N is None else self.prompt_B.index_select(0, rows_N)
        places = size.prompt_places, size.own_places
        if self.paths.attend is not None and rows_N is None:
            return DecodingRows(width, samples, *places, None, prompt_N, place_N, {}, {}, self.paths.attend)
        number_N = torch.arange(count, device=self.device) if rows_N is None else rows_N
        slot_N, sample_N = number_N // samples, number_N % samples
        kept_N = place_N.clamp(max=limit - 1)
        index = {}
        for heads in self.store.key_heads:
            head_K = torch.arange(heads, device=self.device)
            block_NK = (slot_N[:, None] * heads + head_K) * samples + sample_N[:, None]
            index[heads] = (block_NK * limit + kept_N[:, None]).flatten()
        prompt_B1, place_B1 = self.prompt_B[:count, None], self.place_B[:count, None]
        prompt_P = torch.arange(size.prompt_places, device=self.device)
        own_O = torch.arange(size.own_places, device=self.device)
        masks = {}
        dtype = embedding_weight(self.model).dtype
        for window in self.store.windows:
            hidden_P, hidden_O = prompt_P >= prompt_B1, own_O > place_B1
            if window is not None:
                hidden_P = hidden_P | (prompt_P <= prompt_B1 + place_B1 - window)
                hidden_O = hidden_O | (own_O <= place_B1 - window)
            hidden = torch.cat((hidden_P, hidden_O), dim=1)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=self.device)
            masks[window] = mask.masked_fill_(hidden, float("-inf")).view(width, 1, samples, 1, -1)
        return DecodingRows(width, samples, *places, rows_N, prompt_N, place_N, index, masks)

    def _logits(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        *,
        sampling: PromptRow | DecodingRows,
        keep: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[N, V], of the tokens in `keep` of a packed row, or of the last token of each row."""
        given: dict[str, Any] = {"use_cache": False} if accepts(self.model, "use_cache") else {}
        if keep is not None and self._cuts_logits:
            given["logits_to_keep"] = keep
        logits: torch.Tensor = self.model(input_ids=ids, position_ids=positions, sampling=sampling, **given).logits
        if keep is None:
            return logits[:, -1]
        return logits[0] if self._cuts_logits else logits[0].index_select(0, keep)

    def _choice(self, logits_NV: torch.Tensor, *, uniform_N: torch.Tensor, rows_N: torch.Tensor | None) -> Choice:
        seen = self.seen_BV
        if seen is not None:
            seen = seen[: len(logits_NV)] if rows_N is None else seen.index_select(0, rows_N)
        found: Choice = self._choose(self.decoding, logits_NV, uniform_B=uniform_N, seen_BV=seen)
        return found

    # -- moving

    def bring_forward(self, slots: Sequence[int]) -> None:
        """Let these slots stand first, in this order; what the others held is lost."""
        order = self._put(np.asarray(slots))
        self.store.move_slots(order)
        rows = (order[:, None] * self.samples + torch.arange(self.samples, device=self.device)).flatten()
        held = [self.token_B, self.place_B, self.prompt_B, self.made_BO, self.logprob_BO, self.uniform_BO]
        for x in (*held, *(y for y in (self.seen_BV, self.near_BO) if y is not None)):
            x[: len(rows)] = x.index_select(0, rows)

    def snapshot(self) -> list[torch.Tensor]:
        """Copies of what a step changes, to take steps for practice."""
        return [x.clone() for x in self._changed]

    def restore(self, kept: Sequence[torch.Tensor]) -> None:
        """As it was at the snapshot. Keys of later tokens stay: they are written again before use."""
        for x, before in zip(self._changed, kept, strict=True):
            x.copy_(before)

    @property
    def _changed(self) -> list[torch.Tensor]:
        others = (x for x in (self.seen_BV, self.near_BO) if x is not None)
        return [self.token_B, self.place_B, self.made_BO, self.logprob_BO, *others]

    def _put(self, values: np.ndarray) -> torch.Tensor:
        found = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            found = found.pin_memory()
        return found.to(self.device, non_blocking=True)


def _layout(
    runs: BlockRuns,
    made: dict[Any, RowLayout],
    query: torch.Tensor,
    key: torch.Tensor,
    window: int | None,
    *,
    dtype: torch.dtype,
) -> RowLayout:
    """How a packed row of prompts attends on a card: made once for heads of a kind."""
    shape = HeadShape(query.shape[1], key.shape[1], query.shape[3], window)
    if shape not in made:
        kernel = PADDED
        if dtype != torch.float32:  # flex_attention would be compiled for it
            card = device_capabilities(query.device)
            kernel, _ = choose_attention(card, shapes=(shape,), dtype=dtype, device=query.device)
        made[shape] = layout_of(runs, kernel=kernel, device=query.device)
    return made[shape]
