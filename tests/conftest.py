"""A skipped test is loud, and where CI is set it fails the run, unless it asks for a device CI does not have."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
# before torch is imported, and for child processes: results repeat, and nobody else on the machine waits
os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_DEVICE = "there is no CUDA device here"
_SKIPPED: list[str] = []


def pytest_collection_modifyitems(items):
    for item in items:
        if "real_model" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_model)


@pytest.fixture(scope="session")
def real_model():
    """SmolLM2-135M-Instruct as the GGUF file that tools/real_model.py keeps. Nothing is fetched here."""
    from real_model import present

    path = present()
    if path is None:
        pytest.skip("NOT TESTED: the real model is not here; `python tools/real_model.py` brings it")
    return path


@pytest.fixture(scope="session")
def real_model_folder(real_model):
    """The same model dequantised, in Hugging Face layout; made once, in the user's cache."""
    from finetrial.models.gguf_base import as_folder

    return Path(as_folder(str(real_model)))


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _SKIPPED.append(f"{report.nodeid}: {reason}")


def pytest_collectreport(report):
    if report.skipped:
        _SKIPPED.append(f"{report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session):
    is_worker = hasattr(session.config, "workerinput")
    unexcused = [line for line in _SKIPPED if NO_DEVICE not in line]
    if unexcused and os.environ.get("CI") and not is_worker and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    if _SKIPPED:
        verdict = "in CI those that need no CUDA device fail the run" if os.environ.get("CI") else "not tested"
        terminalreporter.section(f"{len(_SKIPPED)} skipped: {verdict}", red=True, bold=True)
        for line in _SKIPPED:
            terminalreporter.line(line)
