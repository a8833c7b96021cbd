"""Check that a model judge's grades follow from the raw answers that are stored."""

from __future__ import annotations

from collections.abc import Iterator

from finetrial.store.grade_records import MODEL
from finetrial.store.grades import grading_state, read_grades, read_pair_grades
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers
from finetrial.store.records import Item, ItemPair, read_rows
from finetrial.trial.judge_questions import judge_rubric_hash, judged, questions_of
from finetrial.trial.schema import Trial


def unfounded_grades(folder: TrialFolder, trial: Trial) -> Iterator[tuple[str, str | None, str | None]]:
    """What does not follow, as (what, as stored, as it follows): exchanged answers, and grades that none gives."""
    settings = grading_state(folder).settings
    if not trial.judging.judges or settings is None or not folder.items.exists():
        return
    items = list(read_rows(folder.items, Item))
    pairs = list(read_rows(folder.pairs, ItemPair)) if folder.pairs.exists() else []
    for judge in trial.judging.judges:
        path = folder.judge(judge.name)
        name = path.relative_to(folder.root).as_posix()
        rows = read_answers(path)
        for number, row in enumerate(rows, start=1):
            now = None if row.raw is None else hash_value(row.raw)
            if now != row.raw_hash:
                yield f"{name}, row {number}: the raw answer", row.raw_hash, now
        questions = questions_of(judge, items, pairs, criterion=settings.criterion)
        found = judged(judge, questions, rows)
        follows = {cell: row.label or row.value for cell, row in found.items.items()}
        follows |= {cell: row.value for cell, row in found.pairs.items()}
        mine = (judge.name, MODEL)
        items_graded = [g for g in read_grades(folder) if (g.rater, g.rater_kind) == mine]
        pairs_graded = [p for p in read_pair_grades(folder) if (p.rater, p.rater_kind) == mine]
        stored: dict[str, str] = {g.item_id: g.label or g.value for g in items_graded}
        stored |= {p.pair_id: p.value for p in pairs_graded}
        rubric = judge_rubric_hash(judge, questions)
        for cell, said in (
            *((g.item_id, g.rubric_hash) for g in items_graded),
            *((p.pair_id, p.rubric_hash) for p in pairs_graded),
        ):
            if said != rubric:
                yield f"the grade of {judge.name} for {cell}: the hash of what was asked", said, rubric
        for cell in sorted(follows.keys() | stored.keys()):
            if follows.get(cell) != stored.get(cell):
                yield f"the grade of {judge.name} for {cell}", stored.get(cell), follows.get(cell)
