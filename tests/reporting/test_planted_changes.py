"""Four hundred planted changes are found, whole re-forgeries by the digests, and changes that are none are passed.

The changes are generated over a table: every field of every kind of record, rows taken out, doubled and moved,
every column of the grades, every page and figure, and every file removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from building import CURVES, MEASURED, Answer
from whole_trial import PROMPTS, TRIAL, Parts, Whole, build_whole, files_of, plain_answer, plain_grade

from finetrial.errors import FinetrialError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.verification import Verification, verify
from finetrial.reporting.write import write_report
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder

Change = Callable[[TrialFolder], None]

# What the manifest says of a run alone, and no number depends on: the lines that a later run notes anew.
PROVENANCE = ("command", "versions", "device", "records", "begun")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return build_whole(tmp_path_factory.mktemp("whole") / "t")


def held(whole: Whole) -> Verification:
    return verify(whole.folder, seal=whole.seal, lock=whole.lock)


def other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case None:
            return "x"
        case list():
            return [*value[:-1], other(value[-1])] if value else ["x"]
        case dict():
            return {key: other(item) for key, item in value.items()} if value else {"x": 1}
    raise AssertionError(value)


def leaf_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaf_paths(item, (*path, key))
    else:
        yield path


def set_at(content: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


def get_at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def in_json(name: str, path: tuple[Any, ...]) -> Change:
    def change(folder: TrialFolder) -> None:
        file = folder.root / name
        content = json.loads(file.read_text(encoding="utf-8"))
        set_at(content, path, other(get_at(content, path)))
        file.write_text(json.dumps(content), encoding="utf-8")

    return change


def in_row(name: str, number: int, key: str) -> Change:
    def change(folder: TrialFolder) -> None:
        file = folder.root / name
        rows = file.read_text(encoding="utf-8").splitlines()
        row = json.loads(rows[number])
        rows[number] = json.dumps({**row, key: other(row[key])})
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")

    return change


def of_rows(name: str, edit: Callable[[list[str]], list[str]]) -> Change:
    def change(folder: TrialFolder) -> None:
        file = folder.root / name
        file.write_text("\n".join(edit(file.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")

    return change


def in_database(statement: str) -> Change:
    """A statement on the grades, past the triggers that would refuse it."""

    def change(folder: TrialFolder) -> None:
        connection = sqlite3.connect(folder.grades)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount != 0, statement
        connection.commit()
        connection.close()

    return change


def in_text(name: str, old: str, new: str) -> Change:
    def change(folder: TrialFolder) -> None:
        file = folder.root / name
        text = file.read_text(encoding="utf-8")
        assert old in text, (name, old)
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def without(name: str) -> Change:
    return lambda folder: (folder.root / name).unlink()


def added(name: str, text: str) -> Change:
    return lambda folder: (folder.root / name).write_text(text, encoding="utf-8")


def in_png(name: str) -> Change:
    """Another picture of the same size."""

    def change(folder: TrialFolder) -> None:
        from matplotlib import image

        file = folder.root / name
        pixels = image.imread(file).copy()
        pixels[40:60, 40:60, :3] = (1.0, 0.0, 0.0)
        image.imsave(file, pixels)

    return change


ROWS = {
    "samples/base.jsonl": 0,
    "samples/lora.jsonl": 4,
    "scores.jsonl": 3,
    "items.jsonl": 1,
    "pairs.jsonl": 0,
    "diagnostics.jsonl": 0,
    "arms/full/metrics.jsonl": 5,
    "data/train.jsonl": 0,
    "data/heldout.jsonl": 2,
}
OBJECTS = ("arms/full/measured.json", "arms/lora/adapter_config.json", "arms/full/tokenizer.json", "plan.json",
           "judging.json", "seal.json", "lock.json", "data.json")  # fmt: skip
PAGES = ("report/index.html", "report/report.md", "report/tables.tex", "report/report.tex")


def row_changes(folder: TrialFolder) -> Iterator[tuple[str, Change]]:
    for name, number in ROWS.items():
        rows = (folder.root / name).read_text(encoding="utf-8").splitlines()
        for key in json.loads(rows[number]):
            if not (name.startswith("data/") and key == "id"):  # an id of a training row names nothing
                yield f"{name}: {key}", in_row(name, number, key)
        yield f"{name}: last row taken out", of_rows(name, lambda rows: rows[:-1])
        yield f"{name}: a row twice", of_rows(name, lambda rows: [*rows, rows[0]])
        if len(rows) > 1:
            yield f"{name}: two rows exchanged", of_rows(name, lambda rows: [rows[1], rows[0], *rows[2:]])


def object_changes(folder: TrialFolder) -> Iterator[tuple[str, Change]]:
    for name in OBJECTS:
        content = json.loads((folder.root / name).read_text(encoding="utf-8"))
        for path in leaf_paths(content):
            if path != ("version",):
                yield f"{name}: {'.'.join(map(str, path))}", in_json(name, path)
    manifest = json.loads(folder.manifest.read_text(encoding="utf-8"))
    for path in leaf_paths({key: value for key, value in manifest.items() if key not in PROVENANCE}):
        if path[0] != "steps" or path[1] in ("sample:lora", "tune:lora", "score"):
            yield f"manifest.json: {'.'.join(map(str, path))}", in_json("manifest.json", path)
    for step in manifest["steps"]:
        yield f"manifest.json: the step {step}", lambda folder, step=step: _drop_step(folder, step)
    key = json.loads(folder.key.read_text(encoding="utf-8"))
    one, two = list(key["items"])[:2]
    yield "key.json: arms exchanged", lambda folder: _exchange(folder, one, two)
    yield "key.json: an item taken out", lambda folder: _drop_item(folder, one)


def _drop_step(folder: TrialFolder, step: str) -> None:
    content = json.loads(folder.manifest.read_text(encoding="utf-8"))
    del content["steps"][step]
    folder.manifest.write_text(json.dumps(content), encoding="utf-8")


def _edit_key(folder: TrialFolder, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(folder.key.read_text(encoding="utf-8"))
    edit(content["items"])
    folder.key.write_text(json.dumps(content), encoding="utf-8")


def _exchange(folder: TrialFolder, one: str, two: str) -> None:
    def edit(items: dict[str, Any]) -> None:
        items[one], items[two] = items[two], items[one]

    _edit_key(folder, edit)


def _drop_item(folder: TrialFolder, one: str) -> None:
    _edit_key(folder, lambda items: items.pop(one))


TEXT_COLUMNS = ("rater", "item_id", "value", "reasons", "note", "undoes", "uid", "client_at", "at", "text_hash",
                "rubric_hash", "version", "source", "label")  # fmt: skip


def grade_changes(folder: TrialFolder) -> Iterator[tuple[str, Change]]:
    new = {"value": "'bad'", "reasons": "'[\"copied\"]'", "at": "'2027-01-01T00:00:00.000+00:00'"}
    for column in TEXT_COLUMNS:
        value = new.get(column, "'x'")
        where = "seq = (SELECT min(seq) FROM events WHERE value = 'good')"
        yield f"grades: {column}", in_database(f"UPDATE events SET {column} = {value} WHERE {where}")
    for column, value in (("occurrence", 2), ("position", 99), ("shown_ms", 1), ("rater_kind", "'stand-in'")):
        yield f"grades: {column}", in_database(f"UPDATE events SET {column} = {value} WHERE seq = 2")
    yield "grades: kind", in_database("UPDATE events SET kind = 'note' WHERE seq = 2")
    yield "grades: mode", in_database("UPDATE events SET mode = 'pairs' WHERE seq = 2")
    yield "grades: side", in_database("UPDATE events SET side = 'first' WHERE mode = 'pairs'")
    yield "grades: the choice of a pair", in_database("UPDATE events SET value = 'second' WHERE mode = 'pairs'")
    yield "grades: a guess", in_database("UPDATE events SET value = 'full' WHERE kind = 'guess'")
    yield "grades: a note of another", in_database("UPDATE events SET note = 'Fine.' WHERE kind = 'note'")
    yield "grades: an event taken out", in_database("DELETE FROM events WHERE seq = 3")
    yield (
        "grades: the last event taken out",
        in_database("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)"),
    )
    yield "grades: an undo taken out", in_database("DELETE FROM events WHERE kind = 'undo'")
    yield "grades: an event moved", in_database("UPDATE events SET seq = 900 WHERE seq = 4")
    yield (
        "grades: the time of the lock",
        in_database("UPDATE log SET at = '2026-01-01T00:00:00' WHERE kind = 'lock'"),
    )
    yield (
        "grades: a second lock",
        in_database("INSERT INTO log (at, kind, detail, after_seq) VALUES ('2027-01-01', 'lock', '', 1)"),
    )
    yield (
        "grades: an early opening",
        in_database("INSERT INTO log (at, kind, detail, after_seq) VALUES ('2026-01-01', 'open', '', 1)"),
    )
    connection = sqlite3.connect(folder.grades)
    settings = json.loads(connection.execute("SELECT content FROM settings").fetchone()[0])
    connection.close()
    for key, value in settings.items():
        if key != "scale":
            changed = json.dumps({**settings, key: other(value)}).replace("'", "''")
            yield f"settings: {key}", in_database(f"UPDATE settings SET content = '{changed}'")


def trial_changes() -> Iterator[tuple[str, Change]]:
    for old, new in (
        ("temperature: 0.8", "temperature: 0.7"),
        ("rank: 4", "rank: 8"),
        ("prompts: 5", "prompts: 4"),
        ("grade_prompts: 5", "grade_prompts: 4"),
        ("primary: rouge1", "primary: rougeL"),
        ("metrics: [rouge1, rougeL]", "metrics: [rouge1]"),
        ("criterion: True of the post.", "criterion: Long."),
        ("title: Tickets", "title: The best"),
        ("A. Author", "B. Author"),
        ("method: full", "method: full, epochs: 3"),
        ("trial: tickets", "trial: others"),
        ("base: {}", "base: {template: 'Short: {prompt}'}"),
    ):
        yield f"trial.yaml: {new}", in_text("trial.yaml", old, new)


EVIL = (
    '<foreignObject width="400" height="40"><p xmlns="http://www.w3.org/1999/xhtml">lora wins</p></foreignObject>'
)


def report_changes(folder: TrialFolder) -> Iterator[tuple[str, Change]]:
    results = json.loads((folder.report / "results.json").read_text(encoding="utf-8"))
    for key, value in results.items():
        if key not in ("version", "finetrial", "figures", "recompute", "grading", "hashes") and value is not None:
            yield f"results.json: {key}", in_json("report/results.json", (key,))
    for key in results["hashes"]:
        yield f"results.json: the hash of {key}", in_json("report/results.json", ("hashes", key))
    yield (
        "results.json: a key twice",
        in_text("report/results.json", '"answer"', '"answer": "lora wins.", "answer"'),
    )
    yield "results.json: a verdict more", in_text("report/results.json", '"answer"', '"new": "lora wins", "answer"')
    command = "finetrial run tickets.yaml"
    for name in (*PAGES[:2], "report/report.tex"):
        yield f"{name}: the command alone", in_text(name, command, "finetrial run tickets.yaml. lora wins.")
    yield "results.json: the command alone", in_text("report/results.json", command, "anything")
    for name in PAGES:
        text = (folder.root / name).read_text(encoding="utf-8")
        for place in ("Tickets", "lora", "full"):
            assert place in text
            yield f"{name}: {place}", in_text(name, place, f"{place} is best")
        yield f"{name}: the last line", of_rows(name, lambda rows: rows[:-2])
        yield f"{name}: a line more", of_rows(name, lambda rows: [*rows, "lora is better."])
    for figure in ("losses", "scores"):
        file = f"report/figures/{figure}.svg"
        yield f"{file}: an embedded page", in_text(file, "</svg>", EVIL + "</svg>")
        yield f"{file}: a script", in_text(file, "</svg>", "<script>alert(1)</script></svg>")
        yield f"{file}: a link", in_text(file, "</svg>", '<a href="https://example.org"><text>x</text></a></svg>')
        yield f"{file}: a word", in_text(file, ">lora", ">lora, the best")
        yield f"{file}: an instruction", in_text(file, "<svg", '<?xml-stylesheet href="x.css"?><svg')
        yield f"{file}: a style", in_text(file, "</style>", "text{display:none}</style>")
        yield f"{figure}.png: a patch", in_png(f"report/figures/{figure}.png")
        yield f"{figure}.png: no picture", added(f"report/figures/{figure}.png", "x")
    yield "index.html: a page in a figure", in_text("report/index.html", "</svg>", EVIL + "</svg>")
    yield "index.html: a figure more", in_text("report/index.html", "<figcaption", "<svg ></svg><figcaption")
    yield "index.html: a mark moved", in_text("report/index.html", '<use x="', '<use x="1')
    yield "a page more", added("report/verdict.html", "<p>lora wins</p>")
    yield "a figure more", added("report/figures/verdict.svg", "<svg/>")


def missing_files(folder: TrialFolder) -> Iterator[tuple[str, Change]]:
    gone = ("scores.jsonl", "diagnostics.jsonl", "judging.json", "key.json", "items.jsonl", "pairs.jsonl",
            "manifest.json", "lock.json", "plan.json", "arms/full/measured.json",
            "arms/lora/metrics.jsonl", "samples/full.jsonl", "report/index.html", "report/report.md",
            "report/figures/losses.svg", "report/figures/scores.png")  # fmt: skip
    for name in gone:
        yield f"{name} removed", without(name)


def every_change(folder: TrialFolder) -> list[tuple[str, Change]]:
    tables = (row_changes, object_changes, grade_changes, report_changes, missing_files)
    return [change for table in tables for change in table(folder)] + list(trial_changes())


def is_found(copy: Path, origin: TrialFolder, change: Change) -> bool:
    """Whether the change, made on a copy, is found: by a difference, or because nothing can be read any more."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(origin.root, copy)
    folder = TrialFolder(copy)
    before = files_of(folder)
    change(folder)
    assert files_of(folder) != before, "nothing was changed"
    try:
        return not verify(folder).holds
    except FinetrialError:
        return True


