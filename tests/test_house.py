"""The architecture, proved from the imports: rooms stand above the ground they use and never see one another."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "finetrial"

BOTTOM = {"delimiters", "errors", "installed", "units"}
PURE = {"scaling", "footprint", "metrics", "stats"}
# room -> what it may import besides itself: the shared ground, from below upwards
STORE = {"store": BOTTOM, "starter": BOTTOM | {"store"}}
METHODS = {"methods": BOTTOM | PURE | {"store", "models"}}
GROUND = (
    STORE
    | METHODS
    | {
        "trial": BOTTOM | PURE | {"store", "methods"},
        "models": BOTTOM | PURE | {"store", "starter", "methods", "trial"},
        "evidence": BOTTOM | PURE | {"store", "methods", "trial"},
    }
)
# rooms that never import one another; only workflow/ sees them all
ROOMS = {"training", "sampling", "judging", "planning", "reporting"}
ALLOWED = (
    {name: BOTTOM for name in BOTTOM | PURE}
    | GROUND
    | {room: BOTTOM | PURE | set(GROUND) for room in ROOMS}
    | {"workflow": BOTTOM | PURE | set(GROUND) | ROOMS}
    | {"api": BOTTOM | PURE | set(GROUND) | ROOMS | {"workflow"}}
    | {"cli": BOTTOM | PURE | set(GROUND) | ROOMS | {"workflow", "api"}}
)
# rooms that may import torch and its companions
TORCH_ROOMS = {"models", "methods", "training", "sampling", "workflow"}
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
    assert {"models", "training", "sampling", "trial", "store", "cli", "metrics", "scaling"} <= rooms


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_downward_only(path):
    room = room_of(path)
    used = {n.split(".")[1] for n in imports_of(path) if n.startswith("finetrial.")}
    stray = used - ALLOWED[room] - {room, "__version__"}
    assert not stray, f"{room} may not import {sorted(stray)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_rooms_that_hold_models_import_torch(path):
    used = {n.split(".")[0] for n in imports_of(path)}
    if room_of(path) not in TORCH_ROOMS or is_pure_half(path):
        assert not used & TORCH


def is_pure_half(path: Path) -> bool:
    """What `trial/` and others see of the methods: everything but the torch halves and what these share."""
    shared = ("torch_half", "peft_half", "model_targets")
    return room_of(path) == "methods" and path.stem not in shared and not path.stem.endswith("_torch")


def test_the_pure_halves_of_methods_load_no_torch_half():
    halves = [path for path in modules() if is_pure_half(path)]
    assert len(halves) > 10
    torch_halves = {".".join(("finetrial", *p.relative_to(SOURCE).with_suffix("").parts)) for p in modules()}
    torch_halves -= {".".join(("finetrial", *p.relative_to(SOURCE).with_suffix("").parts)) for p in halves}
    for path in halves:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        run = [node for node in tree.body if isinstance(node, ast.ImportFrom)]  # not those for type checkers alone
        named = {n.module for n in run} | {f"{n.module}.{alias.name}" for n in run for alias in n.names}
        stray = {name for name in named & torch_halves if name.split(".")[1] in TORCH_ROOMS}
        assert not stray, f"{path.name} imports {sorted(stray)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_says_what_it_answers_and_stays_short(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") <= 400, "over 400 lines: split it by question"
