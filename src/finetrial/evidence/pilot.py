"""Read from a graded trial how far people's grades vary, for the number of prompts of the next."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from finetrial.errors import UserError
from finetrial.evidence.score_table import RatedSample, build_table
from finetrial.evidence.trial_findings import read_samples
from finetrial.metrics.mean_grade import GRADE
from finetrial.stats.power import Spread, observed_spread
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grade_records import MODEL
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.trial.trial_file import load_trial


def pilot_spread(root: Path) -> Spread:
    """The variances of people's grades between the two arms of a graded trial that vary most.

    Raises UserError for a folder without locked grades, and for grades of fewer than two prompts of both arms.
    """
    folder = TrialFolder(root)
    if not folder.trial.exists():
        raise UserError(f"judging.pilot: {root} is not the folder of a trial", fix="Name a graded trial's folder.")
    if grading_state(folder).locked_at is None:
        raise UserError(
            f"judging.pilot: nobody's grades are locked in {root}",
            fix="`finetrial grade` and `finetrial unblind` make it a pilot; without `judging.pilot` the largest "
            "variance is assumed.",
        )
    arms = tuple(load_trial(root).trial.arms)
    grades = [grade for grade in unblinded_grades(folder) if grade.rater_kind != MODEL]
    samples = read_samples(folder, arms=arms)
    table = build_table(samples, (), grades=[RatedSample(g.sample_id, g.rater, g.value) for g in grades])
    spreads = [observed_spread(table.rows(GRADE, a), table.rows(GRADE, b)) for a, b in combinations(table.arms, 2)]
    known = [spread for spread in spreads if spread.between is not None]
    if not known:
        raise UserError(f"judging.pilot: too few prompts of {root} are graded to tell how far they vary")
    return max(known, key=_of_one_sample)


def _of_one_sample(spread: Spread) -> float:
    return (spread.between or 0.0) + (spread.within_a or 0.0) + (spread.within_b or 0.0)