def test_an_honest_trial_is_consistent_and_its_digests_vouch_for_it(honest):
    before = files_of(honest.folder)
    found, alone = held(honest), verify(honest.folder)
    assert found.mismatches == () and found.not_checked == () and found.sealed and found.locked
    assert alone.holds and not alone.sealed and not alone.locked
    assert found.agreed["events"] > 40 and found.agreed["figures"] == 12 and found.agreed["pages"] == 6
    assert files_of(honest.folder) == before, "nothing is written"


def spread(changes: list[tuple[str, Change]], *, at_most: int) -> list[tuple[str, Change]]:
    """Evenly chosen ones."""
    step = len(changes) / min(at_most, len(changes))
    return [changes[int(place * step)] for place in range(min(at_most, len(changes)))]


def missed(honest: Whole, place: Path, changes: list[tuple[str, Change]]) -> list[str]:
    return [name for name, change in changes if not is_found(place, honest.folder, change)]


def test_a_hundred_planted_changes_are_found(honest, tmp_path):
    changes = spread(every_change(honest.folder), at_most=100)
    assert len({name for name, _ in changes}) == 100
    assert missed(honest, tmp_path / "t", changes) == []


@pytest.mark.long
def test_every_planted_change_is_found(honest, tmp_path):
    changes = every_change(honest.folder)
    assert len({name for name, _ in changes}) > 400
    assert missed(honest, tmp_path / "t", changes) == []


