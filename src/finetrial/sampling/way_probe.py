"""Find the fastest way of sampling that is right for a model, by trying it.

A few sequences are sampled in float32 from a copy of the model's first layers with its own trained weights
(models/kernels/float32_copy.py). The log-likelihoods of what was drawn must be those that the model's own forward
pass gives the same sequences, each alone, without padding and without a cache. A way that fails is not taken, and
the reason is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from finetrial.models.forward import has_plain_head, head_weights
from finetrial.models.kernels.float32_copy import NoFloat32Copy, float32_copy
from finetrial.models.library_calls import quiet
from finetrial.models.own_forward import (
    AnyModel,
    check_usable,
    context_left,
    has_learned_prompt,
    own_logits,
    plain_model,
    why_copy_fails,
)
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import SamplingWay, Way
from finetrial.store.records import Sample
from finetrial.trial.resolve import Decoding

_PROMPTS = (3, 11, 6)  # tokens, so that there is padding; all more than one step of a narrowed window
_COPIES, _NEW = 2, 4
# Nats a sample that float32 sums in another order explain; 2e-5 at most was seen. Assumption
_TOLERANCE = 5e-4
_PIECE = 160  # characters of a library's message


def choose_way(model: AnyModel, tokenizer: PreTrainedTokenizerBase) -> SamplingWay:
    """The fastest way that is right for the model, which must be in eval mode; it is left as it was."""
    tried: AnyModel = model
    reason: str | None = None
    if has_learned_prompt(model):
        reason = "its adapter is a learned prompt, which stands before every sequence"
    else:
        base = plain_model(model)
        try:
            with torch.no_grad():
                tried = float32_copy(base, head=head_weights(base) if has_plain_head(base) else None)
        except NoFloat32Copy as error:
            reason = f"nothing faster can be tried: {error}"
    if reason is not None:
        check_usable(tried)
    elif (failing := why_copy_fails(model, tried)) is not None:
        tried, reason = model, f"nothing faster can be tried: {failing}"
    if reason is None:
        reason = _why_not(tried, tokenizer, way=Way.SHARED)
        if reason is None:
            return SamplingWay(Way.SHARED)
        padded = _why_not(tried, tokenizer, way=Way.BATCHED)
        if padded is None:
            return SamplingWay(Way.BATCHED, reason)
        reason = f"{reason}; {padded}"
    own = _why_not(tried, tokenizer, way=Way.ALONE)
    if own is None:
        return SamplingWay(Way.ALONE, reason)
    return SamplingWay(Way.UNCACHED, f"{reason}; its own loop: {own}")


def _why_not(model: AnyModel, tokenizer: PreTrainedTokenizerBase, *, way: Way) -> str | None:
    """What a way does wrong on this model; None where it is right."""
    prompts = _prompts(model)
    decoding = Decoding(per_prompt=_COPIES, max_new_tokens=_NEW, temperature=1.0, top_p=1.0)
    try:
        with quiet():
            samples = list(sample_arm(model, tokenizer, prompts, decoding=decoding, arm="probe", way=way))
            if way is Way.ALONE:
                samples = [s for s in samples if s.index == 0]
            shown = {prompt.prompt_id: prompt.token_ids for prompt in prompts}
            differences = [_difference(model, s, prompt=shown[s.prompt_id]) for s in samples]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's own code raises
        said = (str(error).splitlines() or ["no reason given"])[0]
        return f"{_SUBJECT[way]} fails: {type(error).__name__} {said}"[:_PIECE]
    if not all(difference <= _TOLERANCE for difference in differences):  # a NaN is no agreement
        return f"{_SUBJECT[way]} gives other likelihoods in float32 than the sequences have alone"
    return None


_SUBJECT = {
    Way.SHARED: "attention to prompts that samples share",
    Way.BATCHED: "a padded batch with a shared cache",
    Way.ALONE: "the model's own cache",
}


def _prompts(model: AnyModel) -> list[PromptTask]:
    generator = torch.Generator().manual_seed(3)
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    limit = context_left(model)
    longest = max(_PROMPTS) if limit is None else max(1, limit - _NEW)
    return [
        PromptTask(
            prompt_id=str(number),
            group=None,
            text="",
            token_ids=tuple(torch.randint(table.shape[0], (min(length, longest),), generator=generator).tolist()),
            references=(),
            source="",
        )
        for number, length in enumerate(_PROMPTS)
    ]


@torch.no_grad()
def _difference(model: AnyModel, sample: Sample, *, prompt: Sequence[int]) -> float:
    """How far the sample's log-likelihood is from that of the whole sequence alone, in nats."""
    made = sample.token_ids or ()
    logits_TV = own_logits(model, (*prompt, *made))[len(prompt) - 1 : -1]
    logprobs_TV = torch.log_softmax(logits_TV.double(), dim=-1)
    chosen = logprobs_TV.gather(1, torch.tensor(made, device=logits_TV.device)[:, None])
    found = sample.logprob
    return math.nan if found is None else abs(float(chosen.sum()) - found)
