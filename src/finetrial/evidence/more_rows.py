"""Say what more rows would bring, from arms that are alike but for the rows that they were tuned on.

The loss on the held-out references falls along a fitted law (scaling/row_curve.py). Beside its forecasts stands
what the arms with the most rows gained by another setting, a higher rank for instance: more data, or more rank?
Where a trial was run with --early, each arm's pilots and its own run are such a curve, of the validation loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from finetrial.evidence.early_outcome import EarlyArm, early_outcome
from finetrial.evidence.findings import MeasuredChange, MoreRows
from finetrial.evidence.reference_cost import measured_references
from finetrial.scaling.row_curve import FEWEST_SIZES, RowForecast, fit_rows, forecast_rows
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, ReferenceLikelihood, read_object
from finetrial.trial.schema import Trial

_TIMES = (2, 4)  # as many rows as the most that were tuned on
_LESS = 0.01  # of the loss, for which rows are asked
_ROWS = "rows"


def more_rows(folder: TrialFolder, trial: Trial) -> tuple[MoreRows, ...]:
    """A forecast for every set of arms that differ in `rows` alone, of which there are three or more, and for every
    other arm that has two pilots or more and was tuned on all its rows."""
    by_arms = _by_arms(folder, trial)
    return (*by_arms, *_by_pilots(folder, trial, but={arm for found in by_arms for arm in found.arms}))


def _by_arms(folder: TrialFolder, trial: Trial) -> tuple[MoreRows, ...]:
    references = measured_references(folder, trial)
    settings: dict[str, dict[str, object]] = {}
    for name, arm in trial.arms.items():
        if arm.tuned and arm.rows is not None and name in references:
            settings[name] = arm.model_dump(mode="json", exclude_unset=True)
    curves: dict[str, list[str]] = defaultdict(list)
    for name, keys in settings.items():
        curves[repr({key: value for key, value in keys.items() if key != _ROWS})].append(name)
    largest = {names[-1]: names for names in map(lambda found: _by_rows(found, settings), curves.values())}
    return tuple(
        _forecast(names, settings=settings, references=references, others=list(largest), seed=trial.sampling.seed)
        for names in largest.values()
        if len({settings[name][_ROWS] for name in names}) >= FEWEST_SIZES and _read_the_same(names, references)
    )


def _by_pilots(folder: TrialFolder, trial: Trial, *, but: Collection[str]) -> Iterator[MoreRows]:
    early = early_outcome(folder, trial)
    arms: dict[str, tuple[EarlyArm, float]] = {}
    for arm in () if early is None else early.arms:
        measured = read_object(folder.measured(arm.arm), Measured) if arm.tuned is not None else None
        if early is None or measured is None or arm.tuned is None or arm.arm in but:
            continue
        # of other rows the losses are no curve
        if measured.validation_rows == early.validation_rows and None not in arm.losses:
            arms[arm.arm] = arm, arm.tuned
    settings = {name: trial.arms[name].model_dump(mode="json", exclude_unset=True) for name in arms}
    for name, (arm, loss) in arms.items():
        rows = (*arm.rows, arm.full_rows)
        losses = (*(loss for loss in arm.losses if loss is not None), loss)
        if len(set(rows)) < FEWEST_SIZES:
            continue
        curve = fit_rows(rows, losses)
        fitted = curve.loss_at(arm.full_rows)
        yield MoreRows(
            arms=(name,),
            rows=rows,
            losses=losses,
            forecasts=tuple(
                RowForecast(times * arm.full_rows, curve.loss_at(times * arm.full_rows) - fitted, None, None)
                for times in _TIMES
            ),
            rows_for_less=curve.rows_for((1 - _LESS) * fitted),
            instead=tuple(
                MeasuredChange(other, key, settings[name].get(key), settings[other].get(key), beside - loss)
                for other, (row, beside) in arms.items()
                if other != name and row.full_rows == arm.full_rows
                for key in _differing(settings[name], settings[other])
                if len(_differing(settings[name], settings[other])) == 1
            ),
        )


def _by_rows(names: Sequence[str], settings: Mapping[str, Mapping[str, object]]) -> list[str]:
    return sorted(names, key=lambda name: int(str(settings[name][_ROWS])))


def _read_the_same(names: Sequence[str], references: Mapping[str, Sequence[ReferenceLikelihood]]) -> bool:
    return len({tuple((row.prompt_id, row.tokens) for row in references[name]) for name in names}) == 1


def _forecast(
    names: Sequence[str],
    *,
    settings: Mapping[str, Mapping[str, object]],
    references: Mapping[str, Sequence[ReferenceLikelihood]],
    others: Sequence[str],
    seed: int,
) -> MoreRows:
    rows = [int(str(settings[name][_ROWS])) for name in names]
    units = [_units(references[name]) for name in names]
    tokens = [float(count) for count, _ in units[0].values()]
    nats = [[cost for _, cost in own.values()] for own in units]
    losses = [sum(own) / sum(tokens) for own in nats]
    most, curve = rows[-1], fit_rows(rows, losses)
    fitted = curve.loss_at(most)
    return MoreRows(
        arms=tuple(names),
        rows=tuple(rows),
        losses=tuple(losses),
        forecasts=forecast_rows(rows, nats, tokens=tokens, at=[times * most for times in _TIMES], seed=seed),
        rows_for_less=curve.rows_for((1 - _LESS) * fitted),
        instead=tuple(
            _measured(names[-1], other, settings=settings, references=references)
            for other in others
            if other != names[-1]
            and settings[other][_ROWS] == most
            and len(_differing(settings[names[-1]], settings[other])) == 1
            and _read_the_same([names[-1], other], references)
        ),
    )


def _units(rows: Sequence[ReferenceLikelihood]) -> dict[str, tuple[int, float]]:
    """Tokens and nats of each group; a prompt without one is its own."""
    found: dict[str, tuple[int, float]] = {}
    for row in rows:
        unit = f"prompt {row.prompt_id}" if row.group is None else f"group {row.group}"
        tokens, nats = found.get(unit, (0, 0.0))
        found[unit] = tokens + row.tokens, nats + row.nats
    return found


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]


def _measured(
    arm: str,
    other: str,
    *,
    settings: Mapping[str, Mapping[str, object]],
    references: Mapping[str, Sequence[ReferenceLikelihood]],
) -> MeasuredChange:
    (key,) = _differing(settings[arm], settings[other])
    tokens = sum(row.tokens for row in references[arm])
    change = sum(row.nats for row in references[other]) - sum(row.nats for row in references[arm])
    return MeasuredChange(
        arm=other, key=key, was=settings[arm].get(key), value=settings[other].get(key), change=change / tokens
    )
