"""Check what an arm has read elsewhere, in tuning or as another base, against the held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetrial.errors import UserError
from finetrial.trial.contamination import overlap, read_fingerprint
from finetrial.trial.data_findings import Finding, counted, some
from finetrial.trial.drafts import data_of_rows, read_drafts
from finetrial.trial.examples import Example, Splits
from finetrial.trial.gate import templates_of
from finetrial.trial.overlap import Pair, near_pairs
from finetrial.trial.shingles import normalised
from finetrial.trial.sources import read_source
from finetrial.trial.template import PLAIN, render_prompt
from finetrial.trial.trial_file import LoadedTrial
from finetrial.units import listing


def _rows(name: str, *, loaded: LoadedTrial) -> list[Example]:
    """The rows of a source as examples; running text is one."""
    data = loaded.trial.data
    table = read_source(name, base=loaded.base, revision=None)
    if table.lines_of_text:
        text = "\n".join(str(row.values["text"]) for row in table.rows)
        return [Example(id="", origin=table.name, prompt=text, references=(), fields={})]
    return [draft.example for draft in read_drafts(table, data=data_of_rows(data, table), prompts_alone=True)]


_TELLING = 20  # characters of a prompt that begins a text: fewer begin another by chance. Assumption


def _word_for_word(rows: Sequence[Example], loaded: LoadedTrial, splits: Splits) -> list[str]:
    """The held-out prompts that rows have as theirs, bare or in one of the trial's templates, or begin with.

    A row without a completion may be a prompt and its answer in one text.
    """
    shown: dict[str, Example] = {}
    for example in splits.heldout:
        for template in (PLAIN, *templates_of(loaded.trial)):
            shown.setdefault(normalised(render_prompt(example, template=template)), example)
    telling = tuple(text for text in shown if len(text) >= _TELLING)
    found: dict[str, str] = {}
    for row in rows:
        text = normalised(row.prompt)
        if text not in shown and not row.references and text.startswith(telling):
            text = next(prompt for prompt in telling if text.startswith(prompt))
        if text in shown:
            found.setdefault(shown[text].origin, f"{shown[text].origin} and {row.origin}")
    return list(found.values())


def check_trained_on(loaded: LoadedTrial, splits: Splits) -> list[Finding]:
    """What of the held-out rows stands nearly in the rows that arms from elsewhere name as theirs.

    Raises UserError where a held-out prompt stands there word for word: the arm has learned its answer.
    """
    findings: list[Finding] = []
    for arm, keys in loaded.trial.arms.items():
        source = keys.method.training_rows
        if source is None:
            continue
        rows = tuple(_rows(source, loaded=loaded))
        facing = Splits(train=rows, validation=(), heldout=splits.heldout, content_hash="")
        near = near_pairs(facing, whole=loaded.trial.data.text_format is not None)
        seen = _word_for_word(rows, loaded, splits)
        seen = seen or [_both(pair) for pair in near if pair.share == 1]
        if seen:
            raise UserError(
                f"arm {arm} was trained on held-out rows",
                got=f"{counted(len(seen), 'prompt')} of {source}, such as {'; '.join(some(seen))}",
                fix="Train it on rows that are not held out (`finetrial split` writes them), or hold out others.",
            )
        if near:
            text = f"{counted(len(near), 'held-out row')} nearly the same as rows that arm {arm} was trained on"
            findings.append(Finding("near_trained_on", text, some(map(_both, near))))
    return findings


def read_by_bases(loaded: LoadedTrial, splits: Splits) -> list[Finding]:
    """The held-out rows that a base has read which an arm starts from in place of the trial's model.

    Of bases that keep a record of their text, as those that `finetrial pretrain` makes do.
    """
    findings = []
    bases: dict[str, list[str]] = {}
    for arm, keys in loaded.trial.arms.items():
        if keys.start_from is not None:
            bases.setdefault(loaded.base_source(arm), []).append(arm)
    for base, arms in bases.items():
        known = read_fingerprint(Path(base)) if Path(base).is_dir() else None
        read = () if known is None else overlap(splits.heldout, known).examples
        if read:
            seen = f"{len(read):,} of {len(splits.heldout):,} held-out examples"
            text = f"the base of {listing(arms)} has read {seen}"
            findings.append(Finding("contaminated", text, some(read)))
    return findings


def _both(pair: Pair) -> str:
    return f"{pair.origin} and {pair.other_origin}"
