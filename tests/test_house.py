"""The architecture, proved from the imports: rooms stand above the ground they use and never see one another."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "finetrial"

BOTTOM = {"delimiters", "errors", "installed", "plotting", "units"}
PURE = {"scaling", "footprint", "metrics", "stats"}
# room -> what it may import besides itself: the shared ground, from below upwards
STORE = {"store": BOTTOM, "starter": BOTTOM | {"store"}, "endpoints": BOTTOM}
METHODS = {"methods": BOTTOM | PURE | {"store", "models", "endpoints"}}
GROUND = (
    STORE
    | METHODS
    | {
        "trial": BOTTOM | PURE | {"store", "methods", "endpoints"},
        "models": BOTTOM | PURE | {"store", "starter", "methods", "trial"},
        "evidence": BOTTOM | PURE | {"store", "methods", "trial"},
        "imports": BOTTOM | {"store", "methods", "metrics", "trial"},
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


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def own_names(tree: ast.Module) -> set[str]:
    """What the module itself defines: functions, classes, fields, and attributes set on `self`."""
    nodes = list(ast.walk(tree))
    stored = [n for n in nodes if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Store)]
    attributes = {n.attr for n in stored if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    defined = {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return attributes | defined | {n.id for n in stored if isinstance(n, ast.Name)}


def private_names_of_others(tree: ast.Module) -> set[str]:
    """The private names that the module uses and does not define: read, called, imported or asked by `getattr`."""
    own, found = own_names(tree), set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            asked = node.args[1] if node.func.id in ("getattr", "setattr", "hasattr", "delattr") else None
            names = [asked.value] if isinstance(asked, ast.Constant) and isinstance(asked.value, str) else []
        found |= {name for name in names if is_private(name) and name not in own}
    return found


def test_private_names_of_others_are_used_in_one_module_alone():
    users = {path.relative_to(SOURCE): private_names_of_others(ast.parse(path.read_text())) for path in modules()}
    assert len(users) > 400
    found = {str(path): sorted(names) for path, names in users.items() if names}
    assert list(found) == ["models/kernels/private_calls.py"], found


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch._foreach_mul_(x, 2)",
        "name = model.config._attn_implementation",
        "model.config._name_or_path = source",
        "found = getattr(model.config, '_attn_implementation', None)",
        "from torch._inductor import config",
        "import torch._dynamo",
        "from transformers.modeling_utils import _load_state_dict",
        "class A(Module):\n    def all(self):\n        return self._buffers",
    ],
)
def test_a_private_name_is_seen_however_it_is_used(line):
    assert private_names_of_others(ast.parse(line))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_says_its_subject_and_stays_short(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert text.count("\n") <= 400, "over 400 lines: split it by subject"


def test_a_files_name_stands_once_in_the_tree():
    # a command's module bears its verb's name, which the room that does the work may have, too
    stems = [p.stem for p in modules() if p.stem != "__init__" and room_of(p) != "cli"]
    assert len(stems) > 300
    assert sorted(s for s in set(stems) if stems.count(s) > 1) == []
