"""A trial that is half done gives a report, and the report says what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from building import TRIAL, Answer, build_trial

from finetrial.cli.main import dispatch
from finetrial.judging.blinding import write_items
from finetrial.judging.grading_session import GradingSession
from finetrial.reporting.verification import verify
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample, read_rows
from finetrial.trial.trial_file import load_trial

PROMPTS = {f"p{n}": (f"Post {n} about a lamp.", [f"the lamp {n}"]) for n in range(4)}
TEXT = TRIAL.replace("prompts: 12, per_prompt: 3", "prompts: 4, per_prompt: 2").replace(
    "grade_prompts: 3", "grade_prompts: 2, raters: 2"
)


def built(root: Path, *, without: Sequence[str] = (), untuned: Sequence[str] = (), **parts: object) -> TrialFolder:
    """A trial in which these arms have no samples, and these were not even tuned."""
    folder = build_trial(
        root,
        prompts=PROMPTS,
        answer=lambda arm, prompt, n: Answer(f"the {arm} lamp {prompt} {n}"),
        trial_text=TEXT,
        **parts,
    )
    manifest = json.loads(folder.manifest.read_text())
    for arm in (*without, *untuned):
        folder.samples(arm).unlink()
        del manifest["steps"][f"sample:{arm}"]
    for arm in untuned:
        folder.measured(arm).unlink(missing_ok=True)
        folder.metrics(arm).unlink(missing_ok=True)
        del manifest["steps"][f"tune:{arm}"]
    folder.manifest.write_text(json.dumps(manifest))
    left = [s for arm in load_trial(root).trial.arms if folder.samples(arm).exists() for s in samples(folder, arm)]
    kept = {sample.id for sample in left}
    rows = [row for row in folder.scores.read_text().splitlines() if json.loads(row)["sample_id"] in kept]
    folder.scores.write_text("".join(f"{row}\n" for row in rows))
    return folder


def samples(folder: TrialFolder, arm: str) -> list[Sample]:
    return list(read_rows(folder.samples(arm), Sample))


def set_aside(folder: TrialFolder) -> TrialFolder:
    trial = load_trial(folder.root).trial
    rows = [sample for arm in trial.arms for sample in samples(folder, arm)]
    write_items(folder, rows, judging=trial.judging, seed=trial.sampling.seed, title="tickets")
    return folder


def graded(folder: TrialFolder, *raters: str, texts: int | None = None) -> TrialFolder:
    session = GradingSession(folder)
    for rater in raters:
        session.book.join(rater)
        session.book.declare(rater, "person")
        for n, item in enumerate(list(session.items)[:texts]):
            event = {"uid": f"{rater}-{n:08}", "kind": "grade", "item_id": item, "value": "good"}
            session.record(event, rater=rater)
    session.close()
    return folder


def said(folder: TrialFolder, *, scored: bool = True) -> str:
    """The notice, once the report stands in all its forms and agrees with its records."""
    assert dispatch(["report", str(folder.root)]) == 0
    pages = [folder.report / name for name in ("index.html", "report.md", "report.tex", "tables.tex")]
    assert all(path.stat().st_size > 0 for path in pages)
    found = json.loads((folder.report / "results.json").read_text())["unfinished"]
    assert found
    assert "Not done yet" in pages[0].read_text() and "Not done yet" in pages[1].read_text()
    if scored:  # else the missing scores are a difference of their own
        assert [row.what for row in verify(folder).mismatches if row.what.startswith(("report", "results"))] == []
    return " ".join(found)


def test_a_folder_with_a_trial_file_alone(tmp_path):
    (tmp_path / "trial.yaml").write_text(TEXT)
    text = said(TrialFolder(tmp_path))
    assert "full and lora were not tuned yet: `finetrial run` does it." in text
    assert "No arm has been sampled yet, so there is nothing to compare" in text
    page = (tmp_path / "report" / "report.md").read_text()
    assert "There is no verdict yet: no arm has been sampled." in page


def test_nothing_tuned_yet(tmp_path):
    folder = built(tmp_path / "t", untuned=["full", "lora"], measured={}, curves={})
    text = said(folder)
    assert "full and lora were not tuned yet" in text
    assert "full and lora have no samples and stand in no comparison." in text


def test_one_arm_missing(tmp_path):
    text = said(built(tmp_path / "t", without=["lora"]))
    assert text == "lora has no samples and stands in no comparison: `finetrial run` samples."


def test_sampled_and_not_scored(tmp_path):
    folder = built(tmp_path / "t")
    folder.scores.unlink()
    assert "The samples were not scored yet: `finetrial score` does it." in said(folder, scored=False)


def test_sampled_and_not_graded(tmp_path):
    text = said(set_aside(built(tmp_path / "t")))
    assert text == (
        "Nobody has graded yet: 16 texts of 2 prompts, each to be graded by 2 raters. `finetrial grade` opens the "
        "page."
    )


def test_graded_by_one_of_two_and_by_the_other_in_part(tmp_path):
    folder = graded(set_aside(built(tmp_path / "t")), "Anna")
    assert "The grading is not done: 16 of 32 grades" in said(folder) and "Anna gave 16." in said(folder)
    graded(folder, "Ben", texts=3)
    checked = verify(folder)  # of the report from before: people may grade on
    assert checked.holds and "how far the grading had come when the report was written" in checked.not_checked
    assert "19 of 32 grades" in said(folder) and "Anna gave 16 and Ben gave 3" in said(folder)
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert "The grades were locked when 19 of 32 grades had been given" in said(folder)


def test_graded_and_not_counted(tmp_path):
    folder = graded(set_aside(built(tmp_path / "t")), "Anna", "Ben")
    assert "All is graded (16 texts of 2 prompts, each to be graded by 2 raters) and not counted yet" in said(
        folder
    )
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert dispatch(["report", str(folder.root)]) == 0
    assert json.loads((folder.report / "results.json").read_text())["unfinished"] == []
    assert "Not done yet" not in (folder.report / "index.html").read_text()


def test_a_made_up_stand_of_the_grading_is_found(tmp_path):
    folder = graded(set_aside(built(tmp_path / "t")), "Anna")
    said(folder)
    path = folder.report / "results.json"
    path.write_text(path.read_text().replace('"Anna": 16', '"Bob": 16'))
    assert not verify(folder).holds
