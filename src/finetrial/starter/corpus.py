"""Write the texts that the starter learns from and is tested on.

`python -m finetrial.starter.corpus --show 30` prints posts to read, with `--verse` verse; `--out FOLDER` writes the
corpus. All of it is written by this program and by nobody else. The same seed and sizes give the same bytes on any
machine and Python: the one source of chance is `random.Random.random()`.

The pretraining text has posts without a summary and verse without a marker, so the base has met neither. Held-out
and validation rows tell pairings (`plots`) and schemes (`verse`) that no training text has, for the most part in
sentences that none has (`wordings`). No prompt stands in two splits, and no held-out line of verse in training.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from random import Random
from typing import Literal

from finetrial.starter.material import load_material
from finetrial.starter.plots import SPLITS, Plot, plots_of, split_pairings
from finetrial.starter.posts import Post, PostWriter
from finetrial.starter.verse import Prosody, Scheme, load_prosody, schemes, write_passage
from finetrial.starter.wording import pick
from finetrial.store.files import atomic_path, atomic_text

END_OF_TEXT = "<|endoftext|>"
EDITED_SHARE = 0.35  # of the pretraining posts; a row of the task has no later edits
HEADED_SHARE = 0.85  # of the pretraining posts show their subreddit and title


@dataclass(frozen=True)
class CorpusSizes:
    """How much of each. `verse_share` is of the pretraining text's bytes."""

    pretraining_bytes: int = 30_000_000
    verse_share: float = 0.15
    tldr_train: int = 2000
    tldr_validation: int = 200
    tldr_heldout: int = 200
    verse_train: int = 1000
    verse_validation: int = 100
    verse_heldout: int = 100


@dataclass(frozen=True)
class TldrRow:
    """A row of the task `tldr`: `prompt` ends in "TL;DR:", `completion` is one sentence."""

    id: str
    subreddit: str
    title: str
    post: str
    prompt: str
    completion: str


@dataclass(frozen=True)
class VerseRow:
    """A row of the task `verse`: `prompt` is one line, `completion` the four that follow."""

    id: str
    prompt: str
    completion: str


@dataclass(frozen=True)
class CorpusFiles:
    """What was written: `pretraining` is text, `tldr` and `verse` a JSON Lines file for each split."""

    pretraining: Path
    pretraining_bytes: int
    pretraining_documents: int
    tldr: dict[str, Path]
    verse: dict[str, Path]


class CorpusWriter:
    """Every text of the starter. Each kind has its own stream of chance: one's size does not disturb another."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self.material = load_material()
        self.prosody: Prosody = load_prosody()
        self.posts = PostWriter(self.material)
        pairings = split_pairings(self.material)
        self.plots: dict[str, tuple[Plot, ...]] = {
            split: plots_of(self.material, pairings[split]) for split in SPLITS
        }
        self.schemes: dict[str, tuple[Scheme, ...]] = schemes(self.prosody)

    def tldr_rows(self, split: str, *, count: int) -> list[TldrRow]:
        """`count` rows whose prompts differ."""
        rng = self._stream(1 + SPLITS.index(split))
        rows: dict[str, TldrRow] = {}
        while len(rows) < count:
            post = self.posts.write(pick(rng, self.plots[split]), rng=rng, split=split)
            if post.prompt() not in rows:
                rows[post.prompt()] = _tldr_row(post, split=split, index=len(rows))
        return list(rows.values())

    def verse_rows(self, split: str, *, count: int, avoid: frozenset[str] = frozenset()) -> list[VerseRow]:
        """`count` rows whose prompts differ, none of whose lines is in `avoid`."""
        rng = self._stream(4 + SPLITS.index(split))
        rows: dict[str, VerseRow] = {}
        while len(rows) < count:
            prompt, *rest = write_passage(self.prosody, pick(rng, self.schemes[split]), rng=rng, split=split)
            if prompt not in rows and avoid.isdisjoint((prompt, *rest)):
                rows[prompt] = VerseRow(id=f"verse-{split}-{len(rows)}", prompt=prompt, completion="\n".join(rest))
        return list(rows.values())

    def pretraining_documents(self, *, sizes: CorpusSizes, avoid: frozenset[str]) -> Iterator[str]:
        """Documents until `sizes.pretraining_bytes` are reached; no line of verse is one of `avoid`."""
        rng = self._stream(0)
        total_bytes = verse_bytes = 0
        while total_bytes < sizes.pretraining_bytes:
            if verse_bytes < sizes.verse_share * total_bytes:
                document = self._verse_document(rng, avoid=avoid)
                verse_bytes += len(document.encode())
            else:
                post = self.posts.write(
                    pick(rng, self.plots["train"]), rng=rng, split="train", edited=rng.random() < EDITED_SHARE
                )
                document = post.document() if rng.random() < HEADED_SHARE else post.text
            total_bytes += len(document.encode()) + len(END_OF_TEXT) + 1
            yield document

    def _verse_document(self, rng: Random, *, avoid: frozenset[str]) -> str:
        passages = []
        for _ in range(1 + int(rng.random() * 4)):
            lines = write_passage(self.prosody, pick(rng, self.schemes["train"]), rng=rng, split="train")
            while not avoid.isdisjoint(lines):
                lines = write_passage(self.prosody, pick(rng, self.schemes["train"]), rng=rng, split="train")
            passages.append("\n".join(lines))
        return "\n".join(passages)

    def _stream(self, number: int) -> Random:
        return Random(self.seed * 1000 + number)


def write_corpus(folder: Path, *, sizes: CorpusSizes, seed: int) -> CorpusFiles:
    """Write the whole corpus into `folder`: pretraining.txt, tldr_<split>.jsonl, verse_<split>.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = CorpusWriter(seed=seed)
    counts = {"train": sizes.verse_train, "validation": sizes.verse_validation, "heldout": sizes.verse_heldout}
    verse = {split: writer.verse_rows(split, count=counts[split]) for split in ("validation", "heldout")}
    avoid = frozenset(row.prompt for rows in verse.values() for row in rows)
    verse["train"] = writer.verse_rows("train", count=counts["train"], avoid=avoid)
    tldr_counts = {"train": sizes.tldr_train, "validation": sizes.tldr_validation, "heldout": sizes.tldr_heldout}

    pretraining = folder / "pretraining.txt"
    documents = 0
    with atomic_path(pretraining) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for document in writer.pretraining_documents(sizes=sizes, avoid=avoid):
            out.write(document + "\n" + END_OF_TEXT)
            documents += 1
    return CorpusFiles(
        pretraining=pretraining,
        pretraining_bytes=pretraining.stat().st_size,
        pretraining_documents=documents,
        tldr={
            split: _write_rows(folder / f"tldr_{split}.jsonl", writer.tldr_rows(split, count=tldr_counts[split]))
            for split in SPLITS
        },
        verse={split: _write_rows(folder / f"verse_{split}.jsonl", verse[split]) for split in SPLITS},
    )