def good_if(wanted: Callable[[str], bool]) -> Callable[[str], tuple[str, tuple[str, ...], str | None]]:
    return lambda text: ("good", (), None) if wanted(text) else ("bad", (), None)


def answers(arm: str, index: int, text: str) -> Callable[[str, str, int], Answer]:
    """The plain answers, but one text of one arm for every prompt."""
    return lambda a, p, i: Answer(f"{text} {p}") if (a, i) == (arm, index) else plain_answer(a, p, i)


def best_of(arm: str) -> Callable[[str, str, int], Answer]:
    """An arm's third sample left for its first: who picks the samples decides what they show."""
    return lambda a, p, i: (
        Answer(f"the {PROMPTS[p][1][0].split()[1]} broke {i}") if a == arm else plain_answer(a, p, i)
    )


def measured(arm: str, **changes: Any) -> dict[str, Any]:
    return {"measured": {**MEASURED, arm: replace(MEASURED[arm], **changes)}}


def edited(arm: str, key: str, value: Any) -> dict[str, Any]:
    """Every sample of an arm with another value of a field."""

    def edit(folder: TrialFolder) -> None:
        file = folder.samples(arm)
        rows = [json.dumps({**json.loads(row), key: value}) for row in file.read_text().splitlines()]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")

    return {"edit": edit}


