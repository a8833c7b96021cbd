"""Hold a folder to the digests that were published earlier, which nobody who holds the folder can remake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetrial.reporting.verify.tally import Tally, leaves
from finetrial.store.layout import TrialFolder
from finetrial.store.left_out import original_hashes
from finetrial.store.lock_record import lock_content, lock_digest, read_lock_record
from finetrial.store.records import Sample
from finetrial.trial.examples import Splits
from finetrial.trial.trial_file import LoadedTrial
from finetrial.trial.trial_seal import data_content, prompts_of_samples, read_seal, seal_digest, trial_content


def _compare_parts(what: str, kept: Mapping[str, Any], now: Mapping[str, Any], *, tally: Tally) -> None:
    said, found = dict(leaves(kept)), dict(leaves(now))
    for path in dict.fromkeys((*said, *found)):
        tally.compare(f"{what}: {path}", said.get(path), found.get(path), kind="sealed")


def check_lock(folder: TrialFolder, manifest: Mapping[str, Any], *, digest: str | None, tally: Tally) -> None:
    """Compare what the folder holds with lock.json, and with the digest published when the grades were locked."""
    now, kept = lock_content(folder), read_lock_record(folder)
    noted = manifest.get("lock_sha256")
    if kept is not None:
        _compare_parts("lock.json", kept, now, tally=tally)
        if noted is not None:
            tally.compare(
                "lock.json, by the hash that manifest.json notes", lock_digest(kept), noted, kind="sealed"
            )
    elif noted is not None:
        tally.differs("lock.json", None, f"the record whose digest is {noted}")
    if digest is not None:
        tally.compare(
            "--lock, the digest published at the lock", lock_digest(now), digest.strip().lower(), kind="digests"
        )


def check_seal(
    folder: TrialFolder,
    loaded: LoadedTrial,
    *,
    samples: Sequence[Sample],
    splits: Splits | None,
    digest: str | None,
    tally: Tally,
) -> None:
    """Compare the trial with seal.json, and with the digest published before it was sampled.

    Where the data are not here, the hashes in seal.json stand for them: the digest vouches for these.
    """
    kept = read_seal(folder)
    if kept is None and digest is None:
        return
    now: dict[str, Any] = {
        "version": 1 if kept is None else kept["version"],
        "trial": trial_content(loaded),
        "data": (kept or {}).get("data") if splits is None else data_content(splits),
        "prompts": (kept or {}).get("prompts") if original_hashes(folder) else prompts_of_samples(samples),
        "criterion": loaded.trial.judging.criterion,
    }
    if kept is not None:
        _compare_parts("seal.json", kept, now, tally=tally)
    if digest is not None:
        if kept is None and splits is None:
            tally.differs("--seal, the digest published before sampling", "neither seal.json nor the data", digest)
            return
        found = seal_digest(now)
        tally.compare("--seal, the digest published before sampling", found, digest.strip().lower(), kind="digests")
