"""A small trial folder, built from records as a run leaves them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrial.evidence.sample_scores import score_samples
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder
from finetrial.store.records import EndReason, Measured, Sample, TrainingPoint, write_object, write_rows
from finetrial.trial.trial_file import parse_trial

TRIAL = """
trial: tickets
model: ./base
data: {source: tickets.jsonl, prompt: post, completion: summary}
arms:
  base: {}
  prompted: {shots: 3}
  full: {method: full}
  lora: {method: lora, rank: 4, targets: [q, v]}
sampling: {prompts: 12, per_prompt: 3, max_new_tokens: 24}
judging: {primary: rouge1, metrics: [rouge1, rouge2, rougeL], grade_prompts: 3, criterion: "True of the post."}
"""


@dataclass(frozen=True)
class Answer:
    """What an arm says to a prompt, and how it ended."""

    text: str
    end_reason: EndReason | None = "end_token"


def whole_plan(known):
    """A plan.json of which only some of the arms' figures matter."""
    device = {"name": "cpu", "kind": "cpu", "is_here": True, "memory_bytes": None, "disk_free_bytes": None}
    amounts = ("total_seconds", "needed_bytes", "disk_bytes", "kilowatt_hours", "money")
    unknown = dict.fromkeys((*amounts, "fits", "grading", "serving_unit"))
    empty = dict.fromkeys(("steps", "misfits", "serving", "break_even"), ())
    arms = {name: {"method": name, "memory": None, **figures} for name, figures in known["arms"].items()}
    return {
        "version": 1,
        "trial": "tiny",
        "device": device,
        "precision": "float32",
        "lengths": "counted",
        "serving_requests": 1000,
        **unknown,
        **empty,
        "arms": arms,
    }


def tuned(trained: int, *, stored: int, seconds: float, rate: float) -> Measured:
    return Measured(
        trained_parameters=trained,
        total_parameters=2_000_000,
        stored_bytes=stored,
        steps=120,
        tokens_processed=240_000,
        trained_tokens=30_000,
        flops_total=6.0 * trained * 240_000,
        tune_seconds=seconds,
        peak_memory_bytes=400 * 2**20,
        learning_rate=rate,
        validation_loss=2.0,
        heldout_loss=2.1,
        precision="float32",
        device="cpu",
    )


def curve(*, start: float, end: float, steps: int = 120) -> list[TrainingPoint]:
    """An exponential fall with a fixed ripple; validation loss at ten places."""
    points = []
    for step in range(0, steps + 1, 2):
        loss = end + (start - end) * math.exp(-step / 30)
        at_evaluation = step % 12 == 0
        points.append(
            TrainingPoint(
                step=step,
                epoch=step / steps,
                tokens=2_000 * step,
                trained_tokens=250 * step,
                learning_rate=1e-3,
                train_loss=loss + 0.08 * math.sin(step) if step else None,
                validation_loss=loss + 0.05 if at_evaluation else None,
                gradient_norm=1.0,
                seconds=float(step),
            )
        )
    return points


MEASURED = {
    "full": tuned(2_000_000, stored=8_001_234, seconds=190.0, rate=3e-4),
    "lora": tuned(9_216, stored=38_000, seconds=95.0, rate=2e-3),
}
CURVES = {"full": curve(start=5.2, end=2.0), "lora": curve(start=5.2, end=2.4)}


def build_trial(
    root: Path,
    *,
    prompts: Mapping[str, tuple[str, Sequence[str]]],
    answer: Callable[[str, str, int], Answer],
    trial_text: str = TRIAL,
    measured: Mapping[str, Measured] = MEASURED,
    curves: Mapping[str, Sequence[TrainingPoint]] = CURVES,
    plan: Mapping[str, object] | None = None,
    model_manifest: Mapping[str, object] | None = None,
    shown: Callable[[str, str], str] = lambda arm, prompt: prompt,
) -> TrialFolder:
    """Write a folder as `finetrial run` leaves it. `prompts`: id -> (source, references)."""
    trial = parse_trial(trial_text, origin="trial.yaml")
    folder = TrialFolder(root)
    root.mkdir(parents=True, exist_ok=True)
    folder.trial.write_text(trial_text, encoding="utf-8")
    samples = []
    for arm in trial.arms:
        rows = []
        for prompt_id, (source, references) in prompts.items():
            for index in range(trial.sampling.per_prompt):
                said = answer(arm, prompt_id, index)
                rows.append(
                    Sample(
                        id=f"{arm}/{prompt_id}/{index}",
                        prompt_id=prompt_id,
                        group=None,
                        arm=arm,
                        index=index,
                        prompt=shown(arm, source),
                        text=said.text,
                        token_ids=(1, 2, 3),
                        references=tuple(references),
                        end_reason=said.end_reason,
                        logprob=-5.0,
                        tokens=trial.sampling.max_new_tokens if said.end_reason == "length" else 3,
                        seconds=0.1,
                        seed=index,
                        source=source,
                    )
                )
        write_rows(folder.samples(arm), rows)
        samples += rows
        if arm in curves:
            write_rows(folder.metrics(arm), curves[arm])
        if arm in measured:
            write_object(folder.measured(arm), measured[arm])
    write_rows(folder.scores, score_samples(samples, judging=trial.judging, base=root))
    done = {f"sample:{arm}": [folder.samples(arm)] for arm in trial.arms} | {"score": [folder.scores]}
    done |= {f"tune:{arm}": [] for arm in trial.arms if trial.runs_of(arm)}
    manifest = {
        "command": "finetrial run tickets.yaml",
        "versions": {"finetrial": "0.1.0", "python": "3.11.9"},
        "device": "cpu, 2 cores",
        "steps": {
            step: {"inputs": {}, "outputs": {str(p.relative_to(root)): hash_file(p) for p in paths}}
            for step, paths in done.items()
        },
    }
    folder.manifest.write_text(json.dumps(manifest), encoding="utf-8")
    if plan is not None:
        folder.plan.write_text(json.dumps(whole_plan(plan)), encoding="utf-8")
    if model_manifest is not None:
        (root / "base").mkdir(exist_ok=True)
        (root / "base" / "manifest.json").write_text(json.dumps(model_manifest), encoding="utf-8")
    return folder
