"""A bundle holds records and report without weights, verifies as its folder does, and nothing in it is trusted."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from building import TRIAL
from hostile_trial import make
from whole_trial import Whole, build_whole

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.trial_findings import read_samples
from finetrial.judging.blinding import write_items
from finetrial.reporting.packed_trial import pack_trial, unpacked
from finetrial.reporting.write import write_report
from finetrial.trial.trial_file import load_trial

BLOCKED = """
import sys
for name in ("torch", "transformers", "peft", "datasets", "safetensors", "tokenizers"):
    sys.modules[name] = None
from finetrial.cli.main import dispatch
sys.exit(dispatch(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return build_whole(tmp_path_factory.mktemp("packed") / "tickets")


@pytest.fixture(scope="module")
def bundle(whole: Whole) -> Path:
    out = whole.folder.root.parent / "tickets.zip"
    pack_trial(whole.folder, out)
    return out


def changed(bundle: Path, out: Path, *, name: str, old: bytes, new: bytes) -> Path:
    """A copy of a bundle in which one file says something else."""
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(out, "w") as to:
        for entry in source.infolist():
            content = source.read(entry)
            assert entry.filename != name or old in content
            to.writestr(entry.filename, content.replace(old, new, 1) if entry.filename == name else content)
    return out


def test_a_bundle_holds_samples_grades_key_measurements_and_report_and_no_weights(whole: Whole, bundle: Path):
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
    held = {"grades.sqlite", "key.json", "items.jsonl", "seal.json", "lock.json", "manifest.json", "scores.jsonl"}
    held |= {f"samples/{arm}.jsonl" for arm in ("base", "full", "lora")}
    held |= {"arms/lora/measured.json", "arms/full/metrics.jsonl", "report/index.html", "report/figures/scores.svg"}
    assert held <= names
    assert not [name for name in names if name.endswith((".safetensors", "-wal", "-shm"))]
    assert any(path.suffix == ".safetensors" for path in whole.folder.root.rglob("*"))


def test_the_same_records_give_the_same_bundle(whole: Whole, bundle: Path, tmp_path):
    pack_trial(whole.folder, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_a_bundle_verifies_without_torch_against_both_digests_where_the_trial_is_gone(
    whole: Whole, bundle, tmp_path
):
    elsewhere = tmp_path / "copy.zip"
    shutil.copy(bundle, elsewhere)
    digests = ["--seal", whole.seal, "--lock", whole.lock]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, "verify", str(elsewhere), *digests, "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    results = found["results"]
    assert found["verified"] and results["sealed"] and results["locked"]
    assert results["agreed"]["scores"] == 90 and results["agreed"]["pages"] == 6
    assert any("adapter_model.safetensors" in text for text in results["not_checked"])


def test_several_trials_get_a_line_each_and_a_forged_one_is_named(bundle: Path, tmp_path, capsys):
    sample = b"the lamp broke in full way 0"
    forged = changed(
        bundle, tmp_path / "forged.zip", name="samples/full.jsonl", old=sample, new=b"the lamp is fine"
    )
    (tmp_path / "none.zip").write_bytes(b"nothing")
    assert dispatch(["verify", str(bundle), str(forged), str(tmp_path / "none.zip")]) == 1
    honest, other, unread = capsys.readouterr().out.splitlines()
    assert honest.startswith(f"{bundle}: Consistent, not authenticated. ")
    assert other.startswith(f"{forged}: Does not verify: ") and "First: " in other
    assert unread.startswith(f"{tmp_path / 'none.zip'}: cannot be verified: ")


def test_one_forged_bundle_fails_and_its_grade_page_or_key_is_held_to_the_records(bundle: Path, tmp_path):
    forged = changed(bundle, tmp_path / "f.zip", name="report/report.md", old=b"# Tickets", new=b"# Wickets")
    assert dispatch(["verify", str(forged)]) == 1
    forged = changed(bundle, tmp_path / "k.zip", name="key.json", old=b'"lora"', new=b'"full"')
    assert dispatch(["verify", str(forged)]) == 1


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../outside.txt", 0),
        ("/tmp/outside.txt", 0),
        ("a/../../outside.txt", 0),
        ("..\\outside.txt", 0),
        ("link", stat.S_IFLNK | 0o777),
    ],
)
def test_a_name_that_leaves_the_folder_and_a_link_are_refused(bundle: Path, tmp_path, name, mode):
    bad = tmp_path / "bad.zip"
    shutil.copy(bundle, bad)
    with zipfile.ZipFile(bad, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="is not a bundle"), unpacked(bad):
        pass


def test_what_awaits_blind_grading_is_not_packed(tmp_path):
    folder = make(tmp_path / "t")
    loaded = load_trial(folder.root)
    samples = read_samples(folder, arms=tuple(loaded.trial.arms))
    write_items(folder, samples, judging=loaded.trial.judging, seed=0)
    write_report(folder)
    with pytest.raises(UserError, match="await blind grading"):
        pack_trial(folder, tmp_path / "t.zip")
    assert not (tmp_path / "t.zip").exists()
    pack_trial(folder, tmp_path / "t.zip", open_grades=True)
    assert (tmp_path / "t.zip").exists()


def test_the_command_packs_what_it_wrote(tmp_path, capsys):
    folder = make(tmp_path / "t", trial_text=TRIAL.replace("grade_prompts: 3", "grade_prompts: 0"))
    assert dispatch(["report", str(folder.root), "--bundle", str(tmp_path / "b.zip"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert sorted(archive.namelist()) == said["packed"]
    assert dispatch(["report", str(folder.root), "--bundle", str(tmp_path / "b.tar")]) == 2
    assert "a .zip file" in capsys.readouterr().err