def other_prompt(change: Callable[[str, list[str]], tuple[str, list[str]]]) -> dict[str, Any]:
    return {"prompts": {**PROMPTS, "p3": change(*PROMPTS["p3"])}}


# Whole trials that agree with themselves, made with the tools that made the honest one.
FORGERIES: dict[str, dict[str, Any]] = {
    "better answers of lora": {"answer": best_of("lora")},
    "better answers of the base": {"answer": best_of("base")},
    "worse answers of full": {"answer": answers("full", 0, "nothing of")},
    "one answer of lora": {"answer": answers("lora", 2, "the thing broke")},
    "every grade good": {"grade": good_if(lambda text: True)},
    "every grade bad": {"grade": good_if(lambda text: False)},
    "grades turned round": {"grade": good_if(lambda text: "raining" in text)},
    "no notes": {"grade": lambda text: (*plain_grade(text)[:2], None)},
    "other reasons": {"grade": lambda text: (plain_grade(text)[0], (), plain_grade(text)[2])},
    "another rater": {"rater": "Berta"},
    "a quicker tuning": measured("full", tune_seconds=19.0),
    "less memory": measured("lora", peak_memory_bytes=2**20),
    "a better loss": measured("lora", heldout_loss=1.0),
    "another curve": {"curves": {**CURVES, "lora": CURVES["full"]}},
    "a better plan": {"plan": {"arms": {"full": {"tune_seconds": 190.0}}}},
    "another reference": other_prompt(lambda text, said: (text, ["it is raining on day 1 of p3"])),
    "another prompt": other_prompt(lambda text, said: (f"{text} Now.", said)),
    "other training rows": {"train": ("a post", "yet another post")},
    "another criterion": {"trial_text": TRIAL.replace("True of the post.", "Short.")},
    "another metric decides": {"trial_text": TRIAL.replace("primary: rouge1", "primary: rougeL")},
    "another margin": {"trial_text": TRIAL.replace("grade_prompts: 5", "grade_prompts: 5, margin: 0.9")},
    "other likelihoods": edited("lora", "logprob", -1.0),
}


