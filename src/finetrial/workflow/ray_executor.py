"""Run the arms' steps as tasks of a Ray cluster whose machines share the trial's folder. Needs finetrial[ray]."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from finetrial.errors import FinetrialError, MissingPackage, UserError
from finetrial.units import format_bytes
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import Ended, Executor
from finetrial.workflow.remote_log import LogWatch
from finetrial.workflow.remote_step import Order, error_from, needs_of, order_of, run_order
from finetrial.workflow.step import Stage, Step

_RETRIES = 3  # of a step that was lost with its process or node, or met what is nobody's mistake. Assumption
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 30.0  # for a step that is stopped to write its checkpoint. Assumption
_TRAIN_NAMES = {"num_gpus": "GPU"}  # Ray Train's for what a task calls otherwise
_AHEAD = 2  # steps handed to Ray for every one that can run: the next one waits at the place


def _run_there(order: Order) -> dict[str, Any] | None:
    import ray

    return run_order(order, place=ray.get_runtime_context().get_node_id())


def _tune_there(order: Order, workers: int, each: dict[str, float]) -> dict[str, Any] | None:
    from finetrial.workflow.ray_workers import run_in_workers  # with torch

    return run_in_workers(order, workers=workers, each=each, retries=_RETRIES)


class _RaySession(AbstractContextManager["_RaySession"]):
    """Steps at work in a cluster."""

    def __init__(self, ray: Any, context: TrialContext, *, owns: bool, workers: int) -> None:
        """`owns`: the cluster was joined for this session. `workers` tune an arm together."""
        self._ray, self._context, self._owns, self._workers = ray, context, owns, workers
        self._watch = LogWatch(context.listener)
        self._running: dict[Any, Step] = {}
        self._threads = threads_each(self._nodes(), arms=len(context.arms) * workers)
        self._warned: set[str] = set()

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    @property
    def has_room(self) -> bool:
        cpus = self._ray.cluster_resources().get("CPU", 0.0)
        return len(self._running) < max(1, _AHEAD * int(cpus / (self._threads * self._workers)))

    def begin(self, step: Step, *, inputs: dict[str, str], left: int) -> None:
        needs = needs_of(self._context, step)
        self._say_what_is_missing(step, needs)
        together = step.stage in (Stage.PILOT, Stage.TUNE) and self._workers > 1
        alone = {"num_cpus": self._threads, "scheduling_strategy": "SPREAD", **needs}
        task = self._ray.remote(_tune_there if together else _run_there).options(
            name=step.name,
            max_retries=_RETRIES,
            retry_exceptions=True,
            **({"num_cpus": 0} if together else alone),
        )
        order = order_of(step, context=self._context, inputs=inputs, threads=self._threads)
        self._watch.left = left
        self._watch.follow(step.name, path=self._context.folder.log(step.name), subject=step.subject)
        each = {_TRAIN_NAMES.get(name, name): amount for name, amount in needs.items()} | {"CPU": self._threads}
        begun = task.remote(order, self._workers, each) if together else task.remote(order)
        self._running[begun] = step

    def wait(self) -> Sequence[Ended]:
        done: list[Any] = []
        while not done:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK_SECONDS)
            self._watch.look()
        return [self._ended(reference) for reference in done]

    def _ended(self, reference: Any) -> Ended:
        step = self._running.pop(reference)
        error: FinetrialError | None = None
        try:
            found = self._ray.get(reference)
            error = None if found is None else error_from(found)
        except self._ray.exceptions.RayError as lost:
            lines = [line for line in str(lost).splitlines() if line.strip()]
            error = UserError(
                f"{step.name} was begun {1 + _RETRIES} times at most and came to no end",
                got=lines[-1].strip() if lines else type(lost).__name__,
                fix=f"What it said is in {self._context.folder.log(step.name)}; run again, it goes on from there.",
            )
        self._watch.forget(step.name)
        return Ended(step, error)

    def _say_what_is_missing(self, step: Step, needs: dict[str, float]) -> None:
        """A cluster may grow, so a step that finds no place waits; whoever watches is told why."""
        memory, cards = needs.get("memory", 0.0), needs.get("num_gpus", 0.0)
        nodes = self._nodes()
        fits = any(n.get("memory", 0.0) >= memory and n.get("GPU", 0.0) >= cards for n in nodes)
        if not fits and step.subject not in self._warned:
            self._warned.add(step.subject)
            largest = max((n.get("memory", 0.0) for n in nodes), default=0.0)
            wanted = f"{format_bytes(int(memory))} of memory" if memory else f"{cards:g} of a GPU"
            has = f"the largest has {format_bytes(int(largest))}" if memory else "none of them has one"
            self._context.listener.line(f"{step.subject}: waits for a machine with {wanted}; {has}")

    def __exit__(self, *_: object) -> None:
        """Stop what still runs: it writes its checkpoint, as at Ctrl-C."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)
        if self._running:
            left = list(self._running)
            self._ray.wait(left, num_returns=len(left), timeout=_STOP_SECONDS)
        self._context.listener.end()
        if self._owns:
            self._ray.shutdown()


def threads_each(nodes: Sequence[dict[str, float]], *, arms: int) -> int:
    """The cores of one step: all arms at once where there are so many cores, and never more than a machine has."""
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0.0) >= 1]
    return max(1, min(sum(cores) // max(1, arms), min(cores, default=1)))


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """A Ray cluster: the one at the address, else that of RAY_ADDRESS or of this machine, else one started here."""

    address: str | None = None
    workers: int = 1  # that tune an arm together
    name: str = "ray"

    def at(self, address: str) -> Executor:
        """HOST:PORT is a Ray client server's; workers=N lets so many workers tune an arm together; or both,
        separated by a comma. Raises UserError for anything else."""
        found = self
        for part in filter(None, address.split(",")):
            key, is_setting, value = part.partition("=")
            if not is_setting:
                found = replace(found, address=f"ray://{part}")
            elif key == "workers" and value.isdigit() and int(value) > 0:
                found = replace(found, workers=int(value))
            else:
                raise UserError(
                    "--on ray:// has a setting that is none",
                    got=part,
                    expected="HOST:PORT, workers=N, or both with a comma between",
                )
        return found

    def open(self, context: TrialContext) -> _RaySession:
        """Join the cluster. Raises MissingPackage without Ray, and UserError where no cluster answers."""
        try:
            import ray
        except ModuleNotFoundError:
            raise MissingPackage("ray", extra="ray", purpose="running on Ray") from None
        joins = not ray.is_initialized()
        if joins:
            try:
                ray.init(address=self.address, log_to_driver=False, include_dashboard=None, logging_level="ERROR")
            except (ConnectionError, RuntimeError) as error:
                raise UserError(
                    f"no Ray cluster answers at {self.address or 'the address of this machine'}",
                    got=str(error).splitlines()[0],
                    fix="`ray start --head` starts one; --on ray://HOST:10001 names the client server of another.",
                ) from None
        return _RaySession(ray, context, owns=joins, workers=self.workers)


RAY = RayExecutor()
