"""One measurement: what was asked, what came out, and how a process of its own brings it back."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the time of profiled steps went, as shares of the whole."""

    products: float
    attention: float
    elementwise: float
    idle: float
    launches: float  # kernels a step


@dataclass(frozen=True, slots=True)
class Result:
    """What one trainer took over its timed steps."""

    label: str
    tokens: int = 0
    seconds: float = 0.0
    useful_flops: float = 0.0
    peak_bytes: int = 0  # allocated, at most
    reserved_bytes: int = 0
    losses: tuple[float, ...] = ()  # of every step
    first_step_seconds: float = 0.0  # until the first step was done: model, compilation and all
    late_allocations: int | None = None  # of the device, after the third step
    shares: Shares | None = None
    slowest: tuple[str, ...] = ()  # kernels, with their share of the busy time
    notes: tuple[str, ...] = ()
    failed: str | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def flops_per_second(self) -> float:
        return self.useful_flops / self.seconds


def apart(work: Callable[[], Any], *, limit_seconds: float) -> tuple[Any, str | None]:
    """What `work` returns, as JSON, from a forked process that ends with it; or why there is nothing.

    What is imported here is imported there. Where an import has touched the card, which no fork survives, it runs
    in this process, and what it held is let go of afterwards.
    """
    if not _may_fork():
        return _within(work, limit_seconds=limit_seconds)
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.setsid()
            status = 1
            try:
                stream = os.open(log, os.O_WRONLY | os.O_CREAT)
                os.dup2(stream, 1)
                os.dup2(stream, 2)
                answer.write_text(json.dumps(_plain(work())))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        until = time.monotonic() + limit_seconds
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > until:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None, f"cut after {limit_seconds:.0f} s"
            time.sleep(0.05)
        text = log.read_text(errors="replace") if log.exists() else ""
        if os.environ.get("GPU_BENCHMARK_LOGS"):
            sys.stderr.write(text[-6000:])
        if os.waitstatus_to_exitcode(status):
            if "OutOfMemory" in text or "out of memory" in text:
                return None, "out of memory"
            lines = [line for line in text.strip().splitlines() if line.strip()]
            return None, (lines or ["it ended without a word"])[-1][:300]
        return json.loads(answer.read_text()), None


@functools.cache
def _may_fork() -> bool:
    """Whether a forked process may use the card."""
    import torch

    child = os.fork()
    if child == 0:
        os._exit(int(torch.cuda.is_available() and torch.cuda._is_in_bad_fork()))
    allowed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    if not allowed:
        print("(measured in one process: an import has touched the card)", file=sys.stderr, flush=True)
    return allowed


class _Late(Exception):
    """The time is up."""


def _within(work: Callable[[], Any], *, limit_seconds: float) -> tuple[Any, str | None]:
    import torch

    def late(*_: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_seconds)
    try:
        return json.loads(json.dumps(_plain(work()))), None
    except _Late:
        return None, f"cut after {limit_seconds:.0f} s"
    except torch.OutOfMemoryError:
        return None, "out of memory"
    except Exception as error:
        traceback.print_exc()
        return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            kept = torch.cuda.memory_allocated() / 2**30
            if kept > 0.1:
                print(f"({kept:.1f} GiB are still held)", file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def as_result(label: str, found: Any, failed: str | None) -> Result:
    """A process's answer as a result."""
    if failed is not None:
        return Result(label, failed=failed)
    shares = found.pop("shares")
    tuples = {name: tuple(found.pop(name)) for name in ("losses", "slowest", "notes")}
    return Result(**found, **tuples, shares=None if shares is None else Shares(**shares))
