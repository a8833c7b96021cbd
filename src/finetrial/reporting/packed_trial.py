"""Pack a trial's records and report into one file without weights, and unpack such a file to verify it.

The file is a zip archive with the same bytes for the same records. What is unpacked was made by a stranger: names
that leave the folder, links and sizes beyond reason are refused, and nothing in it is run.
"""

from __future__ import annotations

import sqlite3
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from finetrial.errors import UserError
from finetrial.reporting.private_bundle import take_texts_out
from finetrial.reporting.render.results_json import TEXTS_LEFT_OUT
from finetrial.reporting.results import read_results
from finetrial.store.files import atomic_bytes
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder

SUFFIX = ".zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold
_ARM_SUFFIXES = (".json", ".jsonl", ".jinja", ".txt", ".model")  # of an arm's folder all but the weights
# Assumptions: the largest trial seen (1,000 prompts, 5 arms, 5 samples) has 40 MB and 90 files.
_MOST_BYTES, _MOST_FILES = 4 * 2**30, 20_000


def packed_files(folder: TrialFolder) -> tuple[Path, ...]:
    """What a bundle holds, grades.sqlite apart: records, measurements, key and report; no weights and no data."""
    root = folder.root
    single = [folder.trial, folder.manifest, folder.plan, folder.run_time, folder.data, folder.scores]
    single += [folder.columns, folder.judging, folder.diagnostics, folder.items, folder.key, folder.pairs]
    single += [folder.stopping, folder.seal, folder.lock_record, folder.left_out, folder.early]
    found = [path for path in single if path.is_file()]
    found += [path for path in root.glob("samples/*.jsonl") if not path.name.endswith(".partial.jsonl")]
    found += [path for path in root.glob("arms/*/*") if path.suffix in _ARM_SUFFIXES]
    found += root.glob("pilots/*/1-in-*.json")
    found += [*root.glob("judges/*.jsonl"), *root.glob("served/*.jsonl")]
    found += [path for path in folder.report.rglob("*") if path.is_file()]
    return tuple(sorted(path for path in found if not path.is_symlink()))


def pack_trial(folder: TrialFolder, out: Path, *, open_grades: bool = False, texts: bool = True) -> tuple[str, ...]:
    """Write a bundle. Returns the names in it. Without `texts` it holds their lengths and hashes, as the report.

    Raises UserError where there is no report, where `out` is in the way, and where texts await blind grading: who
    reads the samples knows which arm wrote what. `open_grades` packs them even so.
    """
    if not (folder.report / "results.json").exists():
        raise UserError(f"there is no report in {folder.root}", fix="`finetrial report` writes it.")
    if out.suffix != SUFFIX or out.is_dir():
        raise UserError(
            "--bundle names a .zip file", got=str(out), fix=f"Give --bundle {out.stem or 'trial'}{SUFFIX}."
        )
    state = grading_state(folder)
    if state.settings is not None and state.locked_at is None and not open_grades:
        raise UserError(
            f"texts of {folder.root} await blind grading, and a bundle says which arm wrote what",
            fix="`finetrial unblind` ends the grading; --open packs it now.",
        )
    if texts == (read_results(folder).get("texts") == TEXTS_LEFT_OUT):
        raise UserError("report and bundle would not both be without texts", fix="Write the report anew, too.")
    content = _content(folder)
    if not texts:
        content = _private(content)
    atomic_bytes(out, _archive(content))
    return tuple(sorted(content))


def _content(folder: TrialFolder) -> dict[str, bytes]:
    content = {path.relative_to(folder.root).as_posix(): path.read_bytes() for path in packed_files(folder)}
    if folder.grades.is_file():
        content[folder.grades.name] = _database(folder.grades)
    return content


def _private(content: dict[str, bytes]) -> dict[str, bytes]:
    """The same without texts, by way of a copy on the disk."""
    with tempfile.TemporaryDirectory(prefix="finetrial-bundle-") as place:
        copy = TrialFolder(Path(place))
        for name, data in content.items():
            path = copy.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        take_texts_out(copy)
        return _content(copy)


def _database(path: Path) -> bytes:
    """The database as one file, what SQLite keeps beside it included."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy.sqlite"
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as to,
        ):
            source.backup(to)
            to.execute("PRAGMA journal_mode = DELETE")
        return copy.read_bytes()


def _archive(content: dict[str, bytes]) -> bytes:
    with tempfile.SpooledTemporaryFile(max_size=64 * 2**20) as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(content.items()):
                entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, data)
        stream.seek(0)
        return stream.read()


def is_packed(path: Path) -> bool:
    """Whether a path names a bundle rather than a trial."""
    return path.suffix == SUFFIX and path.is_file()


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A bundle as a folder, for as long as the block lasts. Raises UserError for what is no bundle of a trial."""
    with tempfile.TemporaryDirectory(prefix="finetrial-bundle-") as place:
        root = Path(place) / path.stem
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in _checked(archive, path):
                    archive.extract(entry, root)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"{path} is not a bundle", got=str(error), fix="`finetrial report --bundle` makes one."
            ) from None
        if not (root / "trial.yaml").is_file():
            raise UserError(f"{path} is not a bundle", got="no trial.yaml in it")
        yield root


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files of an archive, each of which stays in its folder."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > _MOST_BYTES:
        raise UserError(f"{path} is too large for a bundle", expected=f"at most {_MOST_FILES:,} files and 4 GiB")
    names: set[str] = set()
    for entry in entries:
        name, kind = PurePosixPath(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
        outside = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename
        if outside or kind not in (0, stat.S_IFREG) or entry.filename in names:
            raise UserError(f"{path} is not a bundle", got=f"a file named {entry.filename!r}")
        names.add(entry.filename)
    return entries
