"""`python -m benchmarks.families`: walk every causal-LM class of transformers, and write docs/results/families.md.

Names of model types walk these alone, and write nothing unless --out says where.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import torch
import transformers

from benchmarks.families.page import page
from benchmarks.families.small_configs import model_types
from benchmarks.families.walk import ClassWalk, walk_class

_OUT = Path("docs/results/families.md")


def main() -> None:
    """Walk the classes and write the table, with the rows as JSON beside it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families")
    parser.add_argument("types", nargs="*", help="model types, such as llama; all unless some are named")
    parser.add_argument("--out", type=Path, help=f"the page; {_OUT} where no type is named")
    parser.add_argument("--rows", type=Path, nargs="+", help="rows that were walked already, one JSON a line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    rows = [] if given.rows is None else _read(given.rows)
    if given.rows is None:
        for model_type in given.types or model_types():
            with tempfile.TemporaryDirectory() as folder:
                row = walk_class(model_type, Path(folder))
            print(f"{row.model_type}: {row.verdict}{f', {row.reason}' if row.reason else ''}", flush=True)
            rows.append(row)
    out = given.out or (None if given.types else _OUT)
    if out is None:
        return
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    seconds = sum(row.seconds for row in rows) if given.rows else time.perf_counter() - began
    out.write_text(page(rows, versions=versions, seconds=seconds), encoding="utf-8")
    found = {"versions": versions, "rows": [dataclasses.asdict(row) for row in rows]}
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _read(files: list[Path]) -> list[ClassWalk]:
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted((ClassWalk(**json.loads(line)) for line in lines), key=lambda row: row.model_type)


if __name__ == "__main__":
    main()
