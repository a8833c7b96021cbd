"""The architecture, proved from the imports: rooms stand above the ground they use and never see one another."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "finetrial"

BOTTOM = {"delimiters", "errors", "units"}
PURE = {"scaling", "footprint", "metrics", "stats"}
ROOMS = {"engine", "planning", "grading", "reporting"}
# room -> what it may import besides itself
GROUND = {
    "store": BOTTOM,
    "methods": BOTTOM | PURE | {"store"},
    "trial": BOTTOM | PURE | {"store", "methods"},
    "starter": BOTTOM | {"store"},
    "evidence": BOTTOM | PURE | {"store", "methods", "trial"},
}
ALLOWED = (
    {name: BOTTOM for name in BOTTOM | PURE}
    | GROUND
    | {room: BOTTOM | PURE | set(GROUND) for room in ROOMS}
    | {"conductor": BOTTOM | PURE | set(GROUND) | ROOMS}
    | {"cli": BOTTOM | PURE | set(GROUND) | ROOMS | {"conductor"}}
)
TORCH = {"torch", "transformers", "peft", "safetensors", "tokenizers", "accelerate", "bitsandbytes"}


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module imported anywhere in the file, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            if node.module == "finetrial":
                names |= {f"finetrial.{alias.name}" for alias in node.names}
    return names


def test_every_module_belongs_to_a_known_room():
    rooms = {room_of(p) for p in modules()}
    assert rooms <= set(ALLOWED)
    assert {"engine", "trial", "store", "cli", "metrics", "scaling"} <= rooms


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_downward_only(path):
    room = room_of(path)
    used = {n.split(".")[1] for n in imports_of(path) if n.startswith("finetrial.")}
    stray = used - ALLOWED[room] - {room, "__version__"}
    assert not stray, f"{room} may not import {sorted(stray)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_engine_imports_torch(path):
    used = {n.split(".")[0] for n in imports_of(path)}
    if room_of(path) != "engine":
        assert not used & TORCH


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_says_what_it_answers_and_stays_short(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") <= 400, "over 400 lines: split it by question"
