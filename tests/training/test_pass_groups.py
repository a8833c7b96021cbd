"""Which training tasks may share their passes."""

import dataclasses

import pytest
from small_tasks import TRAIN, VALIDATION, make_task

from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.training.pass_groups import pass_groups, why_alone, why_apart

LORA = Lora(rank=2, targets=("q",))


def task(**changes):
    return make_task(changes.pop("folder", "a"), model="m", **{"method": LORA, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Lora(rank=64, targets=("all-linear",), alpha=3.0, rank_stabilised=True)},
        {"learning_rate": 1.0},
        {"schedule": "constant", "warmup": 0.5, "clip": None, "weight_decay": 0.0, "optimizer": "sgd"},
        {"folder": "b", "micro_tokens": 7, "keeps_weights": False, "checkpoint_seconds": 1.0},
        {"train": list(TRAIN), "validation": list(VALIDATION)},  # equal rows, in other objects
    ],
)
def test_what_an_arm_trains_and_how_it_steps_may_differ(changes):
    other = task(**changes)
    assert why_alone(other) is None and why_apart(task(), other) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 1}, "the order of the rows"),
        ({"epochs": 1.0}, "its epochs"),
        ({"batch_tokens": 100}, "its batch"),
        ({"model": "another"}, "its base"),
        ({"precision": "bfloat16"}, "its precision"),
        ({"train": TRAIN[1:]}, "its rows"),
        ({"validation": VALIDATION[1:]}, "its validation rows"),
        ({"early_stopping": 2}, "its evaluations"),
    ],
)
def test_what_decides_which_tokens_pass_may_not(changes, reason):
    assert why_apart(task(), dataclasses.replace(task(), **changes)) == reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": Full()}, "Full"),
        ({"method": Lora(dora=True)}, "DoRA"),
        ({"method": Lora(quantize="nf4")}, "four bits"),
        ({"method": Lora(dropout=0.1)}, "dropout"),
        ({"model_dropout": True}, "dropout"),
        ({"special_tokens": ("<a>",)}, "new tokens"),
    ],
)
def test_some_arms_are_tuned_alone(changes, words):
    assert words.lower() in why_alone(task(**changes)).lower()


def test_groups_are_as_large_as_they_can_be_and_in_order():
    # by hand: 0, 2 and 5 differ in rates alone; 1 is full, 3 and 6 have another seed; 4 drops
    tasks = [
        task(),
        task(method=Full()),
        task(learning_rate=0.1),
        task(seed=1),
        task(method=Lora(dropout=0.5)),
        task(method=Lora(rank=7)),
        task(seed=1, learning_rate=0.1),
    ]
    assert pass_groups(tasks) == [[0, 2, 5], [1], [3, 6], [4]]
    assert pass_groups([]) == []
