"""The wheel holds what it should, and installs into an empty environment, without torch and with each extra.

Long: every test makes an environment and asks the registry for packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from whole_trial import build_whole

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "finetrial"
pytestmark = pytest.mark.long


def run(*command, cwd=None, status=0, **environment):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CI")} | environment
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == status, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


class Environment:
    """A fresh environment with the wheel in it."""

    def __init__(
        self, folder: Path, wheel: Path, *, extra: str | None = None, before: tuple[str, ...] = ()
    ) -> None:
        run(sys.executable, "-m", "venv", folder)
        self.folder = folder
        pinned = ("-c", ROOT / "constraints.txt")
        if before:
            self.pip(*pinned, *before)
        self.pip(*pinned, f"{wheel}[{extra}]" if extra else wheel)

    def pip(self, *arguments) -> str:
        return run(self.folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *arguments)

    def finetrial(self, *arguments, cwd, status=0):
        return run(self.folder / "bin" / "finetrial", *arguments, cwd=cwd, status=status)

    def has(self, *modules) -> set[str]:
        code = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
        return set(json.loads(run(self.folder / "bin" / "python", "-c", code, *modules).replace("'", '"')))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("plain") / "env", wheel)


@pytest.fixture
def here(tmp_path):
    for file in (ROOT / "docs" / "data").iterdir():
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    held = {name for name in names if name.startswith("finetrial/")}
    there = {
        f"finetrial/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there and len(there) > 400
    assert "finetrial/py.typed" in held and any(name.endswith(".safetensors") for name in held)
    others = {name.split("/")[0] for name in names} - {"finetrial"}
    assert len(others) == 1 and others.pop().endswith(".dist-info")
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_without_an_extra_everything_that_needs_no_model_runs(plain, here):
    assert plain.has("torch", "transformers", "starlette", "pyarrow", "pandas", "datasets") == set()
    plain.finetrial("--help", cwd=here)
    for command in (
        ("scale", "optimal", "--flops", "1e21"),
        ("footprint", "compare", "--model", "gpt3-175b", "--copies", "100", "full", "lora:4:q,v"),
        ("init", "--data", "reviews.jsonl", "--model", "gpt2"),
        ("explain", "arms.lora.rank"),
        ("metrics",),
        ("completion", "bash"),
        ("score", "outputs.jsonl"),
    ):
        plain.finetrial(*command, cwd=here)
    facts = json.loads(plain.finetrial("doctor", "--json", cwd=here))
    lacking = {extra["name"] for extra in facts["extras"] if extra["missing"]}
    assert lacking == {"tune", "grade", "gpu", "parquet", "ray", "notebook"}


def test_without_an_extra_a_whole_trial_is_reported_and_verified(plain, tmp_path):
    folder = build_whole(tmp_path).folder.root
    plain.finetrial("report", folder, cwd=tmp_path)
    said = plain.finetrial("verify", folder, cwd=tmp_path)
    assert "agree with the records" in said


def test_without_an_extra_a_command_that_needs_one_names_it(plain, here):
    plain.finetrial("init", "--data", "reviews.jsonl", "--model", "starter", cwd=here)
    facts = json.loads(plain.finetrial("doctor", "--json", cwd=here))
    extras = {extra["name"]: extra for extra in facts["extras"]}
    asked = {
        "check": ("reviews.yaml",),
        "run": ("reviews.yaml",),
        "tune": ("reviews.yaml",),
        "sample": ("reviews.yaml",),
        "demo": (),
        "grade": ("outputs.jsonl", "--no-open"),
    }
    for verb, arguments in asked.items():
        done = json.loads(plain.finetrial(verb, *arguments, "--json", cwd=here, status=2))
        extra = "grade" if verb == "grade" else "tune"
        assert f"finetrial[{extra}]" in done["error"]["fix"], verb
        assert verb in extras[extra]["commands"]


def test_the_grading_page_needs_its_extra_alone(wheel, here, tmp_path_factory):
    made = Environment(tmp_path_factory.mktemp("grade") / "env", wheel, extra="grade")
    assert made.has("torch", "starlette", "uvicorn") == {"starlette", "uvicorn"}
    made.finetrial("grade", "outputs.jsonl", "--criterion", "true", "--export", "page.html", cwd=here)
    server = subprocess.Popen(
        [made.folder / "bin" / "finetrial", "grade", "outputs.jsonl", "--no-open"],
        cwd=here,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None and "Grade here:" in server.stdout.readline()
    server.terminate()
    server.wait(20)


def test_parquet_and_dataframes_need_their_extras_alone(wheel, here, tmp_path_factory):
    made = Environment(tmp_path_factory.mktemp("tables") / "env", wheel, extra="parquet,notebook")
    assert made.has("torch", "pyarrow", "pandas") == {"pyarrow", "pandas"}
    code = (
        "import pandas, finetrial\n"
        "frame = pandas.read_json('outputs.jsonl', lines=True)\n"
        "frame.to_parquet('rows.parquet')\n"
        "print(finetrial.score(frame).verdict)"
    )
    assert run(made.folder / "bin" / "python", "-c", code, cwd=here).strip()
    made.finetrial(
        *("init", "--data", "rows.parquet", "--prompt", "prompt", "--completion", "reference", "--model", "gpt2"),
        cwd=here,
    )


def test_tuning_needs_its_extra_alone_and_takes_the_torch_that_is_there(wheel, here, tmp_path_factory):
    made = Environment(tmp_path_factory.mktemp("tune") / "env", wheel, extra="tune", before=("torch",))
    assert made.has("torch", "transformers", "peft", "starlette") == {"torch", "transformers", "peft"}
    made.finetrial("init", "--data", "reviews.jsonl", "--model", "starter", cwd=here)
    made.finetrial("check", "reviews.yaml", cwd=here)
    made.finetrial("run", "reviews.yaml", "--smoke", cwd=here)


def test_the_extra_for_a_card_can_be_had(wheel, plain):
    """Not installed: it is gigabytes, and nothing of it runs without a card."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    said = run(plain.folder / "bin" / "pip", "install", "--dry-run", "--no-deps", *extras["gpu"])
    assert "Would install" in said and "bitsandbytes" in said


def test_uv_runs_it_without_an_installation(wheel, here, tmp_path_factory):
    tools = tmp_path_factory.mktemp("uv") / "env"
    run(sys.executable, "-m", "venv", tools)
    run(tools / "bin" / "pip", "install", "-q", "uv")
    env = {"UV_PYTHON": sys.executable, "UV_CACHE_DIR": str(tools / "cache"), "UV_NATIVE_TLS": "1"}
    asked = ("finetrial", "scale", "optimal", "--flops", "1e21")
    said = run(tools / "bin" / "uvx", "--from", wheel, *asked, cwd=here, **env)
    assert "param" in said
