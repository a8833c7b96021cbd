"""Set samples aside for blind grading: texts without arms, and the sealed key back to the samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from finetrial.judging.events import GradeBook
from finetrial.store.grade_key import write_key
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample, write_rows
from finetrial.trial.schema import Judging
from finetrial.trial.set_aside import set_aside


@dataclass(frozen=True, slots=True)
class Blinding:
    """What was set aside for grading."""

    prompts: int
    items: int
    samples: int  # more than items where texts are equal
    pairs: int


def write_items(
    folder: TrialFolder,
    samples: Iterable[Sample],
    *,
    judging: Judging,
    seed: int,
    title: str | None = None,
) -> Blinding:
    """Write items.jsonl, pairs.jsonl, key.json and the settings of grades.sqlite.

    `title` names the trial on the page, the folder's name unless given. Raises GradesLocked when the grades are
    locked and the samples have changed.
    """
    name = title if title is not None else folder.root.resolve().name
    laid = set_aside(samples, judging=judging, seed=seed, title=name)
    book = GradeBook(folder.grades)
    try:
        book.fix_settings(laid.settings)
    finally:
        book.close()
    write_rows(folder.items, laid.items)
    write_rows(folder.pairs, laid.pairs)
    write_key(folder, laid.key)
    return Blinding(laid.settings.prompts, laid.settings.items, laid.n_samples, len(laid.pairs))
