"""What do a trial's pilots say, and what do all its arms come to on all their rows?"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks.early.trials import Spec, trial_keys, write_data
from finetrial.store.files import atomic_text
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.records import Measured, ReferenceLikelihood, read_object, read_rows
from finetrial.training.loop import Diverged
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import Call, TrialContext
from finetrial.workflow.early import usable_parts
from finetrial.workflow.listener import Silent
from finetrial.workflow.pilot_step import PilotStep
from finetrial.workflow.sample_step import SampleStep
from finetrial.workflow.tune_step import TuneStep
from finetrial.workflow.walk import run_step


@dataclass(frozen=True, slots=True)
class FullRun:
    """One arm tuned on all its rows, one training run of it."""

    arm: str
    run: int
    validation_loss: float
    heldout_nats: tuple[float, ...]  # of each held-out row, by its id
    heldout_tokens: tuple[int, ...]
    tokens: int
    seconds: float

    @property
    def heldout_loss(self) -> float:
        return sum(self.heldout_nats) / sum(self.heldout_tokens) if self.heldout_tokens else math.inf


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a trial showed; the pilots stand in its folder."""

    name: str
    full: tuple[FullRun, ...]
    wall_seconds: float


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def read_result(spec: Spec, root: Path) -> Result | None:
    """What an earlier call left of a trial; None where it has not ended."""
    path = root / spec.name / "result.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return Result(content["name"], tuple(FullRun(**run) for run in content["full"]), content["wall_seconds"])


def run_trial(spec: Spec, root: Path, *, model: str, other: str | None) -> Result:
    """Make every pilot of every arm and tune every arm in full. What is there already is not made again."""
    if (known := read_result(spec, root)) is not None:
        return known
    began = time.monotonic()
    data = write_data(spec, root / "data" / spec.model)
    path = root / f"{spec.name}.yaml"
    path.write_text(yaml.safe_dump(trial_keys(spec, model=model, other=other, data=data)))
    folder = TrialFolder(root / spec.name)
    context = TrialContext(load_trial(path), folder, listener=Silent(), call=Call("benchmarks.early", "Python"))
    context.open()
    diverged: set[str] = set()
    parts = usable_parts(context, context.arms)
    for arm in context.arms:
        for part in parts:
            run_step(PilotStep(context, arm, part), manifest=context.manifest)
        for run in range(spec.seeds):
            try:
                run_step(TuneStep(context, arm, run), manifest=context.manifest)
            except Diverged:
                diverged.add(arm)
        _say(f"  {spec.name}: {arm} tuned, {time.monotonic() - began:.0f} s")
    context.shared_base.forget()
    context.note_resolved()
    for arm in (arm for arm in context.arms if arm not in diverged):
        run_step(SampleStep(context, arm), manifest=context.manifest)
    found = [_full(folder, arm, run) for arm in context.arms if arm not in diverged for run in range(spec.seeds)]
    found += [_diverged(arm) for arm in context.arms if arm in diverged]
    result = Result(spec.name, tuple(found), time.monotonic() - began)
    atomic_text(root / spec.name / "result.json", json.dumps(asdict(result), indent=1) + "\n")
    return result


def _full(folder: TrialFolder, arm: str, run: int) -> FullRun:
    name = run_name(arm, run=run)
    measured = read_object(folder.measured(name), Measured)
    rows = sorted(read_rows(folder.references(name), ReferenceLikelihood), key=lambda row: row.prompt_id)
    assert measured.validation_loss is not None
    return FullRun(
        arm=arm,
        run=run,
        validation_loss=measured.validation_loss,
        heldout_nats=tuple(row.nats for row in rows),
        heldout_tokens=tuple(row.tokens for row in rows),
        tokens=measured.tokens_processed,
        seconds=measured.tune_seconds,
    )


def _diverged(arm: str) -> FullRun:
    """A run whose loss diverged: it is never the best. The tokens until then are not counted."""
    return FullRun(arm, 0, validation_loss=math.inf, heldout_nats=(), heldout_tokens=(), tokens=0, seconds=0.0)


def other_base(root: Path, *, model: str) -> str:
    """Another base with the starter's tokenizer: the starter after some verse."""
    spec = Spec(
        "other-base",
        "starter",
        "verse",
        512,
        1024,
        {"full": {"method": "full", "learning_rate": 1e-3}},
        data_seed=99,
    )
    run_trial(spec, root, model=model, other=None)
    return str(root / "other-base" / "arms" / "full")
