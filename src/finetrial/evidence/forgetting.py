"""Compare each arm's bits per byte on other text with the base's: what tuning broke."""

from __future__ import annotations

import math
from collections.abc import Sequence

from finetrial.evidence.bit_ratio import UnitBits, bits_beside
from finetrial.evidence.findings import Forgetting
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.records import RetainedText, read_rows
from finetrial.trial.schema import Trial


def _texts(folder: TrialFolder, *, names: Sequence[str]) -> tuple[RetainedText, ...]:
    """The documents' bits, their mean over training runs; empty where any run was not measured."""
    if not names or not all(folder.retained(name).exists() for name in names):
        return ()
    runs = [tuple(read_rows(folder.retained(name), RetainedText)) for name in names]
    return tuple(
        RetainedText(rows[0].document, rows[0].n_bytes, math.fsum(row.bits for row in rows) / len(rows))
        for rows in zip(*runs, strict=True)
    )


def _against(own: Sequence[RetainedText], base: Sequence[RetainedText], *, seed: int) -> Forgetting:
    """The difference to the base with its interval over documents."""
    n_bytes = sum(row.n_bytes for row in own)
    mine, theirs = ([UnitBits(str(r.document), r.n_bytes, r.bits) for r in rows] for rows in (own, base))
    found = bits_beside(mine, theirs, seed=seed, unit="document")
    return Forgetting(
        bits_per_byte=math.fsum(row.bits for row in own) / n_bytes,
        to_base=found.difference,
        low=found.low,
        high=found.high,
        worse=found.worse,
        documents=len(own),
        n_bytes=n_bytes,
        reason=found.reason,
    )


def forgetting_of_arms(folder: TrialFolder, trial: Trial) -> dict[str, Forgetting]:
    """Every arm that was measured on data.retain. An arm is compared with the first that is its base as it is."""
    if trial.data.retain is None:
        return {}
    runs = {arm: [run_name(arm, run=run) for run in range(max(1, trial.runs_of(arm)))] for arm in trial.arms}
    texts = {arm: rows for arm, names in runs.items() if (rows := _texts(folder, names=names))}
    bases: dict[str, str] = {}
    for arm in texts:
        if trial.arms[arm].method.is_the_model_itself:
            bases.setdefault(trial.base_of(arm), arm)
    found = {}
    for arm, rows in texts.items():
        base = bases.get(trial.base_of(arm))
        n_bytes = sum(row.n_bytes for row in rows)
        if base is None or arm == base:
            bits_per_byte = math.fsum(row.bits for row in rows) / n_bytes
            found[arm] = Forgetting(bits_per_byte, None, None, None, 0, len(rows), n_bytes)
        else:
            found[arm] = _against(rows, texts[base], seed=trial.sampling.seed)
    return found
