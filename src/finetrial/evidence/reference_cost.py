"""Say how likely each arm finds the held-out references: perplexity, bits a byte, the difference to its base."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from finetrial.evidence.bit_ratio import UnitBits, bits_beside
from finetrial.evidence.findings import ReferenceCost
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.records import ReferenceLikelihood, read_rows
from finetrial.trial.schema import Trial

_LARGEST = 700.0  # nats a token whose exponential is a number


def _rows(folder: TrialFolder, *, names: Sequence[str]) -> tuple[ReferenceLikelihood, ...]:
    """The references' likelihoods, their mean over training runs; empty where any run was not measured."""
    if not all(folder.references(name).exists() for name in names):
        return ()
    runs = [tuple(read_rows(folder.references(name), ReferenceLikelihood)) for name in names]
    return tuple(
        ReferenceLikelihood(
            first.prompt_id,
            first.group,
            first.tokens,
            first.n_bytes,
            math.fsum(row.nats for row in rows) / len(rows),
        )
        for rows in zip(*runs, strict=True)
        for first in rows[:1]
    )


def _units(rows: Sequence[ReferenceLikelihood]) -> list[UnitBits]:
    """The bits of each group; a prompt without one is its own."""
    units: dict[str, list[ReferenceLikelihood]] = defaultdict(list)
    for row in rows:
        units[f"prompt {row.prompt_id}" if row.group is None else f"group {row.group}"].append(row)
    return [
        UnitBits(unit, sum(r.n_bytes for r in own), math.fsum(r.nats for r in own) / math.log(2))
        for unit, own in units.items()
    ]


def measured_references(folder: TrialFolder, trial: Trial) -> dict[str, tuple[ReferenceLikelihood, ...]]:
    """The references' likelihoods by arm, the mean over its training runs, where all were measured."""
    runs = {arm: [run_name(arm, run=run) for run in range(max(1, trial.runs_of(arm)))] for arm in trial.arms}
    return {arm: rows for arm, names in runs.items() if (rows := _rows(folder, names=names))}


def reference_costs(folder: TrialFolder, trial: Trial) -> dict[str, ReferenceCost]:
    """Every arm whose references were measured. An arm is compared with the first that is its base as it is."""
    measured = measured_references(folder, trial)
    bases: dict[str, str] = {}
    for arm in measured:
        if trial.arms[arm].method.is_the_model_itself:
            bases.setdefault(trial.base_of(arm), arm)
    found = {}
    for arm, rows in measured.items():
        n_bytes, units = sum(row.n_bytes for row in rows), _units(rows)
        nats, base = math.fsum(row.nats for row in rows), bases.get(trial.base_of(arm))
        tokens = sum(row.tokens for row in rows)
        if not n_bytes or not tokens:
            continue  # references without a letter
        beside = None
        if base is not None and base != arm:
            beside = bits_beside(units, _units(measured[base]), seed=trial.sampling.seed, unit="prompt")
        found[arm] = ReferenceCost(
            perplexity=math.exp(min(nats / tokens, _LARGEST)),
            bits_per_byte=nats / math.log(2) / n_bytes,
            to_base=None if beside is None else beside.difference,
            low=None if beside is None else beside.low,
            high=None if beside is None else beside.high,
            prompts=len(rows),
            units=len(units),
            n_bytes=n_bytes,
            reason=None if beside is None else beside.reason,
        )
    return found
