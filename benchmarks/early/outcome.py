"""What would `run --early` have done in a trial whose every pilot and every full run is known, and was it right?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.early.measure import FullRun, Result
from benchmarks.early.trials import Spec
from finetrial.evidence.early_findings import EarlyFindings, found_of
from finetrial.scaling.early_decision import PilotLoss, decide
from finetrial.store.layout import TrialFolder
from finetrial.store.pilots import PilotRecord, read_pilot
from finetrial.workflow.pilot_step import PARTS

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Forecast:
    """One arm after one share, all arms still in: what was said of it, and what came."""

    part: int
    probability: float
    is_best: bool  # by the validation loss on all rows
    is_best_held_out: bool
    covered: bool  # the validation loss on all rows lies in the forecast's 95 %


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial, decided early and known in full."""

    spec: Spec
    validation: Mapping[str, float]  # arm -> loss on all rows
    held_out: Mapping[str, float]
    found: EarlyFindings  # as the successive dropping went: an arm has no pilot after it was dropped
    forecasts: tuple[Forecast, ...]
    open_held_out: bool  # the held-out rows do not tell the best arm from the second: their interval holds zero
    tokens: tuple[int, int]  # with --early, and of all arms in full
    seconds: tuple[float, float]

    @property
    def best(self) -> str:
        """By the validation loss on all rows."""
        return min(self.validation, key=lambda arm: self.validation[arm])

    @property
    def best_held_out(self) -> str:
        return min(self.held_out, key=lambda arm: self.held_out[arm])

    @property
    def favourite(self) -> str:
        """The arm that the pilots hold for the best."""
        found = self.found.decision.favourite
        assert found is not None
        return found

    @property
    def dropped(self) -> tuple[str, ...]:
        return self.found.decision.dropped

    @property
    def undecided(self) -> tuple[str, ...]:
        return self.found.decision.undecided

    @property
    def gap(self) -> float:
        """How much more loss the second arm has than the best, as a share."""
        first, second = sorted(self.validation.values())[:2]
        return second / first - 1


def outcome_of(spec: Spec, result: Result, root: Path, *, parts: Sequence[int] = PARTS) -> Outcome:
    """Decide from the pilots on `parts`, and hold it beside the full runs of the first seed."""
    folder = TrialFolder(root / spec.name)
    full = {run.arm: run for run in result.full if run.run == 0}
    pilots = {arm: _pilots(folder, arm, parts) for arm in full}
    whole = found_of(pilots, seed=0)
    used = {arm: own[: _rungs(whole, arm)] for arm, own in pilots.items()}
    found = found_of(used, seed=0)
    validation = {arm: run.validation_loss for arm, run in full.items()}
    held_out = {arm: run.heldout_loss for arm, run in full.items()}
    in_full = [run for arm, run in full.items() if arm not in found.decision.dropped]
    cost = found.cost
    return Outcome(
        spec=spec,
        validation=validation,
        held_out=held_out,
        found=found,
        forecasts=_forecasts(pilots, validation=validation, held_out=held_out),
        open_held_out=_is_open(full, held_out),
        tokens=(cost.tokens + sum(run.tokens for run in in_full), sum(run.tokens for run in full.values())),
        seconds=(cost.seconds + sum(run.seconds for run in in_full), sum(run.seconds for run in full.values())),
    )


def _pilots(folder: TrialFolder, arm: str, parts: Sequence[int]) -> list[PilotRecord]:
    found = [read_pilot(folder.pilot(arm, part=part)) for part in parts]
    return [pilot for pilot in found if pilot is not None]


def _rungs(found: EarlyFindings, arm: str) -> int:
    """How many pilots the arm would have had: it stops where it was dropped, or where it was left alone."""
    rungs = found.decision.rungs
    for place, rung in enumerate(rungs, start=1):
        gone = {name for earlier in rungs[:place] for name in earlier.dropped}
        if arm in rung.dropped or len(found.pilots) - len(gone) < 2:
            return place
    return len(rungs)


def _forecasts(
    pilots: Mapping[str, Sequence[PilotRecord]], *, validation: Mapping[str, float], held_out: Mapping[str, float]
) -> tuple[Forecast, ...]:
    """What is said of every arm after the second share and after the third, nobody being dropped."""
    rows: list[Forecast] = []
    best, best_held_out = (min(losses, key=lambda arm: losses[arm]) for losses in (validation, held_out))
    if any(pilot.stopped is not None for own in pilots.values() for pilot in own):
        return ()
    first = next(iter(pilots.values()))[0]
    decision = decide(
        {arm: [PilotLoss(p.rows, tuple(r.nats for r in p.validation)) for p in own] for arm, own in pilots.items()},
        shares=[1 / pilot.part for pilot in next(iter(pilots.values()))],
        full_rows={arm: own[0].full_rows for arm, own in pilots.items()},
        tokens=[row.tokens for row in first.validation],
        seed=0,
        risk=-1.0,  # nobody is dropped
    )
    for rung in decision.rungs:
        for arm, standing in rung.standings.items():
            covered = standing.low <= validation[arm] <= standing.high
            rows.append(
                Forecast(round(1 / rung.share), standing.probability, arm == best, arm == best_held_out, covered)
            )
    return tuple(rows)


def _is_open(full: Mapping[str, FullRun], held_out: Mapping[str, float]) -> bool:
    """Whether the paired 95 % interval of the two best arms' difference on held-out rows holds zero."""
    first, second = (full[arm] for arm in sorted(held_out, key=lambda arm: held_out[arm])[:2])
    difference_U = np.asarray(second.heldout_nats) - np.asarray(first.heldout_nats)
    generator = np.random.default_rng(0)
    places_DU = generator.integers(len(difference_U), size=(DRAWS, len(difference_U)))
    low = float(np.quantile(difference_U[places_DU].sum(axis=1), 0.025))
    return low <= 0
