"""Check whether a trial's data may be trained on, and what its user should know first.

Two gates. The text gate needs no model: overlaps, duplicates, templates, what a pretrained base has read. The token
gate counts what training will see. Either refuses with a UserError that says where, or returns its findings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from finetrial.errors import Mistakes, UserError
from finetrial.store.files import atomic_text
from finetrial.trial.contamination import Contamination, overlap, read_fingerprint
from finetrial.trial.counted_letters import script_note, uncounted_letters
from finetrial.trial.data_findings import Finding, counted, some
from finetrial.trial.examples import Encoded, EncodedSplit, SplitName, Splits
from finetrial.trial.overlap import duplicates, exact_pairs, near_pairs
from finetrial.trial.schema import Trial
from finetrial.trial.seams import doubled_markers, seam_findings
from finetrial.trial.setting_findings import completion_findings, setting_findings
from finetrial.trial.template import PLAIN, render_prompt


@dataclass(frozen=True, slots=True)
class TextGate:
    """What the text gate found. Counts are examples by split."""

    rows: Mapping[str, int]
    references: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    contamination: Contamination | None  # None: the base keeps no record of what it has read


@dataclass(frozen=True, slots=True)
class Lengths:
    """Percentiles of lengths in tokens."""

    median: int
    p90: int
    most: int


@dataclass(frozen=True, slots=True)
class SplitTokens:
    """What training sees of one split."""

    kept: int  # examples, those that were cut included
    cut: int  # examples that lost prompt tokens to max_tokens
    cut_tokens: int
    dropped: int
    dropped_why: tuple[str, ...]  # the first few rows with the reason
    tokens: int
    trained_tokens: int
    trained_share: float
    lengths: Lengths  # prompt and completion together
    completion_lengths: Lengths  # tokens that carry loss


@dataclass(frozen=True, slots=True)
class TokenGate:
    """What the token gate found for one form of example, by split."""

    splits: Mapping[str, SplitTokens]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class GateReport:
    """Everything the gate found: data.json."""

    text: TextGate
    tokens: Mapping[str, TokenGate]  # by form: the template, and (chat); empty where no tokenizer was at hand
    content_hash: str


def templates_of(trial: Trial) -> dict[str, tuple[str, ...]]:
    """Every template in use, with the arms that are shown it."""
    found: dict[str, tuple[str, ...]] = {}
    for arm in trial.arms:
        template = trial.template_of(arm)
        found[template] = (*found.get(template, ()), arm)
    return found


def _refuse_overlap(splits: Splits, *, whole: bool) -> None:
    pairs = exact_pairs(splits, whole=whole)
    if pairs:
        what = counted(len(pairs), "passage" if whole else "prompt")
        raise UserError(
            f"{what} in more than one split",
            got="such as " + "; ".join(some(str(pair) for pair in pairs)),
            fix="Set `overlap: drop` under data, which keeps them out of training, or remove them.",
        )


def _comparisons(splits: Splits, *, whole: bool) -> list[Finding]:
    findings = []
    for name, examples in splits.by_name.items():
        twice = duplicates(examples, whole=whole)
        if twice:
            shown = some(f"{second} repeats {first}" for first, second in twice)
            what = counted(len(twice), "passage" if whole else "prompt")
            findings.append(Finding("duplicates", f"{what} of {name} that an earlier row has too", shown))
    near = near_pairs(splits, whole=whole)
    if near:
        shown = some(f"{pair}: {pair.share:.0%} of its runs of 8 words" for pair in near)
        findings.append(
            Finding("near_overlap", f"{len(near):,} examples stand nearly the same in two splits", shown)
        )
    return findings


def _divided_groups(splits: Splits) -> list[Finding]:
    sides: dict[str, set[str]] = {}
    for name, examples in splits.by_name.items():
        for example in examples:
            if example.group is not None:
                sides.setdefault(example.group, set()).add(name)
    divided = [f"{group!r} in {', '.join(sorted(names))}" for group, names in sides.items() if len(names) > 1]
    if not divided:
        return []
    return [Finding("divided_group", counted(len(divided), "group") + " on both sides of the cut", some(divided))]


def _check_completions(splits: Splits) -> None:
    """Templates see no completion; a prompt column that repeats it would give the answer away just the same."""
    told = [e.origin for e in splits.train if e.prompt.strip() == e.references[0].strip()]
    if told and len(told) == len(splits.train):
        raise UserError(
            "every completion is the same text as its prompt",
            got=", ".join(some(told)),
            fix="Check `prompt:` and `completion:` under data.",
        )


def gate_text(splits: Splits, *, trial: Trial, model_folder: Path | None = None) -> TextGate:
    """Check the text of the splits. `model_folder`: the base, where it is a local folder.

    Raises UserError for a prompt that stands in two splits, and for a template that names an unknown column.
    """
    whole = trial.data.text_format is not None
    everything = (*splits.train, *splits.validation, *splits.heldout)
    mistakes = Mistakes()
    with mistakes.gathering():
        _refuse_overlap(splits, whole=whole)
    with mistakes.gathering():
        _check_completions(splits)
    for template in templates_of(trial):
        with mistakes.gathering():
            for example in everything:
                render_prompt(example, template=template)
    mistakes.raise_all()
    findings = _comparisons(splits, whole=whole) + _divided_groups(splits)
    findings += setting_findings(trial)
    references = [text for example in splits.heldout for text in example.references]
    if (uncounted := uncounted_letters(trial.judging, references)) is not None:
        findings.append(Finding("letters_not_seen", uncounted))
    if not whole:
        findings += completion_findings(splits)
    chats = trial.data.format == "messages"
    for template, names in templates_of(trial).items():
        if chats and template == PLAIN:
            continue
        arms = ("arm " if len(names) == 1 else "arms ") + ", ".join(names)
        findings += doubled_markers(everything, template=template, arms=arms)
        if any(not trial.arms[name].method.is_from_elsewhere for name in names):
            findings += seam_findings(everything, template=template, arms=arms)
    read = None
    known = read_fingerprint(model_folder) if model_folder is not None else None
    if known is not None:
        read = overlap(splits.heldout, known)
        if read.examples:
            text = f"the base has read {len(read.examples):,} of {len(splits.heldout):,} held-out examples"
            findings.append(Finding("contaminated", text, some(read.examples)))
    by_name = splits.by_name
    return TextGate(
        rows={name: len(examples) for name, examples in by_name.items()},
        references={name: sum(len(e.references) for e in examples) for name, examples in by_name.items()},
        findings=tuple(findings),
        notes=(*splits.notes, *filter(None, [script_note(trial.judging, references)])),
        contamination=read,
    )


def _lengths(values: Sequence[int]) -> Lengths:
    """Nearest-rank percentiles, so that every one is the length of an example that is there."""
    median, p90, most = np.percentile(values, [50, 90, 100], method="inverted_cdf")
    return Lengths(int(median), int(p90), int(most))


def _count(split: EncodedSplit) -> SplitTokens:
    encoded = split.examples
    tokens = sum(len(e.token_ids) for e in encoded)
    trained = sum(e.trained_tokens for e in encoded)
    return SplitTokens(
        kept=len(encoded),
        cut=sum(e.cut_tokens > 0 for e in encoded),
        cut_tokens=sum(e.cut_tokens for e in encoded),
        dropped=len(split.dropped),
        dropped_why=some(d.reason for d in split.dropped),
        tokens=tokens,
        trained_tokens=trained,
        trained_share=trained / tokens,
        lengths=_lengths([len(e.token_ids) for e in encoded]),
        completion_lengths=_lengths([e.trained_tokens for e in encoded]),
    )


def _ends(encoded: Encoded, *, ends: frozenset[int]) -> bool:
    """Whether the last token that carries loss is an end token."""
    last = max(i for i, trained in enumerate(encoded.trained) if trained)
    return encoded.token_ids[last] in ends


def _positions(encoded: Encoded, *, new_tokens: int) -> int:
    """The positions that training on the example, or an answer to its prompt, takes."""
    shown = max((i + 1 for i, trained in enumerate(encoded.trained) if not trained), default=0)
    return max(len(encoded.token_ids), shown + new_tokens)


def _refuse_context(where: str, *, needed: int, context: int, heldout: bool) -> None:
    lower = "data.max_tokens or sampling.max_new_tokens" if heldout else "data.max_tokens"
    raise UserError(
        f"{where} does not fit the model's context"
        + (", with the tokens it is to be answered in" if heldout else ""),
        got=f"{needed:,} tokens",
        expected=f"at most {context:,}",
        fix=f"Set `overlong: cut` and lower {lower}.",
    )


def gate_tokens(
    encoded: Mapping[SplitName, EncodedSplit],
    *,
    splits: Splits,
    ends: frozenset[int],
    chat: bool = False,
    context: int | None = None,
    new_tokens: int = 0,
) -> TokenGate:
    """Check the tokens of the splits; `ends` are the tokens that may end a completion.

    `context` is the model's number of positions, `new_tokens` how many sampling may add to a held-out prompt.
    Raises UserError for an example without trained tokens, one whose end token is not trained, one that does not
    fit the context, and a split of which nothing is left.
    """
    origins = {e.id: e.origin for examples in splits.by_name.values() for e in examples}
    inside: list[str] = []
    mistakes = Mistakes()

    def check(example: Encoded, *, name: SplitName, where: str) -> None:
        if example.trained_tokens == 0:
            raise UserError(f"{where} has no trained tokens", fix="Its completion has no text for this tokenizer.")
        if not _ends(example, ends=ends):
            raise UserError(f"{where}: the end token is not trained, so the arm would not learn to stop")
        if context is not None:
            needed = _positions(example, new_tokens=new_tokens if name == "heldout" else 0)
            if needed > context:
                _refuse_context(where, needed=needed, context=context, heldout=name == "heldout")

    for name, split in encoded.items():
        if not split.examples:
            why = split.dropped[0].reason if split.dropped else "it has no rows"
            mistakes.add(
                UserError(
                    f"nothing of {name} is left to train on or to measure",
                    got=why,
                    fix="Raise data.max_tokens, set `overlong: cut`, or bring shorter rows.",
                )
            )
        for example in split.examples:
            where = origins.get(example.example_id, example.example_id)
            with mistakes.gathering():
                check(example, name=name, where=where)
            if not chat and any(token in ends for token in example.token_ids[1:-1]):
                inside.append(where)
    mistakes.raise_all()
    findings: tuple[Finding, ...] = ()
    if inside:
        text = counted(len(inside), "example") + " with the end token inside the text"
        findings = (Finding("end_token_inside", text, some(inside)),)
    return TokenGate({name: _count(split) for name, split in encoded.items()}, findings)


def write_gate(report: GateReport, path: Path) -> None:
    """Write the report as data.json."""
    atomic_text(path, json.dumps(asdict(report), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
