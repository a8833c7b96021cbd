"""`finetrial verify` agrees with an honest report and finds a tampered sample, score, result or page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hostile_trial import make

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.verification import verify
from finetrial.reporting.write import write_report
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Score, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.score_step import score_trial

NO_DATA = "the data: tickets.jsonl is not here"
ARMS = ("base", "prompted", "full", "lora")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """A trial scored by the step that notes its hashes, and its report."""
    folder = make(tmp_path_factory.mktemp("verify") / "t")
    manifest = Manifest(folder.manifest)
    for arm in ("full", "lora"):
        manifest.finish(f"tune:{arm}", inputs={}, outputs=[])
    for arm in ARMS:
        manifest.finish(f"sample:{arm}", inputs={}, outputs=[folder.samples(arm)])
    loaded = load_trial(folder.root)
    score_trial(folder, loaded.trial, manifest=manifest, base=loaded.base, training=lambda: None)
    write_report(folder, findings=trial_findings(folder))
    return folder


@pytest.fixture
def copied(honest: TrialFolder, tmp_path: Path) -> TrialFolder:
    """To be tampered with; a folder may move."""
    shutil.copytree(honest.root, tmp_path / "t")
    return TrialFolder(tmp_path / "t")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def written(folder: TrialFolder) -> dict[Path, int]:
    """When each file was written; what SQLite keeps beside a database for its readers is left out."""
    files = [p for p in folder.root.rglob("*") if p.is_file() and not p.name.endswith(("-shm", "-wal"))]
    assert len(files) > 20
    return {path: path.stat().st_mtime_ns for path in files}


def answer(capsys: pytest.CaptureFixture[str], folder: TrialFolder) -> tuple[int, dict]:
    capsys.readouterr()
    status = dispatch(["verify", str(folder.root), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_an_honest_report_verifies_and_says_how_much_agreed(honest, capsys):
    before = written(honest)
    found = verify(honest)
    assert found.mismatches == () and found.holds
    assert found.not_checked == (NO_DATA,)
    assert found.scores == sum(1 for _ in read_rows(honest.scores, Score)) == 4 * 12 * 3 * 3
    assert found.files == 4 + 2 + 1  # samples of four arms; scores and diagnostics; by what they were judged
    assert found.numbers > 300
    assert written(honest) == before, "nothing is written"
    assert dispatch(["verify", str(honest.root)]) == 0
    assert re.match(
        r"Consistent, not authenticated. \d+ numbers, 432 scores and 7 files agree", capsys.readouterr().out
    )


def test_a_tampered_sample_is_found_by_its_hash_and_its_scores(copied, capsys):
    replace(copied.samples("full"), "a summary of post 11", "nothing like the reference")
    status, said = answer(capsys, copied)
    names = [row["what"] for row in said["results"]["mismatches"]]
    assert status == 1 and said["verified"] is False
    assert "samples/full.jsonl, as the step sample:full wrote it" in names
    assert any(name.startswith("scores.jsonl: rouge1 of full/") for name in names)
    assert "results.json: hashes.samples/full.jsonl" in names


def test_a_tampered_sample_is_found_when_everything_after_it_was_made_anew(copied):
    replace(copied.samples("full"), "a summary of post 11", "nothing like the reference")
    manifest, loaded = Manifest(copied.manifest), load_trial(copied.root)
    score_trial(copied, loaded.trial, manifest=manifest, base=loaded.base, training=lambda: None)
    write_report(copied, findings=trial_findings(copied))
    assert [row.what for row in verify(copied).mismatches] == [
        "samples/full.jsonl, as the step sample:full wrote it"
    ]


def test_a_tampered_score_is_found_though_the_report_was_written_after_it(copied):
    rows = copied.scores.read_text(encoding="utf-8").splitlines()
    row = json.loads(rows[0])
    rows[0] = json.dumps({**row, "value": 0.987654})
    copied.scores.write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_report(copied, findings=trial_findings(copied))
    found = {m.what: m for m in verify(copied).mismatches}
    assert set(found) > {
        "scores.jsonl, as the step score wrote it",
        f"scores.jsonl: {row['metric']} of {row['sample_id']}",
        f"results.json: metrics.{row['metric']}.base.mean",  # which follows from the samples, not from the scores
    }
    assert found[f"scores.jsonl: {row['metric']} of {row['sample_id']}"].reported.startswith("0.987654")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "rouge1", "lora", "mean"), 0.9),
        (("arms", "full", "measured", "tune_seconds"), 1.0),
        (("answer",), "lora is better."),
        (("pairs", 0, "p"), 0.001),
        (("hashes", "scores.jsonl"), "0" * 64),
    ],
    ids=str,
)
def test_a_tampered_result_is_found_and_nothing_else_is_blamed(copied, capsys, path, value):
    file = copied.report / "results.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    place = content
    for key in path[:-1]:
        place = place[key]
    assert place[path[-1]] != value
    place[path[-1]] = value
    file.write_text(json.dumps(content), encoding="utf-8")
    status, said = answer(capsys, copied)
    assert status == 1
    (row,) = said["results"]["mismatches"]
    assert row["what"].startswith(f"results.json: {path[0]}") and row["reported"] in (str(value), json.dumps(value))


def test_a_null_that_an_older_version_did_not_write_is_no_difference(copied):
    path = copied.report / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    measured = content["arms"]["full"]["measured"]
    gone = [key for key, value in measured.items() if value is None]
    assert gone
    for key in gone:
        del measured[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert verify(copied).holds
    del measured["tune_seconds"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert [m.what for m in verify(copied).mismatches] == ["results.json: arms.full.measured.tune_seconds"]


@pytest.mark.parametrize("name", ["index.html", "report.md", "tables.tex"])
def test_a_number_changed_on_a_page_is_found(copied, name):
    mean = json.loads((copied.report / "results.json").read_text())["metrics"]["rouge1"]["lora"]["mean"]
    page = copied.report / name
    body = page.read_text(encoding="utf-8")
    at = body.index(f"{mean:.3f}", body.index('<section id="scores"') if name == "index.html" else 0)
    page.write_text(body[:at] + "0.999" + body[at + 5 :], encoding="utf-8")
    (row,) = verify(copied).mismatches
    assert row.what.startswith(f"report/{name}, line ") and "0.999" in row.reported


def by_an_older_version(folder: TrialFolder) -> dict:
    """results.json and pages as a finetrial before the document wrote them: no sections, other words."""
    content = json.loads((folder.report / "results.json").read_text(encoding="utf-8"))
    del content["sections"], content["finetrial"]
    content |= {"version": 1, "answer": "In other words."}
    for name in ("index.html", "report.md"):
        replace(folder.report / name, "Arms and cost", "The arms and what they cost")
    (folder.report / "report.tex").unlink()
    return content


def test_a_report_by_an_older_version_is_held_to_its_numbers_and_hashes_and_the_rest_is_said(
    copied,
):
    content = by_an_older_version(copied)
    path = copied.report / "results.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = verify(copied)
    assert found.mismatches == () and found.numbers > 200
    assert found.not_checked == (
        NO_DATA,
        "wording and pages, which another version wrote; `finetrial report` writes them anew",
    )
    content["metrics"]["rouge1"]["full"]["mean"] += 0.01
    content["hashes"]["scores.jsonl"] = "0" * 64
    path.write_text(json.dumps(content), encoding="utf-8")
    assert {row.what for row in verify(copied).mismatches} == {
        "results.json: metrics.rouge1.full.mean",
        "results.json: hashes.scores.jsonl",
    }


def test_a_report_by_a_newer_version_is_refused_with_the_reason(copied):
    replace(copied.report / "results.json", '"version": 2', '"version": 3')
    with pytest.raises(UserError, match=r"written by another version of finetrial"):
        verify(copied)


def test_without_a_report_there_is_nothing_to_verify(copied, capsys):
    shutil.rmtree(copied.report)
    assert dispatch(["verify", str(copied.root)]) == 2
    assert "finetrial report" in capsys.readouterr().err
