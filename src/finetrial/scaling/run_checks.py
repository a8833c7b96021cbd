"""What is wrong with a table of runs: units that cannot be, FLOPs that are not 6 N D, rows that stand twice.

Shapes: R runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.scaling.fitting import Fit
from finetrial.scaling.laws import FLOPS_PER_PARAM_TOKEN
from finetrial.scaling.objective import Objective
from finetrial.scaling.run_columns import UNITS, Meaning
from finetrial.scaling.training_runs import Runs
from finetrial.units import format_count

# Between which the largest of a table's values must lie to be a count: assumptions, wide of any language model
_LARGEST = {"params": (1e5, 1e14), "tokens": (1e6, 1e17), "flops": (1e12, 1e32), "unique_tokens": (1e6, 1e17)}
# Between which the middle of such values lies when its unit is right: for a suggestion only
_USUAL = {"params": (1e6, 1e12), "tokens": (3e7, 1e14), "flops": (1e14, 1e28), "unique_tokens": (3e7, 1e14)}
_USUAL_TOKENS_PER_PARAM = 20  # Hoffmann et al. 2022, table A3; for a suggestion only
_TOKENS_PER_PARAM = (0.02, 3e4)  # assumption: of the middle run; 0.1 to 15,000 have been trained
_HIGHEST_MEDIAN_LOSS = 12.0  # guessing among 160,000 words costs ln 160,000 = 12 nats: more is no loss in nats
_AS_6ND = 1.25  # rows whose FLOPs are within a quarter of 6 N D agree: attention and embeddings are in it or not
_ANOTHER_UNIT = 8.0  # a column that is off throughout by more than this factor is in another unit
_SAME = 1e-3  # runs whose N and D agree to a tenth of a per cent are the same run made again
_AGAIN = 0.03  # assumption: seeds move a loss by less than 3 %; another corpus or tokenizer by more
_USUAL_RESIDUAL = 0.0075  # root mean square in log loss of the 240 published runs under their own fit
_STACKED = 0.05  # assumption: a run this far off in log loss is none of the law's
_STACKED_SHARE = 0.1  # assumption: and so many of them are no outliers
_TIMES_USUAL = 6  # assumption: noise of 4 % is 5 times the usual, two corpora whose losses differ by 10 % are 7
_SEPARATES = 0.8  # of the variance of the residuals, for a column that tells experiments apart


@dataclass(frozen=True)
class MixedExperiments:
    """Why the rows look like several experiments, and the column that tells them apart where there is one."""

    reason: str
    column: str | None
    values: tuple[str, ...]


def require_plausible(
    values: Mapping[str, np.ndarray], *, names: Mapping[str, str], meanings: Mapping[str, Meaning]
) -> None:
    """Raise UserError, naming the unit to give, for numbers that cannot be counts. `values` are as multiplied.

    `meanings` holds the roles whose unit the user has not given; those with a given unit are taken as they stand.
    """
    found, asked = [], []
    for role, (least, most) in _LARGEST.items():
        if role in values and role in meanings and not least <= float(values[role].max()) <= most:
            found.append(_range_of(values[role], role=role, name=names[role], unit=meanings[role].unit))
            asked.append(role)
    if not found and {"params", "tokens"} <= set(values) and {"params", "tokens"} & set(meanings):
        ratio = float(np.median(values["tokens"] / values["params"]))
        if not _TOKENS_PER_PARAM[0] <= ratio <= _TOKENS_PER_PARAM[1]:
            asked = [role for role in ("params", "tokens") if role in meanings]
            found.append(f"{ratio:.3g} tokens a parameter at the middle run")
    if found:
        bare = {role: column / (meanings[role].factor if role in asked else 1) for role, column in values.items()}
        fixes = [f"{role}={unit}" for role, unit in _suggested(bare, asked=asked).items()]
        raise UserError(
            "the runs are no plausible counts: in which units are they?",
            got="; ".join(found),
            expected="numbers of parameters and tokens, such as 70M and 1.4B or 7e7 and 1.4e9",
            fix=f"Give the unit, say --units {','.join(fixes)} (1: as they stand).",
        )
    loss = float(np.median(values["loss"]))
    if loss > _HIGHEST_MEDIAN_LOSS:
        raise UserError(
            f"the losses in column {names['loss']!r} are none in nats a token",
            got=f"a median of {loss:.4g}",
            expected=f"at most {_HIGHEST_MEDIAN_LOSS:g}, what guessing costs",
            fix="If they are perplexities, give their natural logarithms; if sums, divide by the tokens.",
        )


def _range_of(values_R: np.ndarray, *, role: str, name: str, unit: str | None) -> str:
    low, high = format_count(float(values_R.min())), format_count(float(values_R.max()))
    read = f" read in units of {unit}" if unit else ""
    return f"{role} of {low} to {high} (column {name!r}{read})"


def _middle(values_R: np.ndarray) -> float:
    return float(np.exp(np.log(values_R).mean()))


def _suggested(bare: Mapping[str, np.ndarray], *, asked: Sequence[str]) -> dict[str, str]:
    """The likeliest unit of each role that is asked for: of those that make usual counts, the ones by which tokens
    and parameters stand nearest to the usual ratio."""
    fitting = []
    for role in asked:
        low, high = _USUAL[role]
        middle = _middle(bare[role])
        fitting.append([u for u in UNITS if u != "G" and low <= middle * UNITS[u] <= high] or ["1"])

    def how_unusual(units: Mapping[str, str]) -> float:
        factors = {role: UNITS[unit] for role, unit in units.items()}
        if not {"params", "tokens"} <= set(bare):
            return 0.0
        middle = {role: _middle(bare[role]) * factors.get(role, 1) for role in ("params", "tokens")}
        ratio = middle["tokens"] / middle["params"] / _USUAL_TOKENS_PER_PARAM
        return round(abs(float(np.log(ratio))), 6)  # equal ratios tie, and then the least units stand

    choices = [dict(zip(asked, units, strict=True)) for units in itertools.product(*fitting)]
    return min(choices, key=how_unusual)


def against_6nd(
    *,
    params_R: np.ndarray,
    tokens_R: np.ndarray,
    flops_R: np.ndarray,
    lines_R: np.ndarray,
    names: Mapping[str, str],
) -> str | None:
    """Where a column of FLOPs is off 6 N D; None where it agrees. Raises UserError where a unit must be wrong."""
    ratio_R = flops_R / (FLOPS_PER_PARAM_TOKEN * params_R * tokens_R)
    middle = float(np.median(ratio_R))
    if not 1 / _ANOTHER_UNIT <= middle <= _ANOTHER_UNIT:
        thousand = 1000 ** round(float(np.log10(1 / middle)) / 3)
        unit = next((u for u, factor in UNITS.items() if factor == thousand and u != "G"), None)
        fits = unit is not None and 1 / _ANOTHER_UNIT <= middle * thousand <= _ANOTHER_UNIT
        first = f"Give the unit, say --units flops={unit}" if fits else "Give the units with --units"
        raise UserError(
            f"the FLOPs in column {names['flops']!r} are not those of these parameters and tokens",
            got=f"{middle:.3g} times 6 N D at the middle run",
            expected="about once",
            fix=f"{first}; or leave one of the two out: --columns tokens={_quoted(names['tokens'])} reads the "
            f"tokens alone, --columns flops={_quoted(names['flops'])} the FLOPs.",
        )
    off_R = (ratio_R > _AS_6ND) | (ratio_R < 1 / _AS_6ND)
    if not off_R.any():
        return None
    if off_R.mean() > 0.5:
        return (
            f"the flops column is {middle:.3g} times 6 N D at the middle run ({ratio_R.min():.3g} to "
            f"{ratio_R.max():.3g}); the tokens are read, and compute is 6 N D"
        )
    rows = [f"line {line} ({ratio:.3g} times)" for line, ratio in zip(lines_R[off_R], ratio_R[off_R], strict=True)]
    return f"the flops column is off 6 N D in {_some(rows)}; the tokens are read"


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name or "," in name else name


def _some(texts: Sequence[str], *, shown: int = 4) -> str:
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(texts[:shown]) + more


def repeated_rows(runs: Runs) -> tuple[np.ndarray, str | None]:
    """Which rows repeat an earlier one in every number, shape (R,), and their names."""
    columns = [runs.params_R, runs.tokens_R, runs.loss_R]
    if runs.unique_tokens_R is not None:
        columns.append(runs.unique_tokens_R)
    seen: dict[tuple[float, ...], int] = {}
    again_R, pairs = np.zeros(len(runs), dtype=bool), []
    for index, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        first = seen.setdefault(row, index)
        if first != index:
            again_R[index] = True
            pairs.append(f"line {runs.lines_R[index]} (as line {runs.lines_R[first]})")
    if not pairs:
        return again_R, None
    one = len(pairs) == 1
    return again_R, (
        f"{len(pairs)} row{'' if one else 's'} repeat{'s' if one else ''} another in every number and "
        f"{'is' if one else 'are'} counted once: {_some(pairs)}; twice the same run is no second one"
    )


def mixed_at_same_point(runs: Runs, *, others: Mapping[str, Sequence[str]]) -> MixedExperiments | None:
    """Losses that differ at the same N and D by more than seeds explain; None where none do."""
    places: dict[tuple[int, ...], list[int]] = {}
    columns = [runs.params_R, runs.tokens_R]
    if runs.unique_tokens_R is not None:
        columns.append(runs.unique_tokens_R)
    keys = np.round(np.log(np.stack(columns, axis=1)) / _SAME).astype(int)
    for index, key in enumerate(map(tuple, keys.tolist())):
        places.setdefault(key, []).append(index)
    apart = [group for group in places.values() if np.ptp(np.log(runs.loss_R[group])) > _AGAIN]
    if not apart:
        return None
    group = apart[0]
    low, high = (group[pick(runs.loss_R[group])] for pick in (np.argmin, np.argmax))
    reason = (
        f"at the same parameters and tokens the losses differ by more than {_AGAIN:.0%} in {len(apart)} "
        f"place{'s' if len(apart) > 1 else ''}: {runs.loss_R[low]:.4g} in line {runs.lines_R[low]}, "
        f"{runs.loss_R[high]:.4g} in line {runs.lines_R[high]}"
    )
    among = np.concatenate([np.log(runs.loss_R[g]) - np.log(runs.loss_R[g]).mean() for g in apart])
    members = [index for g in apart for index in g]
    return _separating_column(
        reason, among, others={name: [column[i] for i in members] for name, column in others.items()}
    )


def mixed_by_residuals(fit: Fit, *, others: Mapping[str, Sequence[str]]) -> MixedExperiments | None:
    """Residuals far beyond those of any one experiment; None where they are usual."""
    residual_R = Objective.of(fit.runs, delta=fit.delta).residuals(fit.theta_P[None])[0]
    far = int((np.abs(residual_R) > _STACKED).sum())
    typical = float(np.sqrt((residual_R**2).mean()))
    if far < max(2, _STACKED_SHARE * len(residual_R)) or typical < _TIMES_USUAL * _USUAL_RESIDUAL:
        return None
    reason = (
        f"{far} of {len(residual_R)} runs lie more than {_STACKED:.0%} off any law fitted to all of them; the "
        f"residuals of log loss are {typical:.2g}, {typical / _USUAL_RESIDUAL:.0f} times the usual"
    )
    return _separating_column(reason, residual_R, others=others)


def _separating_column(reason: str, values: np.ndarray, *, others: Mapping[str, Sequence[str]]) -> MixedExperiments:
    """Name the column of the table whose groups explain `values` best, where one nearly does."""
    best, column = _SEPARATES, None
    total = float(((values - values.mean()) ** 2).sum())
    for name, cells in others.items():
        groups = sorted(set(cells))
        if not 2 <= len(groups) <= len(values) / 2 or total <= 0:
            continue
        own = np.array(cells)
        within = sum(float(((values[own == g] - values[own == g].mean()) ** 2).sum()) for g in groups)
        if 1 - within / total > best:
            best, column = 1 - within / total, name
    return MixedExperiments(reason, column, tuple(sorted(set(others[column]))) if column is not None else ())
