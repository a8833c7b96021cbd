"""The cross-entropy of the tokens that carry loss, without ever holding all their logits.

Logits are made in chunks, in the weights' precision; softmax, loss and the sums over chunks are float32. The
gradients are made in the same pass, while the chunk's logits are at hand, so that backward only hands them over.

Shapes: M tokens that carry loss, C width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from finetrial.models.kernels.accelerator import logits_at_once
from finetrial.models.kernels.gradients import GradientSum

# Rows of the vocabulary whose part of a weight gradient is added at once: on a CPU it stays in its cache until then
_SLICE_ROWS = 4096
_ALIGNED = 8  # numbers of two bytes in 16 bytes


def _chunk_rows(vocabulary: int, *, needs_weight: bool, device: torch.device) -> int:
    """How many rows' logits are made at once: twice as many where each chunk also passes over a weight gradient."""
    return max(32, (2 if needs_weight else 1) * logits_at_once(device.type) // vocabulary)


def _weight_grads(grad_mV: torch.Tensor, hidden_mC: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    for words in _slices(grad_mV):
        yield words, grad_mV[:, words].t() @ hidden_mC


def _slices(grad_mV: torch.Tensor) -> tuple[slice, ...]:
    words = grad_mV.shape[1]
    if grad_mV.device.type == "cpu":
        return tuple(slice(s, min(s + _SLICE_ROWS, words)) for s in range(0, words, _SLICE_ROWS))
    return card_slices(words)


def card_hidden_gradient(narrow_mV: torch.Tensor, weight_VC: torch.Tensor, *, out: torch.Tensor) -> None:
    """The logits' gradient times the weights."""
    first, *rest = card_slices(weight_VC.shape[0])
    torch.mm(narrow_mV[:, first], weight_VC[first], out=out)
    for words in rest:
        out.addmm_(narrow_mV[:, words], weight_VC[words])


def card_slices(vocabulary: int) -> tuple[slice, ...]:
    """The vocabulary as a multiple of 8 words, and the rest.

    A card's fast products take no other sizes: of GPT-2's 50,257 words the three products took 9.5 ms for 1,900
    tokens of width 2048 on an H200, at a sixth of the card's rate.
    """
    even = vocabulary - vocabulary % _ALIGNED
    return tuple(s for s in (slice(0, even), slice(even, vocabulary)) if s.start < s.stop)


def _wide_rows(rows: int, columns: int, *, like: torch.Tensor) -> torch.Tensor:
    """Room for a matrix whose rows begin at multiples of 16 bytes, as a card's matrix units want it."""
    return like.new_empty(rows, -(-columns // _ALIGNED) * _ALIGNED)[:, :columns]


def card_chunk(
    h_mC: torch.Tensor,
    weight_VC: torch.Tensor,
    bias_V: torch.Tensor | None,
    *,
    labels_m1: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A chunk's summed loss, the logits' gradient times `scale`, and the same narrow, in few passes."""
    narrow_mV = _wide_rows(h_mC.shape[0], weight_VC.shape[0], like=h_mC)
    for words in card_slices(weight_VC.shape[0]):
        torch.mm(h_mC, weight_VC[words].t(), out=narrow_mV[:, words])
    if bias_V is not None:
        narrow_mV += bias_V
    log_p_mV = torch.log_softmax(narrow_mV, dim=1, dtype=torch.float32)
    loss = -log_p_mV.gather(1, labels_m1).sum()
    grad_mV = log_p_mV.exp_()  # d loss / d logits = softmax - one-hot
    grad_mV.scatter_add_(1, labels_m1, grad_mV.new_full(labels_m1.shape, -1.0))
    grad_mV.mul_(scale)
    return loss, grad_mV, narrow_mV.copy_(grad_mV)


def _plain_chunk(
    h_mC: torch.Tensor, weight_VC: torch.Tensor, bias_V: torch.Tensor | None, *, labels_m1: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A chunk's summed loss, its logits at float32, and their logarithmic sums."""
    logits_mV = F.linear(h_mC, weight_VC, bias_V).float()
    log_sum_m1 = torch.logsumexp(logits_mV, dim=1, keepdim=True)
    return (log_sum_m1 - logits_mV.gather(1, labels_m1)).sum(), logits_mV, log_sum_m1


def _cpu_chunk(
    h_mC: torch.Tensor,
    weight_VC: torch.Tensor,
    bias_V: torch.Tensor | None,
    *,
    labels_m1: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A chunk's summed loss, the logits' gradient times `scale`, and the same at the weights' precision."""
    loss, logits_mV, log_sum_m1 = _plain_chunk(h_mC, weight_VC, bias_V, labels_m1=labels_m1)
    grad_mV = logits_mV.sub_(log_sum_m1).exp_()  # d loss / d logits = softmax - one-hot
    grad_mV.scatter_add_(1, labels_m1, grad_mV.new_full(labels_m1.shape, -1.0))
    grad_mV.mul_(scale)
    return loss, grad_mV, grad_mV.to(h_mC.dtype)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_MC: torch.Tensor,
        weight_VC: torch.Tensor,
        bias_V: torch.Tensor | None,
        labels_M: torch.Tensor,
        scale: float,
        weight_sum: GradientSum | None,
    ) -> torch.Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_any = needs_hidden or needs_weight or needs_bias
        ctx.starts_backward = weight_sum is not None
        loss = torch.zeros((), dtype=torch.float32, device=hidden_MC.device)
        hidden_grad_MC = torch.empty_like(hidden_MC) if needs_hidden else None
        weight_grad_VC: torch.Tensor | None = None
        bias_grad_V: torch.Tensor | None = None
        rows = _chunk_rows(weight_VC.shape[0], needs_weight=needs_weight, device=hidden_MC.device)
        several = hidden_MC.shape[0] > rows
        on_card = hidden_MC.device.type == "cuda"
        for start in range(0, hidden_MC.shape[0], rows):
            h_mC = hidden_MC[start : start + rows]
            labels_m1 = labels_M[start : start + rows, None]
            if not needs_any:
                loss += _plain_chunk(h_mC, weight_VC, bias_V, labels_m1=labels_m1)[0]
                continue
            chunk = card_chunk if on_card else _cpu_chunk
            part, grad_mV, narrow_mV = chunk(h_mC, weight_VC, bias_V, labels_m1=labels_m1, scale=scale)
            loss += part
            if needs_bias:
                sum_V = grad_mV.sum(dim=0)
                bias_grad_V = sum_V if bias_grad_V is None else bias_grad_V.add_(sum_V)
            if hidden_grad_MC is not None and on_card:
                card_hidden_gradient(narrow_mV, weight_VC, out=hidden_grad_MC[start : start + rows])
            elif hidden_grad_MC is not None:
                torch.mm(narrow_mV, weight_VC, out=hidden_grad_MC[start : start + rows])
            if needs_weight and weight_sum is not None:
                weight_sum.add_slices(_weight_grads(narrow_mV, h_mC))
            elif needs_weight:
                if on_card:
                    part_VC = torch.cat([part for _, part in _weight_grads(narrow_mV, h_mC)])
                else:
                    part_VC = narrow_mV.t() @ h_mC
                if weight_grad_VC is None:
                    weight_grad_VC = part_VC.float() if several else part_VC
                else:
                    weight_grad_VC += part_VC
                del part_VC
            del grad_mV, narrow_mV  # else they stand beside the next chunk's
        ctx.save_for_backward(
            hidden_grad_MC,
            None if weight_grad_VC is None else weight_grad_VC.to(weight_VC.dtype),
            None if bias_grad_V is None or bias_V is None else bias_grad_V.to(bias_V.dtype),
        )
        return loss * scale

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        saved = ctx.saved_tensors
        if ctx.starts_backward:
            return (*saved, None, None, None)
        if grad.device.type == "cpu" and grad.item() == 1.0:
            return (*saved, None, None, None)
        return (*(None if t is None else t * grad.to(t.dtype) for t in saved), None, None, None)


def head_loss(
    hidden_MC: torch.Tensor,
    *,
    weight_VC: torch.Tensor,
    bias_V: torch.Tensor | None,
    labels_M: torch.Tensor,
    scale: float = 1.0,
    weight_sum: GradientSum | None = None,
) -> torch.Tensor:
    """`scale` times the summed cross-entropy in nats, a float32 scalar.

    `scale` is folded into the gradients before they are rounded to the weights' precision; for a mean over an
    effective batch it is one over the batch's trained tokens. With `weight_sum` the weight's gradient goes there at
    once; the result must then be where backward starts, with gradient 1.
    """
    if not torch.is_grad_enabled():  # a Function is asked for gradients there, too, and these ones are made at once
        hidden_MC, weight_VC = hidden_MC.detach(), weight_VC.detach()
        bias_V = None if bias_V is None else bias_V.detach()
    loss: torch.Tensor = _HeadLoss.apply(hidden_MC, weight_VC, bias_V, labels_M, scale, weight_sum)
    return loss


@torch.no_grad()
def head_losses(
    hidden_MC: torch.Tensor, *, weight_VC: torch.Tensor, bias_V: torch.Tensor | None, labels_M: torch.Tensor
) -> torch.Tensor:
    """The cross-entropy of each token in nats, without gradients."""
    rows = _chunk_rows(weight_VC.shape[0], needs_weight=False, device=hidden_MC.device)
    return torch.cat(
        [
            logits_losses(F.linear(h_mC, weight_VC, bias_V), labels_M=labels_m)
            for h_mC, labels_m in zip(hidden_MC.split(rows), labels_M.split(rows), strict=True)
        ]
    )


def logits_losses(logits_MV: torch.Tensor, *, labels_M: torch.Tensor) -> torch.Tensor:
    """The same from logits that a model made with its own head."""
    return F.cross_entropy(logits_MV.float(), labels_M, reduction="none")


def logits_loss(logits_MV: torch.Tensor, *, labels_M: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """`head_loss` from logits that a model made with its own head."""
    return F.cross_entropy(logits_MV.float(), labels_M, reduction="sum") * scale
