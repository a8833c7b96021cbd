"""Read the rows of a data set of the Hugging Face hub.

Read through the `datasets` package, which keeps a cache and honours HF_HUB_OFFLINE.
"""

from __future__ import annotations

import logging
import os
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


def _load(name: str, *, configuration: str | None, revision: str | None) -> Any:
    check_hub(name, kind="dataset")
    datasets = _datasets(name)
    try:
        return datasets.load_dataset(name, configuration, revision=revision)
    except Exception as error:  # the package raises a dozen kinds for what is one fault to the user
        if _offline():
            fix = "HF_HUB_OFFLINE is set and the data set is not in the cache: unset it, or name a local file."
        else:
            fix = "Check the name, the network and your access rights, or name a local file."
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the data set {name!r} cannot be read from the hub", got=reason[:300], fix=fix) from None


def _table(dataset: Any, *, name: str) -> Table:
    rows = [Row(f"{name} row {number}", number, values) for number, values in enumerate(dataset, start=1)]
    if not rows:
        raise UserError(f"{name} is empty", got="no rows")
    return make_table(name, rows, columns=dataset.column_names)


def read_hub(name: str, *, configuration: str | None, revision: str | None) -> dict[str, Table]:
    """Every split of a hub data set, under the data set's own names."""
    loaded = _load(name, configuration=configuration, revision=revision)
    return {split: _table(loaded[split], name=f"{name}:{split}") for split in loaded}


def read_hub_split(name: str, *, configuration: str | None, split: str, revision: str | None) -> Table:
    """One split of a hub data set."""
    loaded = _load(name, configuration=configuration, revision=revision)
    if split not in loaded:
        raise unknown_name(f"split of {name}", split, list(loaded))
    return _table(loaded[split], name=f"{name}:{split}")
