"""A report without texts says nothing of prompts, answers, references and notes, and all else as it is."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from whole_trial import PROMPTS, Parts, Whole, build_whole

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.left_out_texts import is_stand_in, stand_in
from finetrial.reporting.packed_trial import pack_trial, unpacked
from finetrial.reporting.results import read_results
from finetrial.reporting.verification import verify
from finetrial.reporting.write import write_report
from finetrial.store.grades import text_hash
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample, read_rows

NOTE = "Nothing is new there."  # the rater's
ARMS = ("base", "full", "lora")


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A graded trial, reported without its texts."""
    whole = build_whole(tmp_path_factory.mktemp("private") / "t", Parts())
    write_report(whole.folder, findings=trial_findings(whole.folder), texts=False)
    return whole


def samples(whole: Whole) -> list[Sample]:
    return [sample for arm in ARMS for sample in read_rows(whole.folder.samples(arm), Sample)]


def pieces(whole: Whole) -> set[str]:
    """Every run of three words of every private text."""
    said = {NOTE, *(text for sample in samples(whole) for text in (sample.text, sample.prompt, *sample.references))}
    words = [text.split() for text in said]
    return {" ".join(row[at : at + 3]) for row in words for at in range(max(1, len(row) - 2))}


def words_of(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split())


def test_no_file_of_the_report_holds_three_words_of_a_text(private: Whole):
    hidden, files = pieces(private), [p for p in private.folder.report.rglob("*") if p.is_file()]
    assert len(hidden) > 70 and len(files) >= 8
    found = {(path.name, piece) for path in files for piece in hidden if piece in words_of(path)}
    assert found == set()
    write_report(private.folder, findings=trial_findings(private.folder))
    whole = words_of(private.folder.report / "index.html")
    assert sum(piece in whole for piece in hidden) > 70  # so the search does find
    write_report(private.folder, findings=trial_findings(private.folder), texts=False)


def test_lengths_and_hashes_stay(private: Whole):
    page = (private.folder.report / "index.html").read_text(encoding="utf-8")
    text = samples(private)[0].text
    assert f"{len(text)} characters, SHA-256 {text_hash(text)}" in page
    shown = re.findall(r"\d+ characters, SHA-256 [0-9a-f]{64}", page)
    assert len(set(shown)) >= len(PROMPTS) * 2


def test_the_numbers_are_those_of_the_report_with_texts(private: Whole):
    without = read_results(private.folder)
    write_report(private.folder, findings=trial_findings(private.folder))
    whole = read_results(private.folder)
    assert without["texts"] == "left out" and "texts" not in whole
    for key in ("metrics", "prompt_means", "good", "pairs", "arms", "answer", "verdict_warnings", "hashes"):
        assert without.get(key) == whole.get(key)
    write_report(private.folder, findings=trial_findings(private.folder), texts=False)


def test_verify_makes_the_report_without_texts_anew(private: Whole):
    found = verify(private.folder, seal=private.seal, lock=private.lock)
    assert found.holds, found.mismatches
    assert found.agreed["pages"] == 6 and found.sealed and found.locked
    page = private.folder.report / "report.md"
    kept = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"(\d) characters", "7 characters", kept, count=1), encoding="utf-8")
    assert not verify(private.folder).holds
    page.write_text(kept, encoding="utf-8")


def test_a_stand_in_stands_for_itself_and_for_equal_texts_alone():
    assert stand_in("a") == stand_in("a") != stand_in("b")
    assert stand_in(stand_in("a")) == stand_in("a") and is_stand_in(stand_in(""))
    assert not is_stand_in("3 characters")


def test_the_command_leaves_texts_out_and_draws_no_figure_of_them(private: Whole, capsys):
    assert dispatch(["report", str(private.folder.root), "--no-texts"]) == 0
    assert not any(piece in " ".join(capsys.readouterr().out.split()) for piece in pieces(private))
    assert dispatch(["report", str(private.folder.root), "--no-texts", "--figure", "lora:1"]) == 2
    assert "--figure with --no-texts" in capsys.readouterr().err


@pytest.fixture(scope="module")
def packed(private: Whole) -> Path:
    out = private.folder.root.parent / "private.zip"
    pack_trial(private.folder, out, texts=False)
    return out


def changed(bundle: Path, out: Path, *, name: str, old: str, new: str) -> Path:
    """A copy of a bundle in which one file says something else."""
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(out, "w") as to:
        for entry in source.infolist():
            content = source.read(entry)
            assert entry.filename != name or old.encode() in content
            replaced = content.replace(old.encode(), new.encode(), 1)
            to.writestr(entry.filename, replaced if entry.filename == name else content)
    return out


def test_no_file_of_a_private_bundle_holds_three_words_of_a_text_or_note(private: Whole, packed: Path):
    hidden = {piece.encode() for piece in pieces(private)}
    assert NOTE.encode()[:-1].rpartition(b" ")[0] in hidden
    with zipfile.ZipFile(packed) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert {"grades.sqlite", "samples/lora.jsonl", "items.jsonl", "left_out.json"} <= set(held)
    assert {(name, piece) for name, data in held.items() for piece in hidden if piece in data} == set()
    assert any(piece in private.folder.grades.read_bytes() for piece in hidden)  # so the search does find


def test_a_private_bundle_verifies_against_both_digests_and_says_what_it_could_not_look_at(private: Whole, packed):
    with unpacked(packed) as root:
        found = verify(TrialFolder(root), seal=private.seal, lock=private.lock)
    assert found.holds, found.mismatches
    assert found.sealed and found.locked and found.given == 90 and found.numbers > 400
    assert any("texts are left out" in text for text in found.not_checked)


def test_what_is_forged_in_a_private_bundle_is_found(private: Whole, packed: Path, tmp_path):
    lines = private.folder.scores.read_text(encoding="utf-8").splitlines()
    value = next(row for row in lines if "full/p1/0" in row and '"rouge1"' in row)
    text = stand_in(next(s.text for s in samples(private) if s.id == "full/p1/0"))
    plants = [
        ("scores.jsonl", value, re.sub(r'"value": [\d.]+', '"value": 0.99', value)),
        ("samples/full.jsonl", text, text[:-1] + ("0" if text[-1] != "0" else "1")),
        ("samples/full.jsonl", text, "the lamp broke"),
        ("key.json", '"lora"', '"full"'),
        ("arms/lora/measured.json", "95.0", "9.0"),
        ("report/results.json", '"good": 10', '"good": 15'),
    ]
    for number, (name, old, new) in enumerate(plants):
        forged = changed(packed, tmp_path / f"{number}.zip", name=name, old=old, new=new)
        with unpacked(forged) as root:
            assert not verify(TrialFolder(root)).holds, (name, old)


def test_report_and_bundle_are_both_without_texts_or_neither(private: Whole, tmp_path):
    with pytest.raises(UserError, match="would not both be without texts"):
        pack_trial(private.folder, tmp_path / "b.zip")
