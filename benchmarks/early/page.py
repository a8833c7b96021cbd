"""How is what the trials showed written as a page?"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from datetime import date

import torch

from benchmarks.early.outcome import Forecast, Outcome
from finetrial.evidence.early_findings import EarlyFindings
from finetrial.scaling.early_decision import RISK
from finetrial.scaling.full_forecast import USUAL_NOISE
from finetrial.workflow.pilot_step import LEAST_STEPS, PARTS

_BINS = ((0.0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 0.98), (0.98, 1.01))


def page(outcomes: Sequence[Outcome], shorter: Sequence[Outcome]) -> str:
    """The page. `shorter` are the same trials without the pilots on a quarter of the rows."""
    return "\n".join(
        [
            "# Knowing early which arm wins",
            "",
            f"Made on {date.today()} with `python -m benchmarks.early && python -m benchmarks.early --write` on "
            f"{platform.machine()}, two cores that others used too, torch {torch.__version__}.",
            "",
            *_set_up(outcomes),
            "",
            *_verdict(outcomes),
            "",
            *_answers(outcomes),
            "",
            "## Every trial",
            "",
            *_table(outcomes),
            "",
            "## Are the probabilities right?",
            "",
            *_calibration(outcomes),
            "",
            "## Without the last share",
            "",
            *_shorter(outcomes, shorter),
            "",
        ]
    )


def _set_up(outcomes: Sequence[Outcome]) -> list[str]:
    starter = sum(outcome.spec.model == "starter" for outcome in outcomes)
    people = sum(outcome.spec.task in ("plays", "abstracts") for outcome in outcomes)
    late = sum(outcome.found.parts[0] != PARTS[0] for outcome in outcomes)
    return [
        f"{len(outcomes)} small trials of three or four arms, {starter} on the embedded starter and "
        f"{len(outcomes) - starter} on SmolLM2-135M-Instruct; {people} on texts of people's (plays and "
        "abstracts), the "
        "others on posts and verse that a program wrote. In each, every arm had all of its pilots (1/16, "
        "1/8 and 1/4 of "
        f"its rows; in {late} trials the steps were too few on 1/16) and was tuned on all its rows as well; what "
        "`finetrial run --early` would have dropped was then taken from the pilots' records by the code "
        "that it runs. "
        f"The risk ({RISK:g} that a dropped arm would have been the best, all shares together), the usual noise "
        f"of a training run ({100 * USUAL_NOISE:g}\u00a0% of the loss, half or twice as much one standard "
        f"deviation off), the least steps of a pilot ({LEAST_STEPS}) and the curve's exponents (-0.5 to 1.5) "
        "were chosen after "
        "seventeen earlier trials, which are not counted here, and fixed before these were run. The best arm is "
        "the one with the least validation loss on all rows, of one training run each; 48 validation rows "
        "(32 on the "
        "real model), and as many held-out rows that no pilot reads.",
    ]


def _verdict(outcomes: Sequence[Outcome]) -> list[str]:
    wrong = _count(outcomes, lambda o: o.best in o.dropped)
    tokens, all_tokens = (sum(outcome.tokens[place] for outcome in outcomes) for place in (0, 1))
    kept = "kept" if wrong <= RISK * len(outcomes) else "missed"
    return [
        f"**The risk was {kept}: the best arm was dropped in {wrong} of {len(outcomes)} trials.** Tuning came to "
        f"{100 * tokens / all_tokens:.0f}\u00a0% of the tokens of all arms in full: pilots take 25 to 44\u00a0%, "
        "and pay where some arms are hopeless, not where all are close.",
    ]


def _count(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> int:
    return sum(map(holds, outcomes))


def _answers(outcomes: Sequence[Outcome]) -> list[str]:
    n = len(outcomes)
    tokens, all_tokens = (sum(outcome.tokens[place] for outcome in outcomes) for place in (0, 1))
    seconds, all_seconds = (sum(outcome.seconds[place] for outcome in outcomes) for place in (0, 1))
    dropped = [(outcome, arm) for outcome in outcomes for arm in outcome.dropped]
    arms = sum(len(outcome.validation) for outcome in outcomes)
    open_ones = [outcome for outcome in outcomes if outcome.undecided]
    decided = [outcome for outcome in outcomes if not outcome.undecided]
    right = _count(open_ones, lambda o: o.open_held_out or o.best != o.best_held_out)
    wrong = [outcome for outcome in outcomes if outcome.best in outcome.dropped]
    wrong_held_out = [outcome for outcome in outcomes if outcome.best_held_out in outcome.dropped]
    hits = _count(outcomes, lambda o: o.favourite == o.best)
    hits_held_out = _count(outcomes, lambda o: o.favourite == o.best_held_out)
    regret = [o.validation[o.favourite] / o.validation[o.best] - 1 for o in outcomes]
    same = _count(outcomes, lambda o: o.best == o.best_held_out)
    names = ", ".join(f"{o.spec.name} ({100 * _lost(o):.2f}\u00a0%)" for o in wrong)
    return [
        "| Question | Answer |",
        "|---|---|",
        f"| The pilots' favourite is the best by validation loss | {hits} of {n} |",
        f"| and by held-out loss | {hits_held_out} of {n} |",
        f"| The full runs' own validation winner is the best by held-out loss | {same} of {n} |",
        "| Loss that the favourite has more than the best, mean and worst | "
        f"{100 * sum(regret) / n:.2f}\u00a0%, {100 * max(regret):.2f}\u00a0% |",
        f"| Arms dropped | {len(dropped)} of {arms}, {arms - n} at most |",
        "| Trials in which the best by validation loss was dropped (and what that lost) | "
        f"{len(wrong)} of {n}{': ' + names if names else ''} |",
        f"| Trials in which the best by held-out loss was dropped | {len(wrong_held_out)} of {n} |",
        f"| One arm left, and it is the best by validation loss | "
        f"{_count(decided, lambda o: o.favourite == o.best)} of {len(decided)} |",
        "| Undecided, and rightly: held-out rows do not tell the two best apart either, or name another best | "
        f"{right} of {len(open_ones)} |",
        f"| Undecided although the best is clear on held-out rows | {len(open_ones) - right} of {len(open_ones)} |",
        f"| Tokens of tuning, pilots and what was left, beside all arms | {_percent((tokens, all_tokens))} |",
        f"| Seconds of tuning, likewise, measuring the losses included | {_percent((seconds, all_seconds))} |",
    ]


def _lost(outcome: Outcome) -> float:
    """What the best arm that is left has more than the best of all."""
    left = min(loss for arm, loss in outcome.validation.items() if arm not in outcome.dropped)
    return left / outcome.validation[outcome.best] - 1


def _table(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [
        "| Trial | Validation loss in full | Dropped | Favourite | Best in full | by held-out loss "
        "| Second's gap | Tokens | Seconds |",
        "|---|---|---|---|---|---|---:|---:|---:|",
    ]
    for o in outcomes:
        losses = ", ".join(
            f"{arm} {loss:.3f}" if math.isfinite(loss) else f"{arm} diverged" for arm, loss in o.validation.items()
        )
        decision = o.found.decision
        lines.append(
            f"| {o.spec.name} | {losses} | {_dropped(o.found)} | {o.favourite} "
            f"({decision.probability_of(o.favourite):.2f}){', undecided' if o.undecided else ''} "
            f"| {o.best}{' !' if o.best in o.dropped else ''} | {o.best_held_out}{' ?' if o.open_held_out else ''} "
            f"| {100 * o.gap:.2f}\u00a0% | {_percent(o.tokens)} | {_percent(o.seconds)} |"
        )
    lines += [
        "",
        "Losses are nats a token. In brackets the favourite's probability when it was last asked. `!`: "
        "the best arm "
        "had been dropped. `?`: held-out rows do not tell it from the second (paired bootstrap, "
        "95\u00a0%). Tokens and "
        "seconds are those of the pilots and of the arms that are left, beside those of all arms in full.",
    ]
    return lines


def _dropped(found: EarlyFindings) -> str:
    return ", ".join(f"{row.arm} 1/{row.part} ({row.probability:.3f})" for row in found.dropped) or "–"


def _percent(pair: tuple[float, float]) -> str:
    return f"{100 * pair[0] / pair[1]:.0f}\u00a0%"


def _calibration(outcomes: Sequence[Outcome]) -> list[str]:
    rows = [row for outcome in outcomes for row in outcome.forecasts]
    lines = [
        "All arms after 1/8 and after 1/4 of the rows, nobody being dropped: how probable it was that "
        "the arm would be "
        "the best, and how often it was.",
        "",
        "| Probability | after 1/8: arms | said | was best | after 1/4: arms | said | was best | by held-out |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for low, high in _BINS:
        cells = []
        for part in (8, 4):
            inside = [row for row in rows if row.part == part and low <= row.probability < high]
            cells += _cells(inside)
            if part == 4:
                cells.append(_share([row.is_best_held_out for row in inside]))
        lines.append(f"| {low:.2f} to {min(high, 1):.2f} | {' | '.join(cells)} |")
    for part in (8, 4):
        inside = [row for row in rows if row.part == part]
        brier = sum((row.probability - row.is_best) ** 2 for row in inside) / max(1, len(inside))
        share = [row.covered for row in inside]
        lines += [
            "",
            f"After 1/{part} of the rows the mean squared error of the probabilities is {brier:.3f}, and the "
            "loss on "
            f"all rows lay in the forecast's 95\u00a0% for {sum(share)} of {len(share)} arms.",
        ]
    return lines


def _cells(rows: Sequence[Forecast]) -> list[str]:
    said = f"{sum(row.probability for row in rows) / len(rows):.2f}" if rows else "–"
    return [str(len(rows)), said, _share([row.is_best for row in rows])]


def _share(values: Sequence[bool]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"


def _shorter(every: Sequence[Outcome], shorter: Sequence[Outcome]) -> list[str]:
    names = {outcome.spec.name for outcome in shorter}
    outcomes = [outcome for outcome in every if outcome.spec.name in names]

    def tokens(found: Sequence[Outcome]) -> float:
        return 100 * sum(o.tokens[0] for o in found) / sum(o.tokens[1] for o in found)

    n = len(shorter)
    return [
        f"With pilots on 1/16 and 1/8 alone the favourite is the best by validation loss in "
        f"{_count(shorter, lambda o: o.favourite == o.best)} of {n} trials instead of "
        f"{_count(outcomes, lambda o: o.favourite == o.best)}, {sum(len(o.dropped) for o in shorter)} arms are "
        f"dropped instead of {sum(len(o.dropped) for o in outcomes)}, the best one in "
        f"{_count(shorter, lambda o: o.best in o.dropped)} trials, and tuning takes "
        f"{tokens(shorter):.0f}\u00a0% of "
        f"the tokens instead of {tokens(outcomes):.0f}\u00a0%.",
    ]