def is_seen_by_digests_alone(honest: Whole, place: Path, parts: dict[str, Any]) -> bool:
    forged = build_whole(place, Parts(**parts))
    alone = verify(forged.folder)
    assert alone.holds, alone.mismatches[:3]
    return not verify(forged.folder, seal=honest.seal, lock=honest.lock).holds


@pytest.mark.parametrize(
    "name", ["better answers of lora", "every grade good", "another criterion", "a better plan"]
)
def test_a_whole_reforgery_is_consistent_and_found_by_the_digests(honest, tmp_path, name):
    assert is_seen_by_digests_alone(honest, tmp_path / "t", FORGERIES[name])


@pytest.mark.long
@pytest.mark.parametrize("name", FORGERIES)
def test_every_whole_reforgery_is_found_by_the_digests(honest, tmp_path, name):
    assert len(FORGERIES) >= 20
    assert is_seen_by_digests_alone(honest, tmp_path / "t", FORGERIES[name])


def _write_again(folder: TrialFolder) -> None:
    write_report(folder, findings=trial_findings(folder))


def _rerun(folder: TrialFolder) -> None:
    content = json.loads(folder.manifest.read_text(encoding="utf-8"))
    folder.manifest.write_text(json.dumps({**content, "command": "finetrial run again.yaml"}), encoding="utf-8")


