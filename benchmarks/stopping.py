"""Measure false alarms and power of grading that may stop at any time: the tables of docs/statistics.md.

    python benchmarks/stopping.py [--trials 10000]
    python benchmarks/stopping.py --judged [--trials 10000]

Every grading is looked at after each prompt, up to 200 of them. Differences of a prompt are those of two arms with
these shares of good answers, one or three samples each; prompts differ in difficulty as in judged_coverage.py, and
so do the judges of the second table: there a coin gives each of up to 1,000 prompts to people with probability .2,
and the judge grades all of them.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from judged_coverage import JUDGES, draw
from scipy.special import stdtrit

from finetrial.stats.any_time import log_above_process, log_sign_flip_process
from finetrial.stats.assisted_any_time import halves, log_assisted_above, payoffs

ALPHA, MARGIN, MOST = 0.05, 0.1, 200
SHARE = 0.2


def gradings(*, shares, samples, trials):
    rng = np.random.default_rng([round(100 * share) for share in shares] + [samples])
    rows = [
        draw(rng, shares=shares, samples=samples, graded=MOST, skill=0.0, bias=0.0)[0][:MOST] for _ in range(trials)
    ]
    return np.array(rows)


def first(reached):
    """The first look at which each grading is over; MOST where it never is."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, MOST)


def judged_gradings(rng, *, shares, samples, judge, trials):
    """People's differences by prompt, NaN where the coin gave a prompt to the judge alone, and the judge's."""
    skill, bias = JUDGES[judge]
    units = round(MOST / SHARE)
    rows = [draw(rng, shares=shares, samples=samples, graded=units, skill=skill, bias=bias) for _ in range(trials)]
    people, said = (np.array(part)[:, :units] for part in zip(*rows, strict=True))
    flips = rng.random(people.shape) < SHARE
    return np.where(flips & (flips.cumsum(axis=1) <= MOST), people, np.nan), said


def judged(trials) -> None:
    print(
        "| shares | samples | judge | named a better arm | the wrong one | median prompts graded | people alone |"
    )
    print("|---|---|---|---|---|---|---|")
    goal, began = math.log(2 / ALPHA), time.perf_counter()
    for shares in ((0.5, 0.5), (0.95, 0.95), (0.55, 0.45), (0.6, 0.4), (0.8, 0.4), (0.99, 0.95)):
        alike = shares[0] == shares[1]
        for samples in (1, 3):
            for judge in ("useless", "good, biased") if alike else ("useless", "good", "perfect"):
                rng = np.random.default_rng([round(100 * share) for share in shares] + [samples])
                found = []
                for _ in range((trials if alike else trials // 5) // 500):
                    people, said = judged_gradings(rng, shares=shares, samples=samples, judge=judge, trials=500)
                    found.append(_looks(people, said, goal=goal))
                better, worse, at, alone, alone_at = (np.concatenate(part) for part in zip(*found, strict=True))
                wrong = better | worse if alike else worse
                cells = [f"{shares[0]} / {shares[1]}", str(samples), judge]
                cells += [f"{100 * share.mean():.2f} %" for share in (better | worse, wrong)]
                cells += [f"{np.median(at):.0f}", f"{100 * alone.mean():.2f} %, {np.median(alone_at):.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{trials} gradings a row where arms are alike, else a fifth; {time.perf_counter() - began:.0f} s")


def _looks(people, said, *, goal):
    """Whether either arm is named, at how many graded prompts; and the same by people alone."""
    paid = payoffs(people, said, share=SHARE)
    graded, gaps = ~np.isnan(people), np.nan_to_num(people)
    count = graded.cumsum(axis=1)
    open_ = count <= MOST
    helped, alone = [], []
    for sign in (1, -1):
        by_people = log_sign_flip_process(sign * gaps)  # a difference of 0 leaves the stake as it is
        both = halves(by_people, log_assisted_above(paid, bound=0.0, sign=sign))
        helped.append((both >= goal) & graded & open_)
        alone.append((by_people >= goal) & graded & open_)
    out = []
    for better, worse in (helped, alone):
        reached = better | worse
        place = reached.argmax(axis=1)[:, None]
        at = np.where(reached.any(axis=1), np.take_along_axis(count, place, 1)[:, 0], MOST)
        out.append((better.any(axis=1), worse.any(axis=1), at))
    (better, worse, at), (alone_better, alone_worse, alone_at) = out
    return better, worse, at, alone_better | alone_worse, alone_at


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=10_000)
    options.add_argument("--judged", action="store_true")
    given = options.parse_args()
    trials, began = given.trials, time.perf_counter()
    if given.judged:
        judged(trials)
        return
    print(
        "| shares | samples | named a better arm | the wrong one | said within 0.1 | median prompts | fixed 50 | "
        "fixed 200 | t at every look |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    goal_sign, goal_margin = math.log(2 / ALPHA), math.log(1 / ALPHA)
    for shares in ((0.5, 0.5), (0.95, 0.95), (0.55, 0.45), (0.6, 0.4), (0.65, 0.35), (0.8, 0.4), (0.99, 0.95)):
        for samples in (1, 3):
            gaps = gradings(shares=shares, samples=samples, trials=trials)
            better = log_sign_flip_process(gaps) >= goal_sign
            worse = log_sign_flip_process(-gaps) >= goal_sign
            above = np.maximum.accumulate(log_above_process(gaps, bound=-MARGIN), axis=1) >= goal_margin
            below = np.maximum.accumulate(log_above_process(-gaps, bound=-MARGIN), axis=1) >= goal_margin
            named = better.any(axis=1) | worse.any(axis=1)
            wrong = worse.any(axis=1) if shares[0] > shares[1] else named
            within = (above & below).any(axis=1)
            over = better | worse | (above & below)
            t_every = np.zeros(trials, dtype=bool)
            fixed = {}
            for n in range(5, MOST + 1):
                mean, spread = gaps[:, :n].mean(axis=1), gaps[:, :n].std(axis=1, ddof=1)
                reached = np.abs(mean) > stdtrit(n - 1, 0.975) * spread / math.sqrt(n)
                t_every |= reached & (spread > 0)
                if n in (50, MOST):
                    fixed[n] = (reached & (spread > 0)).mean()
            cells = [f"{shares[0]} / {shares[1]}", str(samples)]
            rates = (named.mean(), wrong.mean(), within.mean())
            cells += [f"{100 * rate:.2f} %" for rate in rates]
            cells += [f"{np.median(first(over)):.0f}", *(f"{100 * fixed[n]:.1f} %" for n in (50, MOST))]
            print(f"| {' | '.join(cells)} | {100 * t_every.mean():.1f} % |", flush=True)
    print(f"\n{trials} gradings a row, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
