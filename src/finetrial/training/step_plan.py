"""The examples of each step of a task, and what its steps and evaluations cost: in tokens and in FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from finetrial.errors import UserError
from finetrial.footprint.beside import Beside
from finetrial.footprint.flops import forward_flops, step_flops
from finetrial.methods.halves import half_of
from finetrial.methods.model_targets import shape_of
from finetrial.models.batches import effective_batches, trained_tokens
from finetrial.training.task import TuneTask
from finetrial.training.validation_plan import EvaluationPlan, plan_evaluations
from finetrial.trial.examples import Encoded

# Attention's share beside the matrix products grows with length over width. By FLOPs it is length / (12 width)
# (footprint/flops.py); on a CPU it takes about five times its FLOPs' time (docs/decisions.md: a fifth to a
# quarter of a step at 230 to 512 tokens and width 768).
_ATTENTION = 5 / 12


def batches_of(task: TuneTask) -> list[tuple[int, ...]]:
    """The places of the examples of every step."""
    return effective_batches(
        [example.example_id for example in task.train],
        lengths=[len(example.token_ids) for example in task.train],
        epochs=task.epochs,
        batch_tokens=task.batch_tokens,
        seed=task.seed,
    )


def step_count(task: TuneTask) -> int:
    """How many optimizer steps the task takes."""
    return len(batches_of(task))


def check_examples(task: TuneTask) -> None:
    """Raises UserError where there is nothing to train on."""
    if not task.train:
        raise UserError("there is nothing to tune on", got="no training examples")
    if not any(trained_tokens(example) for example in task.train):
        raise UserError(
            "there is nothing to tune on",
            got="no trained token in any training example",
            fix="`finetrial check` shows which tokens are trained.",
        )


def processed_tokens(task: TuneTask) -> int:
    """How many tokens the task's steps take, every epoch counted."""
    return sum(len(task.train[place].token_ids) for batch in batches_of(task) for place in batch)


def evaluation_plan(task: TuneTask, *, batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> EvaluationPlan:
    """When and on which rows the task's validation loss is measured; `lengths` are those of its examples."""
    return plan_evaluations(
        task.validation,
        steps=len(batches),
        train_tokens=sum(lengths[place] for batch in batches for place in batch),
        evaluations=task.evaluations,
        early_stopping=task.early_stopping,
    )


def forward_work(lengths: Iterable[int], *, width: int) -> float:
    """What passing examples forward costs, in tokens of short ones."""
    return sum(n + _ATTENTION * n * n / width for n in lengths)


def step_passes(task: TuneTask) -> int:
    """How many forward passes a step costs: two with adapters, three with every weight, one more to recompute."""
    return task.method.step_passes + task.checkpointing


@dataclass(frozen=True, slots=True)
class RunWork:
    """A run's work, in tokens that pass forward."""

    steps: tuple[float, ...]  # of each step, its backward pass included
    evaluations: dict[int, float]  # after which step, and how much
    end: float  # the rest of the validation split

    @property
    def total(self) -> float:
        return sum(self.steps) + sum(self.evaluations.values()) + self.end


def run_work(
    task: TuneTask, *, batches: Sequence[Sequence[int]], lengths: Sequence[int], plan: EvaluationPlan, width: int
) -> RunWork:
    """The work of a task on a model of this width."""
    passes = step_passes(task)
    held = [len(example.token_ids) for example in task.validation]
    curve = forward_work((held[place] for place in plan.rows), width=width)
    return RunWork(
        steps=tuple(passes * forward_work((lengths[i] for i in batch), width=width) for batch in batches),
        evaluations=dict.fromkeys(sorted(plan.steps), curve),
        end=0.0 if plan.whole else forward_work(held, width=width) - curve,
    )


def task_work(task: TuneTask, *, width: int) -> float:
    """The whole work of a task on a model of this width, in tokens that pass forward."""
    batches, lengths = batches_of(task), [len(example.token_ids) for example in task.train]
    plan = evaluation_plan(task, batches=batches, lengths=lengths)
    return run_work(task, batches=batches, lengths=lengths, plan=plan, width=width).total


def training_flops(model: PreTrainedModel, task: TuneTask, *, batches: Sequence[Sequence[int]]) -> float | None:
    """What the steps over `batches` (places in the task's training examples) needed, recomputation included.

    None where footprint does not know the architecture or the method.
    """
    shape = shape_of(model)
    if shape is None:
        return None
    method = half_of(task.method).counted(task.method, model)
    if method is None:
        return None
    examples = [task.train[i] for batch in batches for i in batch]
    if not examples:
        return 0.0
    return float(
        step_flops(
            shape,
            method=method,
            lengths=[len(example.token_ids) for example in examples],
            loss_tokens=sum(trained_tokens(example) for example in examples),
            checkpointing=task.checkpointing,
        ).total
    )


def evaluation_flops_of(model: PreTrainedModel, task: TuneTask, examples: Sequence[Encoded]) -> float | None:
    """What the loss of the model in tuning on some examples needs; None where footprint does not know it."""
    shape = shape_of(model)
    method = half_of(task.method).counted(task.method, model)
    if shape is None or method is None:
        return None
    count = forward_flops(
        shape,
        lengths=[len(example.token_ids) for example in examples],
        head_tokens=sum(trained_tokens(example) for example in examples),
        adapter=method if isinstance(method, Beside) else None,
    )
    return float(count.total)
