"""Decide from pilots which arms are not worth tuning on all their rows.

Pilots are made on growing shares of the rows. From the second share on, the probability is found that each arm has
the least validation loss of those still in when all are tuned on all their rows (full_forecast.py). The least
probable arms are dropped as long as the probabilities of all that were dropped add up to at most RISK: the chance
that one of them would have been the best is then at most that, if the probabilities are right. What stays in goes
on to the next share. The last arm is never dropped; where two or more are left after the last share their order is
undecided, and all of them are tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.scaling.full_forecast import Pilots, forecast_full

SHARES = (1 / 16, 1 / 8, 1 / 4)  # of an arm's rows
RISK = 0.05  # that an arm was dropped which would have been the best, over all shares together
FEWEST_SIZES = 2  # one pilot says nothing of a curve


@dataclass(frozen=True, slots=True)
class Standing:
    """One arm after one share."""

    loss: float  # of the pilot on it, nats a validation token
    forecast: float  # of the loss on all rows, the median
    low: float  # 95 % of what was drawn
    high: float
    probability: float  # that it is the best of those that are still in


@dataclass(frozen=True, slots=True)
class Rung:
    """What was seen at one share, and who was dropped on it."""

    share: float
    losses: Mapping[str, float]  # of every pilot on it
    standings: Mapping[str, Standing]  # empty on the first share: nothing was decided
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EarlyDecision:
    """What the pilots decided."""

    rungs: tuple[Rung, ...]
    left: tuple[str, ...]  # arms with pilots that were not dropped
    without: tuple[
        str, ...
    ]  # arms that lack a pilot, or whose loss diverged in one: kept, and nothing is said of them

    @property
    def dropped(self) -> tuple[str, ...]:
        """In the order in which they went."""
        return tuple(arm for rung in self.rungs for arm in rung.dropped)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The arms whose order the pilots leave open; none where one is left that is the best."""
        return self.left if len(self.left) + len(self.without) > 1 else ()

    @property
    def favourite(self) -> str | None:
        """The arm that is most probably the best; None where no share was decided on."""
        standings = next((rung.standings for rung in reversed(self.rungs) if rung.standings), {})
        return max(standings, key=lambda arm: standings[arm].probability) if standings else None

    def probability_of(self, arm: str) -> float | None:
        """The arm's probability when it was last asked; None: it never was."""
        found = [rung.standings[arm].probability for rung in self.rungs if arm in rung.standings]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class PilotLoss:
    """One pilot: the rows that it was tuned on, and what each validation row cost it in nats."""

    rows: int
    nats: tuple[float, ...]


def to_drop(probabilities: Mapping[str, float], *, spent: float, risk: float = RISK) -> tuple[str, ...]:
    """The arms to drop: the least probable first, while all that went have at most `risk` together.

    `spent` is what went before. The last arm stays.
    """
    gone: list[str] = []
    for arm in sorted(probabilities, key=lambda arm: (probabilities[arm], arm)):
        spent += probabilities[arm]
        if spent > risk or len(gone) == len(probabilities) - 1:
            break
        gone.append(arm)
    return tuple(gone)


def decide(
    pilots: Mapping[str, Sequence[PilotLoss | None]],
    *,
    shares: Sequence[float],
    full_rows: Mapping[str, int],
    tokens: Sequence[float],
    seed: int,
    risk: float = RISK,
) -> EarlyDecision:
    """Go over the shares as far as there are pilots, and drop.

    `pilots[arm][r]` is the arm's pilot on shares[r], None where it did not come to its end; an arm that is still in
    and lacks one that others have is kept, and nothing more is said of it. `tokens` are those of the validation
    rows, by which nats become losses. The same pilots give the same decision.
    """
    total = sum(tokens)
    left, without, rungs, spent = list(pilots), list[str](), list[Rung](), 0.0
    for place, share in enumerate(shares):
        lost = [arm for arm in left if len(pilots[arm]) <= place or pilots[arm][place] is None]
        if len(lost) == len(left):
            break
        without += lost
        left = [arm for arm in left if arm not in lost]
        own = {arm: [pilot for pilot in pilots[arm][: place + 1] if pilot is not None] for arm in left}
        losses = {arm: sum(found[-1].nats) / total for arm, found in own.items()}
        standings: dict[str, Standing] = {}
        gone: tuple[str, ...] = ()
        if len(left) > 1 and all(len({pilot.rows for pilot in found}) >= FEWEST_SIZES for found in own.values()):
            drawn = forecast_full(
                {arm: _curve(found, full_rows=full_rows[arm]) for arm, found in own.items()},
                tokens=tokens,
                seed=seed,
            )
            best = drawn.best()
            standings = {
                arm: Standing(losses[arm], drawn.middle(arm), *drawn.interval(arm), probability=best[arm])
                for arm in left
            }
            gone = to_drop(best, spent=spent, risk=risk)
            spent += sum(best[arm] for arm in gone)
            left = [arm for arm in left if arm not in gone]
        rungs.append(Rung(share, losses, standings, gone))
    return EarlyDecision(tuple(rungs), tuple(left), tuple(without))


def _curve(pilots: Sequence[PilotLoss], *, full_rows: int) -> Pilots:
    return Pilots(tuple(pilot.rows for pilot in pilots), full_rows, tuple(pilot.nats for pilot in pilots))
