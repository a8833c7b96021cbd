"""Find what pilots decide, from their records: which arms are dropped before they are tuned on all their rows.

Nothing is believed but the pilots: early.json, the run's report and `finetrial verify` all ask here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.scaling.early_decision import RISK, EarlyDecision, PilotLoss, decide
from finetrial.store.layout import TrialFolder
from finetrial.store.pilots import DroppedArm, EarlyRecord, PilotRecord, read_pilot
from finetrial.trial.schema import Trial

RULE = 2  # goes up when the same pilots come to decide otherwise


@dataclass(frozen=True, slots=True)
class PilotCost:
    """What pilots took, and what the whole runs of arms take beside it."""

    tokens: int  # processed by the pilots' steps
    validation_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EarlyFindings:
    """The pilots of a trial, and what follows from them."""

    pilots: Mapping[str, tuple[PilotRecord, ...]]  # of every arm that had some, by rows ascending
    parts: tuple[int, ...]
    decision: EarlyDecision
    rows: int  # of the validation data, that all pilots were measured on

    @property
    def cost(self) -> PilotCost:
        """Of all pilots together."""
        every = [pilot for own in self.pilots.values() for pilot in own]
        return PilotCost(
            tokens=sum(pilot.tokens for pilot in every),
            validation_tokens=sum(pilot.validation_tokens for pilot in every),
            seconds=sum(pilot.seconds for pilot in every),
        )

    @property
    def dropped(self) -> tuple[DroppedArm, ...]:
        """In the order in which they went."""
        found = []
        for rung, part in zip(self.decision.rungs, self.parts, strict=False):
            found += [DroppedArm(arm, part, rung.standings[arm].probability) for arm in rung.dropped]
        return tuple(found)

    def full_tokens(self, arm: str) -> int:
        """What the steps of the arm's whole run process."""
        return self.pilots[arm][0].full_tokens

    def record(self) -> EarlyRecord:
        """What early.json says."""
        decision = self.decision
        probabilities = {arm: decision.probability_of(arm) for arm in self.pilots}
        return EarlyRecord(
            rule=RULE,
            risk=RISK,
            parts=self.parts,
            arms=tuple(self.pilots),
            dropped=self.dropped,
            left=decision.left,
            undecided=decision.undecided,
            probabilities={arm: found for arm, found in probabilities.items() if found is not None},
        )


def pilots_of(folder: TrialFolder, trial: Trial) -> dict[str, tuple[PilotRecord, ...]]:
    """Every pilot that stands in the folder, of the trial's tuned arms in their order, by rows ascending."""
    found = {}
    for arm in (name for name, arm in trial.arms.items() if arm.tuned):
        paths = sorted((folder.pilots / arm).glob("1-in-*.json"))
        own = [pilot for path in paths if (pilot := read_pilot(path)) is not None]
        if own:
            found[arm] = tuple(sorted(own, key=lambda pilot: -pilot.part))
    return found


def early_findings(folder: TrialFolder, trial: Trial) -> EarlyFindings | None:
    """What the folder's pilots decide; None where there are none.

    Raises UserError where their records contradict each other.
    """
    pilots = pilots_of(folder, trial)
    return found_of(pilots, seed=trial.training.seed) if pilots else None


def found_of(pilots: Mapping[str, Sequence[PilotRecord]], *, seed: int) -> EarlyFindings:
    """The same from the records."""
    parts = tuple(sorted({pilot.part for own in pilots.values() for pilot in own}, reverse=True))
    for arm, own in pilots.items():
        if [pilot.part for pilot in own] != list(parts[: len(own)]) or any(pilot.arm != arm for pilot in own):
            raise UserError(
                f"the pilots of {arm} are not those of one decision",
                got=", ".join(f"{pilot.arm} 1/{pilot.part}" for pilot in own),
                expected=", ".join(f"{arm} 1/{part}" for part in parts[: len(own)]),
                fix="Remove the folder pilots/ and run again with --early.",
            )
    ended = [pilot for own in pilots.values() for pilot in own if pilot.stopped is None]
    shared = (
        set.intersection(*({row.example_id for row in pilot.validation} for pilot in ended)) if ended else set()
    )
    ids = sorted(shared)
    tokens: list[float] = []
    costs: dict[str, list[PilotLoss | None]] = {}
    for arm, own in pilots.items():
        costs[arm] = []
        for pilot in own:
            rows = {row.example_id: row for row in pilot.validation}
            if pilot.stopped is None and not tokens:  # of one arm for all: others may cut texts otherwise
                tokens = [float(rows[example_id].tokens) for example_id in ids]
            nats = tuple(rows[example_id].nats for example_id in ids) if pilot.stopped is None else ()
            costs[arm].append(PilotLoss(pilot.rows, nats) if pilot.stopped is None else None)
    decision = decide(
        costs,
        shares=[1 / part for part in parts],
        full_rows={arm: own[0].full_rows for arm, own in pilots.items()},
        tokens=tokens,
        seed=seed,
    )
    return EarlyFindings({arm: tuple(own) for arm, own in pilots.items()}, parts, decision, len(ids))
