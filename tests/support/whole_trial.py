"""A small trial as it stands when everything is done: sealed, sampled, graded, unblinded and reported.

Every part can be another: what comes out is then as consistent as a forger with all our tools could make it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from building import CURVES, MEASURED, Answer, build_trial

from finetrial.api.grading import unblind
from finetrial.evidence.trial_findings import trial_findings
from finetrial.judging.events import GradeBook
from finetrial.reporting.write import write_report
from finetrial.store.grade_records import GradeEvent
from finetrial.store.grades import rubric_hash, text_hash
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.lock_record import lock_digest, read_lock_record
from finetrial.store.manifest import Manifest
from finetrial.store.records import Item, ItemPair, Measured, TrainingPoint, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import load_trial
from finetrial.trial.trial_seal import seal_content, write_seal
from finetrial.workflow.score_step import score_trial

ARMS = ("base", "full", "lora")
TRIAL = """\
trial: tickets
model: ./base
data: {source: {train: data/train.jsonl, validation: data/validation.jsonl, heldout: data/heldout.jsonl}}
arms:
  base: {}
  full: {method: full}
  lora: {method: lora, rank: 4, targets: [q, v]}
sampling: {prompts: 5, per_prompt: 3, max_new_tokens: 24, temperature: 0.8}
judging: {primary: rouge1, metrics: [rouge1, rougeL], grade_prompts: 5, criterion: True of the post.}
report: {title: Tickets, authors: [A. Author]}
"""
PROMPTS = {f"p{n}": (f"Post {n}: the {word} is broken again.", [f"the {word} broke"]) for n, word in
           enumerate(("lamp", "door", "pump", "lock", "bell"), start=1)}  # fmt: skip


def plain_answer(arm: str, prompt_id: str, index: int) -> Answer:
    """The base says nothing of use; full is always right, lora twice of three times."""
    word = PROMPTS[prompt_id][1][0].split()[1]
    if arm == "base":
        return Answer(f"it is raining on day {index} of {prompt_id}", "length")
    if arm == "lora" and index == 2:
        return Answer(f"something near the {word} is new")
    return Answer(f"the {word} broke in {arm} way {index}")


def plain_grade(text: str) -> tuple[str, tuple[str, ...], str | None]:
    """What the rater says of a text: the grade, the reasons, a note."""
    if "raining" in text:
        return "bad", ("off_task",), None
    return ("bad", ("false",), "Nothing is new there.") if "new" in text else ("good", (), None)


@dataclass(frozen=True)
class Parts:
    """All that a trial is made of."""

    trial_text: str = TRIAL
    prompts: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=lambda: PROMPTS)
    answer: Callable[[str, str, int], Answer] = plain_answer
    grade: Callable[[str], tuple[str, tuple[str, ...], str | None]] = plain_grade
    rater: str = "Anna"
    measured: Mapping[str, Measured] = field(default_factory=lambda: MEASURED)
    curves: Mapping[str, Sequence[TrainingPoint]] = field(default_factory=lambda: CURVES)
    plan: Mapping[str, object] = field(default_factory=lambda: {"arms": {"full": {"tune_seconds": 200.0}}})
    train: Sequence[str] = ("a post", "another post")
    edit: Callable[[TrialFolder], None] = lambda folder: None  # of the samples, before they are scored


@dataclass(frozen=True)
class Whole:
    """The folder, and the digests that were published on the way."""

    folder: TrialFolder
    seal: str
    lock: str


def _rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _data(root: Path, parts: Parts) -> None:
    train = [{"id": f"t{n}", "prompt": text, "completion": "short"} for n, text in enumerate(parts.train)]
    _rows(root / "data" / "train.jsonl", train)
    _rows(root / "data" / "validation.jsonl", [{"id": "v0", "prompt": "a third post", "completion": "short"}])
    heldout = [{"id": key, "prompt": text, "completion": said[0]} for key, (text, said) in parts.prompts.items()]
    _rows(root / "data" / "heldout.jsonl", heldout)


def _note_steps(folder: TrialFolder) -> None:
    """The manifest as tuning and sampling leave it."""
    manifest, loaded = Manifest(folder.manifest), load_trial(folder.root)
    manifest.describe({"resolved": {arm: {"temperature": 0.8, "max_new_tokens": 24, "auto": []} for arm in ARMS}})
    trial, data = loaded.trial, read_splits(loaded).content_hash
    for arm in ("full", "lora"):
        weights = folder.arm(arm) / ("model.safetensors" if arm == "full" else "adapter_model.safetensors")
        weights.write_bytes(arm.encode() * 100)
        config = folder.arm(arm) / ("config.json" if arm == "full" else "adapter_config.json")
        config.write_text(json.dumps({"r": 4, "target_modules": ["q", "v"], "lora_alpha": 8}), encoding="utf-8")
        (folder.arm(arm) / "tokenizer.json").write_text('{"version": "1.0", "added_tokens": []}', encoding="utf-8")
        inputs = {f"training.{key}": getattr(trial.training, key) for key in ("batch_tokens", "schedule", "seed")}
        inputs |= {f"arms.{arm}.method": arm} | ({"arms.lora.rank": 4} if arm == "lora" else {})
        beside = [config, folder.arm(arm) / "tokenizer.json", folder.metrics(arm)]
        hashed = {key: hash_value(value) for key, value in inputs.items()}
        manifest.finish(f"tune:{arm}", inputs=hashed, outputs=[weights], beside=beside)
    for arm in ARMS:
        sampling = {key: getattr(trial.sampling, key) for key in ("prompts", "per_prompt", "top_p", "seed")}
        inputs = {"the data": data, "the template": trial.data.template, "sampling.temperature": 0.8}
        inputs |= {f"sampling.{key}": value for key, value in sampling.items()}
        measured = [folder.measured(arm)] if folder.measured(arm).exists() else []
        hashed = {key: hash_value(value) for key, value in inputs.items()}
        manifest.finish(f"sample:{arm}", inputs=hashed, outputs=[folder.samples(arm)], beside=measured)


def _event(parts: Parts, number: int, **given: object) -> GradeEvent:
    """One event of the one rater; what a test does not name is plain."""
    row: dict[str, object] = {
        "uid": f"u{number}",
        "kind": "grade",
        "mode": "single",
        "rater": parts.rater,
        "item_id": None,
        "occurrence": 1,
        "value": None,
        "reasons": (),
        "note": None,
        "undoes": None,
        "left": None,
        "position": number,
        "shown_ms": 4_000.0 + number,
        "client_at": f"2026-11-26T10:{number:02}:00.000+00:00",
        "at": f"2026-11-26T10:{number:02}:01.000+00:00",
        "text_hash": "",
        "rubric_hash": rubric_hash("True of the post."),
        "version": "0.1.0",
        "source": "page",
        "rater_kind": "person",
    }
    return GradeEvent(**(row | given))  # type: ignore[arg-type]


def _grade(folder: TrialFolder, parts: Parts) -> None:
    """Every text graded once; one grade taken back and given again, one text compared, one arm guessed."""
    criterion = load_trial(folder.root).trial.judging.criterion
    rubric = rubric_hash(criterion)
    items, pairs = list(read_rows(folder.items, Item)), list(read_rows(folder.pairs, ItemPair))
    book = GradeBook(folder.grades)
    book.join(parts.rater)
    book.declare(parts.rater, "person")
    number, events = 0, []

    def note(**given: object) -> GradeEvent:
        nonlocal number
        number += 1
        event = dataclasses.replace(_event(parts, number), rubric_hash=rubric, **given)
        events.append(event)
        return event

    for item in items:
        value, reasons, text = parts.grade(item.text)
        given = {"item_id": item.item_id, "text_hash": text_hash(item.text)}
        note(value=value, reasons=reasons, **given)
        if text is not None:
            note(kind="note", note=text, **given)
    first = {"item_id": items[0].item_id, "text_hash": text_hash(items[0].text)}
    slip = note(value="unsure", **first)
    note(kind="undo", undoes=slip.uid, **first)
    note(kind="guess", value="lora", **first)
    note(mode="pairs", item_id=pairs[0].pair_id, value="first", left="second", text_hash="")
    book.append_all(events)
    book.close()


def build_whole(root: Path, parts: Parts | None = None) -> Whole:
    """Make the trial, step by step, and publish its digests."""
    parts = parts or Parts()
    _data(root, parts)
    folder = build_trial(
        root,
        prompts=parts.prompts,
        answer=parts.answer,
        trial_text=parts.trial_text,
        measured=parts.measured,
        curves=parts.curves,
        plan=parts.plan,
    )
    folder.scores.unlink()
    folder.data.write_text(json.dumps({"text": {"rows": {"train": len(parts.train), "heldout": 5}}}))
    seal = write_seal(folder, seal_content(load_trial(root)))
    parts.edit(folder)
    _note_steps(folder)
    loaded = load_trial(root)
    splits = read_splits(loaded)
    score_trial(
        folder,
        loaded.trial,
        manifest=Manifest(folder.manifest),
        base=loaded.base,
        training=lambda: splits.train,
        heldout=lambda: splits.heldout,
    )
    _grade(folder, parts)
    unblind(folder)
    record = read_lock_record(folder)
    assert record is not None
    write_report(folder, findings=trial_findings(folder))
    return Whole(folder, seal, lock_digest(record))


def files_of(folder: TrialFolder) -> dict[str, str]:
    """Every file by its name and hash; what SQLite keeps beside a database for its readers is left out."""
    paths = (p for p in folder.root.rglob("*") if p.is_file() and not p.name.endswith(("-shm", "-wal")))
    return {p.relative_to(folder.root).as_posix(): hash_file(p) for p in sorted(paths)}
