"""Read the rows of a data set of the Hugging Face hub.

Read through the `datasets` package, which keeps a cache and honours HF_HUB_OFFLINE. A slice with a fixed beginning
and end is streamed: nothing behind its last row is fetched, so that a data set may be larger than the disk.
"""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import Any

from finetrial.errors import MissingPackage, UserError, unknown_name
from finetrial.store.hub_reach import check_hub
from finetrial.trial.rows import Row, Table, make_table


def _datasets(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingPackage("datasets", extra="tune", purpose=f"reading {name} from the hub") from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the error says it once
    return datasets


def _offline() -> bool:
    return any(os.environ.get(v, "").upper() in ("1", "TRUE", "ON", "YES") for v in _OFFLINE_VARIABLES)


_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def _load(name: str, *, configuration: str | None, revision: str | None, streaming: bool = False) -> Any:
    check_hub(name, kind="dataset")
    datasets = _datasets(name)
    try:
        return datasets.load_dataset(name, configuration, revision=revision, streaming=streaming)
    except Exception as error:  # the package raises a dozen kinds for what is one fault to the user
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> UserError:
    if _offline():
        fix = "HF_HUB_OFFLINE is set and the data set is not in the cache: unset it, or name a local file."
    else:
        fix = "Check the name, the network and your access rights, or name a local file."
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"the data set {name!r} cannot be read from the hub", got=reason[:300], fix=fix)


def _table(dataset: Any, *, name: str) -> Table:
    rows = [Row(f"{name} row {number}", number, values) for number, values in enumerate(dataset, start=1)]
    if not rows:
        raise UserError(f"{name} is empty", got="no rows")
    return make_table(name, rows, columns=dataset.column_names)


def read_hub(name: str, *, configuration: str | None, revision: str | None) -> dict[str, Table]:
    """Every split of a hub data set, under the data set's own names."""
    loaded = _load(name, configuration=configuration, revision=revision)
    return {split: _table(loaded[split], name=f"{name}:{split}") for split in loaded}


def read_hub_slice(
    name: str, *, configuration: str | None, split: str, revision: str | None, start: int, end: int
) -> Table:
    """Rows `start` to `end` of one split, from zero, the end left out. Offline they come from the cache."""
    streaming = not _offline() or Path(name).exists()
    loaded = _load(name, configuration=configuration, revision=revision, streaming=streaming)
    if split not in loaded:
        raise unknown_name(f"split of {name}", split, list(loaded))
    dataset, where = loaded[split], f"{name}:{split}"
    try:  # a stream is fetched as it is read
        if streaming:
            values = list(itertools.islice(dataset, start, end))  # `take` reads on beyond its last row
        else:
            values = list(dataset.select(range(min(start, len(dataset)), min(end, len(dataset)))))
    except Exception as error:
        raise _unreadable(name, error) from None
    if not values:
        raise UserError(f"the slice [{start}:{end}] of {where} is empty", expected="[from:to] within its rows")
    rows = [Row(f"{where} row {number}", number, row) for number, row in enumerate(values, start=start + 1)]
    return make_table(where, rows, columns=dataset.column_names)


def read_hub_split(name: str, *, configuration: str | None, split: str, revision: str | None) -> Table:
    """One split of a hub data set."""
    loaded = _load(name, configuration=configuration, revision=revision)
    if split not in loaded:
        raise unknown_name(f"split of {name}", split, list(loaded))
    return _table(loaded[split], name=f"{name}:{split}")
