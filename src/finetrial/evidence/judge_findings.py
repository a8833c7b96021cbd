"""Read every model judge of a trial folder, audited and put beside people."""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.evidence.grading_stand import helping_judge
from finetrial.evidence.judge_audit import audit
from finetrial.evidence.judge_material import judge_material
from finetrial.evidence.judged_verdict import JudgeFinding, assisted_pairs, corrected_shares
from finetrial.store.grade_key import unblinded_pairs
from finetrial.store.grade_records import GradingSettings, UnblindedGrade
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers, spent
from finetrial.store.records import Item, ItemPair, Sample, read_rows
from finetrial.trial.judge_questions import judged, questions_of
from finetrial.trial.judges import family_of
from finetrial.trial.schema import Trial


def _family(trial: Trial, arm: str) -> str | None:
    """The family of the model that answers for an arm; None where nothing tells it, as of a file of answers."""
    method = trial.arms[arm].method
    if method.is_answered_elsewhere:
        return None if method.served_by is None else family_of(method.served_by.model)
    return family_of(trial.model_of(arm))


def _helps(trial: Trial, settings: GradingSettings) -> bool:
    """Whether the first judge helps people's grades to the verdict, as was fixed before the first of them."""
    if trial.judging.estimator == "people":
        return False
    return settings.stopping is None or helping_judge(trial, settings) is not None


def judge_findings(
    folder: TrialFolder,
    trial: Trial,
    *,
    samples: Sequence[Sample],
    grades: Sequence[UnblindedGrade],
    open_grades: bool,
) -> tuple[JudgeFinding, ...]:
    """Every judge that the trial names, once the grades are open. `grades` are everybody's, models among them.

    People's choices between pairs do not enter: people's grades of single texts are what a judge is held to.
    """
    state = grading_state(folder)
    settings = state.settings
    are_open = open_grades or state.locked_at is not None
    if not trial.judging.judges or settings is None or not folder.items.exists() or not are_open:
        return ()
    pairs = unblinded_pairs(folder, open_grades=open_grades)
    items = list(read_rows(folder.items, Item))
    item_pairs = list(read_rows(folder.pairs, ItemPair)) if folder.pairs.exists() else []
    families = {arm: _family(trial, arm) for arm in trial.arms}
    found = []
    for place, judge in enumerate(trial.judging.judges):
        rows = read_answers(folder.judge(judge.name))
        material = judge_material(judge.name, samples=samples, grades=grades, pairs=pairs)
        so_far = spent(rows)
        questions = questions_of(judge, items, item_pairs, criterion=settings.criterion)
        found.append(
            JudgeFinding(
                audit=audit(
                    material,
                    name=judge.name,
                    model=judge.model_name,
                    scale=judge.scale,
                    judged=judged(judge, questions, rows),
                    requests=so_far.requests,
                    money=so_far.money,
                    family=judge.family or family_of(judge.model_name),
                    families=families,
                    seed=trial.sampling.seed,
                ),
                pairs=assisted_pairs(material, seed=trial.sampling.seed),
                shares=corrected_shares(material),
                decides=place == 0 and _helps(trial, settings),
            )
        )
    return tuple(found)
