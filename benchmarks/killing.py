"""How is an arm's tuning killed, resumed and compared with a run that nobody stopped?"""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from finetrial.methods.lora.lora_method import Lora
from finetrial.store.records import TrainingPoint, read_rows
from finetrial.training.loop import tune
from finetrial.training.step_plan import step_count
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded

Names = frozenset[str]
Aim = Callable[[TuneTask, Names], bool]  # of the task and the checkpoint folders that were there before its process

WORDS = 256
WAIT_SECONDS = 120.0  # for a process to end or to begin a write, before this benchmark gives up


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL and what it hit."""

    arm: str
    seconds: float  # since the process was started
    step: int | None  # of the checkpoint that the next process continues; None: it begins anew
    writing: bool  # a checkpoint was half written
    ended: bool  # the arm's weights were there: it fell into the end of this run or an earlier one


@dataclass(frozen=True, slots=True)
class Killed:
    """An arm's runs: how often it was killed, and whether it ended as the run that nobody stopped."""

    arm: str
    steps: int
    kills: tuple[Kill, ...]
    equal: bool


def make_base(folder: Path, *, width: int = 64) -> str:
    """A GPT-2 of two layers with random weights."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=width, n_head=4, n_positions=64, vocab_size=WORDS, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(WORDS)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="w0").save_pretrained(folder)
    return str(folder)


def make_examples(count: int, *, seed: int) -> tuple[Encoded, ...]:
    """Sequences in which each token follows from the one before; the second half carries loss."""
    rng = random.Random(seed)
    examples = []
    for i in range(count):
        ids = [rng.randrange(WORDS)]
        while len(ids) < rng.randint(20, 60):
            ids.append((5 * ids[-1] + 3) % WORDS)
        examples.append(Encoded(f"{seed}-{i}", tuple(ids), tuple(j >= len(ids) // 2 for j in range(len(ids)))))
    return tuple(examples)


def make_tasks(root: Path, *, base: str, steps: int) -> tuple[TuneTask, ...]:
    """The arms, to be tuned in `root`. A checkpoint follows every step, so that many kills meet one."""
    common = TuneTask(
        model=base,
        train=make_examples(2 * steps, seed=1),
        validation=make_examples(8, seed=2),
        folder=root,
        batch_tokens=80,
        learning_rate=2e-3,
        checkpoint_seconds=0.0,
        evaluations=6,
        precision="bfloat16",
        device="cpu",
    )
    lora = Lora(rank=4, targets=("q", "v"), alpha=8.0, dropout=0.1)
    return (
        dataclasses.replace(common, folder=root / "full"),
        dataclasses.replace(common, folder=root / "lora", method=lora),
        dataclasses.replace(common, folder=root / "early stopping", early_stopping=2, learning_rate=1e-2),
    )


def _tune(task: TuneTask) -> None:
    torch.set_num_threads(1)
    tune(task)


def _process(target: Callable[..., None], *given: object) -> BaseProcess:
    # the server imports torch once; every run is still a process of its own, which is killed whole
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.killing"])
    process = context.Process(target=target, args=given)
    process.start()
    return process


def _nothing() -> None:
    """What the first process does: the server has then imported everything, and later times are of runs alone."""


def _current(task: TuneTask) -> str | None:
    try:
        return (task.folder / "checkpoint" / "current").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def checkpoint_names(task: TuneTask) -> Names:
    """The folders of checkpoints, whole or not."""
    return frozenset(path.name for path in (task.folder / "checkpoint").glob("step-*"))


def half_written(task: TuneTask, before: Names) -> bool:
    """Is there a checkpoint's folder, not left `before` by an earlier kill, that is newer than `current`?

    Where weights are there and `current` is not, a finished run removes its checkpoint: that is no write.
    """
    step = lambda name: int(name.split("-")[1])
    begun = checkpoint_names(task) - before  # read before `current`: a write that ends in between is none
    current = _current(task)
    if current is None and _ending(task, before):
        return False
    return any(current is None or step(name) > step(current) for name in begun)


def _ending(task: TuneTask, before: Names) -> bool:
    """Is the arm itself being written, or is it there?"""
    return any(task.folder.glob("*.safetensors"))


# What a kill waits for after its random time, in turn
AIMS: tuple[Aim | None, ...] = (None, half_written, None, half_written, _ending)


def _start_and_kill(task: TuneTask, *, seconds: float, aim: Aim | None) -> Kill | None:
    """Kill the task's process after so many seconds and what it waits for; None where it ended before."""
    before = checkpoint_names(task)
    process = _process(_tune, task)
    began = time.monotonic()
    process.join(seconds)
    while aim is not None and process.is_alive() and not aim(task, before):
        time.sleep(0.0002)
        if time.monotonic() - began > WAIT_SECONDS:
            sys.exit(f"error: {task.folder.name} was not where it should be killed within {WAIT_SECONDS:.0f} s")
    process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    if process.exitcode != -signal.SIGKILL:
        sys.exit(f"error: {task.folder.name} ended by itself with status {process.exitcode}; see above")
    current = _current(task)
    return Kill(
        arm=task.folder.name,
        seconds=time.monotonic() - began,
        step=None if current is None else int(current.split("-")[1]),
        writing=half_written(task, before),
        ended=_ending(task, before),
    )


def _same(one: Path, other: Path) -> bool:
    """The same weights to the last bit, and the same losses."""
    files = sorted(path.name for path in one.glob("*.safetensors"))
    assert files, f"no weights in {one.name}"

    def rows(folder: Path) -> list[TrainingPoint]:
        return [dataclasses.replace(p, seconds=0.0) for p in read_rows(folder / "metrics.jsonl", TrainingPoint)]

    return rows(one) == rows(other) and all((one / f).read_bytes() == (other / f).read_bytes() for f in files)


def run_to_its_end(task: TuneTask) -> float:
    """Tune the task without a kill; returns the seconds it took."""
    began = time.monotonic()
    process = _process(_tune, task)
    process.join()
    if process.exitcode != 0:
        sys.exit(f"error: {task.folder.name} ended with status {process.exitcode}; see above")
    return time.monotonic() - began


def kill_again_and_again(task: TuneTask, whole: Path, *, kills: int, seconds: float, rng: random.Random) -> Killed:
    """Start the task until it ends, with so many kills on the way, each within `seconds` of its start."""
    done: list[Kill] = []
    while len(done) < kills:
        kill = _start_and_kill(task, seconds=rng.uniform(0, seconds), aim=AIMS[len(done) % len(AIMS)])
        if kill is None:
            break
        done.append(kill)
    else:
        run_to_its_end(task)
    return Killed(task.folder.name, step_count(task), tuple(done), _same(whole, task.folder))


def runs(*, kills: int, steps: int, seed: int, root: Path) -> Iterator[Killed]:
    """Kill arm after arm until there were so many kills in all."""
    base = make_base(root / "base")
    rng = random.Random(seed)
    _process(_nothing).join()
    seconds = [run_to_its_end(task) for task in make_tasks(root / "whole", base=base, steps=steps)]
    total = turn = 0
    while total < kills:
        tasks = make_tasks(root / f"killed {turn}", base=base, steps=steps)
        for task, whole_seconds in zip(tasks, seconds, strict=True):
            share = min(kills - total, -(-kills // len(tasks)))
            found = kill_again_and_again(
                task, root / "whole" / task.folder.name, kills=share, seconds=whole_seconds * 2 / 3, rng=rng
            )
            total += len(found.kills)
            yield found
            if total >= kills:
                return
        turn += 1
