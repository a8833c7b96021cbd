"""Check the samples against one another and, where they are at hand, against the data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import FinetrialError
from finetrial.reporting.describe import at_path
from finetrial.reporting.verify.step_records import is_outputs_only
from finetrial.reporting.verify.tally import Tally
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.records import Sample
from finetrial.trial.data import read_splits
from finetrial.trial.examples import Splits
from finetrial.trial.schema import Source, is_local
from finetrial.trial.subset import sampled_examples
from finetrial.trial.trial_file import LoadedTrial


def check_samples(samples: Mapping[str, Sequence[Sample]], *, tally: Tally) -> None:
    """Check that every sample is where its id says, and that all arms were asked the same. `samples`: by file."""
    asked: dict[str, dict[tuple[str | None, tuple[str, ...], str | None], str]] = defaultdict(dict)
    for arm, rows in samples.items():
        seen: Counter[str] = Counter(sample.id for sample in rows)
        for sample in rows:
            where = f"samples/{arm}.jsonl: {sample.id}"
            said = f"{run_name(arm, run=sample.run or 0)}/{sample.prompt_id}/{sample.index}"
            if sample.arm != arm or sample.id != said:
                tally.differs(f"{where}, its id", f"{sample.id} of the arm {sample.arm}", said)
            elif seen[sample.id] > 1:
                tally.differs(f"{where}, its rows", seen[sample.id], 1)
            else:
                tally.agreed["samples"] += 1
            asked[sample.prompt_id].setdefault((sample.source, sample.references, sample.group), sample.id)
    for prompt_id, ways in asked.items():
        if len(ways) > 1:
            first, *others = ways.items()
            for way, sample_id in others:
                names = ("prompt", "references", "group")
                part = next(name for name, a, b in zip(names, way, first[0], strict=True) if a != b)
                tally.differs(f"the {part} of {prompt_id}, in {sample_id} and {first[1]}", way, first[0])


def read_local_data(loaded: LoadedTrial, *, tally: Tally) -> Splits | None:
    """The data, where they are files that are here; None, said with the reason, where not."""
    if is_outputs_only(loaded.trial):
        return None
    source = loaded.trial.data.source
    names = (source.train, source.validation, source.heldout) if isinstance(source, Source) else (source,)
    for name in filter(None, names):
        path = loaded.path(name.split("[", 1)[0])
        if not is_local(name, base=loaded.base) or not path.exists():
            tally.not_looked_at(f"the data: {Path(name).name} is not here")
            return None
    try:
        return read_splits(loaded)
    except FinetrialError as error:
        tally.not_looked_at(f"the data, which cannot be read: {error.what}")
        return None


def check_data(
    splits: Splits,
    samples: Mapping[str, Sequence[Sample]],
    *,
    loaded: LoadedTrial,
    manifest: Mapping[str, Any],
    tally: Tally,
) -> None:
    """Compare the data with the hash that sampling noted, and the samples' prompts and references with the data."""
    now = hash_value(splits.content_hash)
    for arm in samples:
        noted = at_path(manifest, "steps", f"sample:{arm}", "inputs", "the data")
        if noted is not None and not tally.compare(f"the data, as sample:{arm} read them", noted, now, kind="data"):
            return  # what follows would be said of every row
    expected = {example.id: example for example in sampled_examples(splits.heldout, sampling=loaded.trial.sampling)}
    for arm, rows in samples.items():
        for sample in {sample.prompt_id: sample for sample in rows}.values():
            example = expected.get(sample.prompt_id)
            if example is None:
                tally.differs(f"samples/{arm}.jsonl: {sample.prompt_id}", "a prompt", "none that is sampled")
            elif (sample.source, sample.references) != (example.prompt, example.references):
                said, own = (sample.source, sample.references), (example.prompt, example.references)
                tally.differs(f"samples/{arm}.jsonl: prompt and references of {sample.prompt_id}", said, own)


def read_all_samples(folder: TrialFolder, samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The samples by the file that holds them."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.arm].append(sample)
    return dict(found)
