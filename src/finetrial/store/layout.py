"""Name the files of a trial folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def run_name(arm: str, *, run: int) -> str:
    """The name of an arm's training run: the arm's own for the first, <arm>@1 for the second. No arm has an @."""
    return arm if run == 0 else f"{arm}@{run}"


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """The paths of one trial's folder; nothing is created by naming a path."""

    root: Path

    @property
    def trial(self) -> Path:
        return self.root / "trial.yaml"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def run_time(self) -> Path:
        """What the whole run was planned to take, and took."""
        return self.root / "run_time.json"

    @property
    def data(self) -> Path:
        """The data gate's findings, as the run that read the data saw them."""
        return self.root / "data.json"

    @property
    def scores(self) -> Path:
        return self.root / "scores.jsonl"

    @property
    def columns(self) -> Path:
        """The columns of the data that metrics read, by prompt."""
        return self.root / "columns.jsonl"

    @property
    def judging(self) -> Path:
        """By what the first scores were judged."""
        return self.root / "judging.json"

    @property
    def diagnostics(self) -> Path:
        """What went wrong in the samples, as the step that scored them saw it."""
        return self.root / "diagnostics.jsonl"

    @property
    def items(self) -> Path:
        return self.root / "items.jsonl"

    @property
    def key(self) -> Path:
        return self.root / "key.json"

    @property
    def pairs(self) -> Path:
        """Which items are compared side by side; no arms."""
        return self.root / "pairs.jsonl"

    @property
    def grades(self) -> Path:
        return self.root / "grades.sqlite"

    @property
    def judges(self) -> Path:
        """Every question and raw answer of the model judges."""
        return self.root / "judges"

    def judge(self, name: str) -> Path:
        return self.judges / f"{name}.jsonl"

    def served(self, arm: str) -> Path:
        """Every request to an arm behind a server, and its raw answer."""
        return self.root / "served" / f"{arm}.jsonl"

    @property
    def stopping(self) -> Path:
        """Whether enough is graded; no arms."""
        return self.root / "stopping.json"

    @property
    def seal(self) -> Path:
        """What was fixed before anything was sampled, as `finetrial seal` read it."""
        return self.root / "seal.json"

    @property
    def lock_record(self) -> Path:
        """What the grades were locked over; of a trial that nobody grades, what the report was written over."""
        return self.root / "lock.json"

    @property
    def left_out(self) -> Path:
        """Which files stand without their texts, in a bundle of private data."""
        return self.root / "left_out.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def kept(self) -> Path:
        """What changed settings displaced; read by nothing but what takes it back."""
        return self.root / "kept"

    @property
    def curves(self) -> Path:
        """What trackers such as TensorBoard write while arms are tuned."""
        return self.root / "curves"

    @property
    def logs(self) -> Path:
        """What steps said that ran in other processes or on other machines; read by nothing but who watches."""
        return self.root / "logs"

    def log(self, step: str) -> Path:
        """What one such step said, every attempt of it."""
        return self.logs / f"{step.replace(':', '-')}.jsonl"

    @property
    def early(self) -> Path:
        """What `run --early` decided from its pilots."""
        return self.root / "early.json"

    @property
    def pilots(self) -> Path:
        """What the pilots of `run --early` came to."""
        return self.root / "pilots"

    def pilot(self, arm: str, *, part: int) -> Path:
        """The pilot of an arm on one part in `part` of its rows."""
        return self.pilots / arm / f"1-in-{part}.json"

    def arm(self, name: str) -> Path:
        """The folder of one arm's weights or adapter; `run_name` names those of further training runs."""
        return self.root / "arms" / name

    def metrics(self, name: str) -> Path:
        return self.arm(name) / "metrics.jsonl"

    def measured(self, name: str) -> Path:
        return self.arm(name) / "measured.json"

    def search(self, name: str) -> Path:
        """Which learning rates were tried for an arm."""
        return self.arm(name) / "search.json"

    def retained(self, name: str) -> Path:
        """What each document of data.retain costs the arm."""
        return self.arm(name) / "retain.jsonl"

    def references(self, name: str) -> Path:
        """What each held-out reference costs the arm."""
        return self.arm(name) / "references.jsonl"

    def checkpoint(self, name: str) -> Path:
        return self.arm(name) / "checkpoint"

    def samples(self, name: str) -> Path:
        return self.root / "samples" / f"{name}.jsonl"

    def partial_samples(self, name: str) -> Path:
        """The samples of an arm that is being sampled; gone when they are whole."""
        return self.root / "samples" / f"{name}.partial.jsonl"
