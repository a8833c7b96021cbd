"""Read the examples that a trial trains on, validates on and holds out.

Reads the sources, finds the columns, turns rows into examples, and cuts what has no split of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from finetrial.errors import Mistakes, UserError
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric_table import find_metric
from finetrial.store.hashes import hash_value
from finetrial.store.hub_reach import check_hub
from finetrial.trial.drafts import Draft, compared_text, read_drafts
from finetrial.trial.examples import Example, SplitName, Splits
from finetrial.trial.rows import Table
from finetrial.trial.schema import Data, Judging, Source, Trial, is_local
from finetrial.trial.sources import parse_source, read_source, read_splits_of
from finetrial.trial.split import choose, cut_rows, default_count
from finetrial.trial.trial_file import LoadedTrial

# Held-out before validation before train: an overlap is dropped from the later of these.
_PRECEDENCE: tuple[SplitName, ...] = ("heldout", "validation", "train")


def _read_tables(loaded: LoadedTrial) -> dict[SplitName, Table]:
    data, base = loaded.trial.data, loaded.base
    if isinstance(data.source, Source):
        named: dict[SplitName, str | None] = {
            "train": data.source.train,
            "validation": data.source.validation,
            "heldout": data.source.heldout,
        }
        tables: dict[SplitName, Table] = {}
        mistakes = Mistakes()
        for split, name in named.items():
            with mistakes.gathering():
                if name is not None:
                    tables[split] = read_source(name, base=base, revision=data.revision)
        mistakes.raise_all()
        return tables
    return read_splits_of(data.source, base=base, revision=data.revision)


def check_sources(loaded: LoadedTrial) -> None:
    """Raise UserError at once where a data set of the hub is neither in the cache nor can be downloaded."""
    source = loaded.trial.data.source
    names = (source.train, source.validation, source.heldout) if isinstance(source, Source) else (source,)
    for name in names:
        if name is not None:
            place = parse_source(name, base=loaded.base).place
            if not is_local(place, base=loaded.base):
                check_hub(place, kind="dataset")


def needs_completions(judging: Judging) -> bool:
    """Whether what decides compares answers with completions. An unknown metric may."""
    if judging.primary == GRADE:
        return False
    metric = find_metric(judging.primary)
    return metric is None or metric.needs_references


def _drafts(table: Table, *, split: SplitName, trial: Trial, notes: list[str]) -> list[Draft]:
    """A split's rows. Held-out ones may lack a completion where nothing that decides needs one."""
    if split != "heldout" or not needs_completions(trial.judging):
        return read_drafts(table, data=trial.data, prompts_alone=split == "heldout", notes=notes)
    try:
        return read_drafts(table, data=trial.data, notes=notes)
    except UserError as error:
        try:
            bare = [d.example for d in read_drafts(table, data=trial.data, prompts_alone=True)]
        except UserError:
            raise error from None
        lacking = [example.origin for example in bare if not example.references]
        if not lacking:
            raise
        raise UserError(
            f"held-out rows have no completion, and judging.primary: {trial.judging.primary} compares with one",
            got=f"{len(lacking):,} of {len(bare):,} rows, such as {lacking[0]}",
            fix="Add completions, or set judging.primary: grade (people judge) or another metric that needs none.",
        ) from None


def _notes_of_prompts(heldout: Sequence[Draft]) -> list[str]:
    """What is said of held-out rows without a completion."""
    lacking = sum(not draft.example.references for draft in heldout)
    if not lacking:
        return []
    return [
        f"{lacking:,} of {len(heldout):,} held-out rows have no completion: no loss is measured on them, and "
        "metrics that compare with one are not asked of them"
    ]


def _drop_overlaps(pools: dict[SplitName, list[Draft]], *, whole: bool, notes: list[str]) -> None:
    """Keep a prompt in held-out rather than validation, in validation rather than train, and there once."""
    taken: set[str] = set()
    for split in _PRECEDENCE:
        if split not in pools:
            continue
        kept, dropped, seen = list[Draft](), list[Draft](), set[str]()
        for draft in pools[split]:
            text = compared_text(draft.example, whole=whole)
            twice = split != "train" and text in seen
            (dropped if text in taken or twice else kept).append(draft)
            seen.add(text)
        taken |= seen
        if dropped:
            where = ", ".join(draft.example.origin for draft in dropped[:3])
            more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
            notes.append(f"dropped from {split}, its prompt stands elsewhere too: {where}{more}")
        pools[split] = kept


