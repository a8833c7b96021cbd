"""The reference: one example at a time, float32, every logit, torch's own cross-entropy and AdamW."""

import math

import torch
import torch.nn.functional as F

from finetrial.models.batches import effective_batches


def example_loss(model, example):
    """Summed cross-entropy of the tokens that carry loss, and their number."""
    ids = torch.tensor(example.token_ids)[None]
    logits = model(input_ids=ids).logits[0, :-1].float()
    trained = torch.tensor(example.trained[1:])
    return F.cross_entropy(logits[trained], ids[0, 1:][trained], reduction="sum"), int(trained.sum())


@torch.no_grad()
def mean_loss(model, examples):
    found = [example_loss(model, e) for e in examples]
    return sum(float(loss) for loss, _ in found) / sum(count for _, count in found)


def train(model, task, *, after_backward=lambda: None):
    """The losses of every step of `task`, by a loop as plain as can be."""
    lengths = [len(e.token_ids) for e in task.train]
    ids = [e.example_id for e in task.train]
    order = {"epochs": task.epochs, "batch_tokens": task.batch_tokens, "seed": task.seed}
    batches = effective_batches(ids, lengths=lengths, **order)
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": task.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, foreach=False, fused=False)
    warm = math.ceil(task.warmup * len(batches))
    losses = []
    for step, batch in enumerate(batches):
        parts = [example_loss(model, task.train[i]) for i in batch]
        loss = sum(part for part, _ in parts) / sum(count for _, count in parts)
        loss.backward()
        after_backward()
        torch.nn.utils.clip_grad_norm_(params, task.clip)
        done = (step - warm) / max(1, len(batches) - warm)
        share = (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = task.learning_rate * share
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
