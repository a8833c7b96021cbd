"""Keep the primary metric, margin and criterion that stood when the first scores were written.

They stand in judging.json, which is never written again. What differs from it was changed with the scores in view:
the comparison is exploratory.
"""

from __future__ import annotations

from finetrial.store.layout import TrialFolder
from finetrial.store.records import JudgedBy, read_object, write_object
from finetrial.trial.schema import Judging


def judged_by(judging: Judging) -> JudgedBy:
    """The settings that must be named before there are scores."""
    return JudgedBy(primary=judging.primary, margin=judging.margin, criterion=judging.criterion)


def keep_first_judging(folder: TrialFolder, *, judging: Judging) -> None:
    """Note by what the first scores are judged; a note that stands already stays as it is."""
    if not folder.judging.exists():
        write_object(folder.judging, judged_by(judging))


def changed_since(folder: TrialFolder, *, judging: Judging) -> tuple[str, ...]:
    """What was changed after the first scores, in words; empty where nothing was, or nothing was scored yet."""
    if not folder.judging.exists():
        return ()
    first, now = read_object(folder.judging, JudgedBy), judged_by(judging)
    changes = []
    if first.primary != now.primary:
        changes.append(
            f"judging.primary was {first.primary} when the first scores were written and is {now.primary} now"
        )
    if first.margin != now.margin:
        changes.append(
            f"judging.margin was {first.margin:g} when the first scores were written and is {now.margin:g} now"
        )
    if first.criterion != now.criterion:
        changes.append("judging.criterion was changed after the first scores were written")
    return tuple(changes)