def _tldr_row(post: Post, *, split: str, index: int) -> TldrRow:
    return TldrRow(
        id=f"tldr-{split}-{index}",
        subreddit=post.subreddit,
        title=post.title,
        post=post.text,
        prompt=post.prompt(),
        completion=post.summary,
    )


def _write_rows(path: Path, rows: list[TldrRow] | list[VerseRow]) -> Path:
    atomic_text(path, "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows))
    return path


def _show(count: int, *, verse: bool, split: str, seed: int) -> None:
    writer = CorpusWriter(seed=seed)
    if verse:
        for verse_row in writer.verse_rows(split, count=count):
            print(f"{verse_row.prompt}\n{verse_row.completion}\n")
        return
    for row in writer.tldr_rows(split, count=count):
        for line in f"{row.prompt} {row.completion}".split("\n"):
            print(textwrap.fill(line, width=80))
        print()


def main(arguments: list[str] | None = None) -> None:
    """The command `python -m finetrial.starter.corpus`."""
    parser = argparse.ArgumentParser(prog="python -m finetrial.starter.corpus", description=__doc__.split("\n")[0])
    parser.add_argument("--show", type=int, metavar="N", help="print N posts with their summaries")
    parser.add_argument("--verse", action="store_true", help="with --show: passages of verse instead of posts")
    parser.add_argument("--split", choices=SPLITS, default="train", help="with --show: which split (default train)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the corpus")
    parser.add_argument("--megabytes", type=float, default=30.0, help="with --out: pretraining text (default 30)")
    chosen = parser.parse_args(arguments)
    if chosen.show is None and chosen.out is None:
        parser.error("say what to do: --show N to read samples, or --out FOLDER to write the corpus")
    if chosen.show is not None:
        _show(chosen.show, verse=chosen.verse, split=chosen.split, seed=chosen.seed)
    if chosen.out is not None:
        sizes = CorpusSizes(pretraining_bytes=int(chosen.megabytes * 1e6))
        files = write_corpus(chosen.out, sizes=sizes, seed=chosen.seed)
        print(f"{files.pretraining}: {files.pretraining_documents} documents, {files.pretraining_bytes} bytes")


if __name__ == "__main__":
    main()


Task = Literal["tldr", "verse"]
# What is written for each split; the demo's seed is the seed of the starter's own corpus, so that its held-out rows
# are those the base never read.
ROWS = {"train": 3000, "validation": 100, "heldout": 60}
SEED = 0


def _rows(writer: CorpusWriter, task: Task, split: str, *, avoid: frozenset[str]) -> Sequence[TldrRow | VerseRow]:
    if task == "tldr":
        return writer.tldr_rows(split, count=ROWS[split])
    return writer.verse_rows(split, count=ROWS[split], avoid=avoid)


def write_demo(folder: Path, *, task: Task) -> Path:
    """Write the demo's rows and trial file into `folder` and return the trial file. The same bytes every time."""
    writer = CorpusWriter(seed=SEED)
    avoid: frozenset[str] = frozenset()
    for split in ("heldout", "validation", "train"):
        rows = _rows(writer, task, split, avoid=avoid)
        avoid |= frozenset(row.prompt for row in rows)
        lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        atomic_text(folder / f"{task}_{split}.jsonl", "".join(lines))
    trial = resources.files("finetrial.starter") / "trials" / f"{task}.yaml"
    path = folder / f"{task}.yaml"
    atomic_text(path, trial.read_text(encoding="utf-8"))
    return path