def _reformat(folder: TrialFolder) -> None:
    file = folder.report / "results.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(dict(reversed(content.items()))), encoding="utf-8")


def _given_score(folder: TrialFolder) -> None:
    """A score from elsewhere, and the report written after it."""
    row = {"sample_id": "base/p1/0", "metric": "bert", "value": 0.5, "signature": "bert|elsewhere"}
    with folder.scores.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    _write_again(folder)


def _vacuum(folder: TrialFolder) -> None:
    connection = sqlite3.connect(folder.grades, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    connection.close()


def _weights_gone(folder: TrialFolder) -> None:
    for path in folder.root.rglob("*.safetensors"):
        path.unlink()


def _touch(folder: TrialFolder) -> None:
    for path in folder.root.rglob("*"):
        os.utime(path, (1, 1))


def _checkpoint(folder: TrialFolder) -> None:
    (folder.arm("full") / "checkpoint").mkdir()
    (folder.arm("full") / "checkpoint" / "state.bin").write_bytes(b"x")


def _older_default(folder: TrialFolder) -> None:
    """A step of a version with another default of a key that the trial file does not set; reported since."""
    content = json.loads(folder.manifest.read_text(encoding="utf-8"))
    content["steps"]["score"]["inputs"]["judging.unicode"] = hash_value(False)
    folder.manifest.write_text(json.dumps(content), encoding="utf-8")
    _write_again(folder)


INNOCENT: dict[str, Change] = {
    "every file's time": _touch,
    "results.json written otherwise": _reformat,
    "weights left out": _weights_gone,
    "the data left out": lambda folder: shutil.rmtree(folder.root / "data"),
    "the trial run again": _rerun,
    "a score from elsewhere": _given_score,
    "the database packed": _vacuum,
    "the article typeset": added("report/report.pdf", "%PDF"),
    "a checkpoint kept": _checkpoint,
    "what settings displaced kept": lambda folder: (folder.root / "kept").mkdir(),
    "another version's default": _older_default,
    "the report written again": _write_again,
}


@pytest.mark.parametrize("name", INNOCENT)
def test_a_change_that_is_none_is_passed(honest, tmp_path, name):
    assert len(INNOCENT) >= 10
    shutil.copytree(honest.folder.root, tmp_path / "elsewhere")
    folder = TrialFolder(tmp_path / "elsewhere")
    INNOCENT[name](folder)
    assert verify(folder, seal=honest.seal, lock=honest.lock).mismatches == ()


def test_code_that_came_with_a_folder_is_run_only_on_request(tmp_path):
    ran = tmp_path / "ran"
    code = (
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\ndef short(text, references):\n    return len(text)"
    )
    place = tmp_path / "t"
    place.mkdir()
    (place / "own.py").write_text(code, encoding="utf-8")
    own = TRIAL.replace("primary: rouge1, metrics: [rouge1, rougeL]", 'primary: "own.py:short"')
    made = build_whole(place, Parts(trial_text=own))
    assert ran.exists()
    ran.unlink()
    found = verify(made.folder)
    assert found.holds and not ran.exists()
    assert any("own.py:short" in text for text in found.not_checked) and found.given == 45
    assert verify(made.folder, run_own_metrics=True).given == 0 and ran.exists()