def _take(
    pool: list[Draft], *, split: SplitName, count: int | None, data: Data, name: str, whole: bool
) -> list[Draft]:
    if count is not None and len(pool) < count:
        raise UserError(
            f"data.{split} asks for more rows than there are",
            got=f"{len(pool):,} rows in {name}",
            expected=f"{count:,}",
            fix=f"Lower data.{split} or add rows.",
        )
    if not pool:
        raise UserError(f"nothing is left for {split}", fix="Every prompt of it stands in another split.")
    return [pool[i] for i in choose([d.key(whole=whole) for d in pool], count=count, seed=data.seed)]


def _cut_missing(pools: dict[SplitName, list[Draft]], *, data: Data, name: str, whole: bool) -> str | None:
    """Cut from train the splits that no source brings. Returns a note about rows left out."""
    pool = pools["train"]
    missing = [split for split in _PRECEDENCE[:2] if split not in pools]
    given = {"validation": data.validation, "heldout": data.heldout}
    counts = {split: given[split] or default_count(len(pool)) for split in missing}
    cut = cut_rows(
        [draft.key(whole=whole) for draft in pool],
        train=data.train,
        validation=counts.get("validation"),
        heldout=counts.get("heldout"),
        seed=data.seed,
        where=name,
    )
    sides: dict[SplitName, tuple[int, ...]] = {
        "train": cut.train,
        "validation": cut.validation,
        "heldout": cut.heldout,
    }
    for split in ("train", *missing):
        pools[split] = [pool[i] for i in sides[split]]
    return f"left out {cut.left_out} rows so that no group is divided" if cut.left_out else None


def _with_ids(pools: Mapping[SplitName, Sequence[Draft]]) -> dict[SplitName, tuple[Example, ...]]:
    """Settle the ids: the row's own where no other row has it, else the split and the row's number."""
    uses = Counter(draft.own_id for pool in pools.values() for draft in pool)
    result: dict[SplitName, tuple[Example, ...]] = {}
    for split, pool in pools.items():
        result[split] = tuple(
            replace(d.example, id=d.own_id if d.own_id and uses[d.own_id] == 1 else f"{split}-{d.place}")
            for d in pool
        )
    ids = Counter(example.id for pool in result.values() for example in pool)
    if len(ids) < sum(ids.values()):  # an own id that looks like one of ours
        result = {
            split: tuple(replace(d.example, id=f"{split}-{d.place}") for d in pool) for split, pool in pools.items()
        }
    return result


def _content(example: Example) -> list[object]:
    turns = [
        (turn.role, turn.content, *([dict(turn.extra)] if turn.extra else [])) for turn in example.messages or ()
    ]
    tools = [example.tools] if example.tools else []
    return [example.id, example.prompt, example.references, dict(example.fields), example.group, turns, *tools]


def examples_hash(examples: Sequence[Example]) -> str:
    """The hash of what these examples hold."""
    return hash_value([_content(example) for example in examples])


def read_splits(loaded: LoadedTrial) -> Splits:
    """The examples of a trial, cut into train, validation and held-out.

    With `overlap: drop`, examples whose prompt stands in two splits are dropped here, before the numbers asked for
    are counted; with `overlap: error` the gate refuses them. Raises UserError with file and line for every fault
    of a row.
    """
    data = loaded.trial.data
    whole = data.text_format is not None
    tables = _read_tables(loaded)
    pools: dict[SplitName, list[Draft]] = {}
    notes: list[str] = []
    mistakes = Mistakes()
    for split, table in tables.items():
        with mistakes.gathering():
            pools[split] = _drafts(table, split=split, trial=loaded.trial, notes=notes)
    mistakes.raise_all()
    notes += _notes_of_prompts(pools.get("heldout", ()))
    if data.overlap == "drop":
        _drop_overlaps(pools, whole=whole, notes=notes)
    counts: Mapping[SplitName, int | None] = {"validation": data.validation, "heldout": data.heldout}
    for split in _PRECEDENCE[:2]:
        if split in pools:
            name = tables[split].name
            with mistakes.gathering():
                pools[split] = _take(
                    pools[split], split=split, count=counts[split], data=data, name=name, whole=whole
                )
    mistakes.raise_all()
    name = tables["train"].name
    if "validation" in pools and "heldout" in pools:
        pools["train"] = _take(pools["train"], split="train", count=data.train, data=data, name=name, whole=whole)
    elif note := _cut_missing(pools, data=data, name=name, whole=whole):
        notes.append(note)
    examples = _with_ids(pools)
    return Splits(
        train=examples["train"],
        validation=examples["validation"],
        heldout=examples["heldout"],
        content_hash=hash_value({s: [_content(e) for e in pool] for s, pool in examples.items()}),
        notes=tuple(notes),
    )
