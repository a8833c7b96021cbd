"""Read the plain arguments of a notebook or script that tunes with Unsloth: literals, and names given literals."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.imports.given import Given
from finetrial.imports.imported_run import ImportedRun, find_file, refuse_stage, targets_of
from finetrial.imports.trainer_arguments import read_lora, read_trainer

TOOL = "Unsloth"
_MODEL, _ADAPTER, _DATA = "from_pretrained", "get_peft_model", "load_dataset"
_ARGUMENTS = ("SFTConfig", "TrainingArguments", "UnslothTrainingArguments")
_NOT_PLAIN = object()


def source_of(path: Path) -> str:
    """The Python of a script, or of a notebook's code cells without its shell and magic lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text).get("cells", ())
        text = "\n".join("".join(cell["source"]) for cell in cells if cell.get("cell_type") == "code")
    kept = ["" if line.lstrip().startswith(("!", "%")) else line for line in text.split("\n")]
    return "\n".join(kept)


def read_script(path: Path, *, near: Sequence[Path]) -> ImportedRun:
    """The run of a notebook or script. Raises UserError where it cannot be read, or tunes on preferences."""
    try:
        tree = ast.parse(source_of(path))
    except (SyntaxError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no Python that can be read", got=str(error)) from None
    calls = _calls(tree)
    if not any(name in calls for name in (_MODEL, *_ARGUMENTS)):
        raise UserError(f"{path} loads no model and gives no training arguments", expected="an Unsloth notebook")
    for name in ("DPOTrainer", "GRPOTrainer", "KTOTrainer", "ORPOTrainer"):
        if name in calls:
            raise refuse_stage(TOOL, name)
    given = Given({})
    run = ImportedRun(TOOL, given)
    model = Given(calls.get(_MODEL, {}), "from_pretrained.", given.carried, given.left)
    run.model = model.take("model_name", to="model", default=model.get("pretrained_model_name_or_path"))
    length = model.take("max_seq_length", to="data.max_tokens", default=2048)
    adapter = calls.get(_ADAPTER)
    arguments = {key: value for name in _ARGUMENTS for key, value in calls.get(name, {}).items()}
    trained = Given(arguments, "", given.carried, given.left)
    read_trainer(trained, run)
    if adapter is None:
        run.arm["method"] = "full"
    else:
        _adapter(Given(adapter, "get_peft_model.", given.carried, given.left), run)
        if model.take("load_in_4bit", to="arm.quantize", default=True):
            run.arm["quantize"] = "nf4"
    run.data["max_tokens"] = int(trained.take("max_length", to="data.max_tokens", default=length))
    run.data["overlong"] = "cut"
    _data(calls, run, given, near=near)
    for part in (model, trained):
        part.finish(seen=("dtype", "full_finetuning", "max_seq_length"))
    return run


def _adapter(given: Given, run: ImportedRun) -> None:
    named = given.take("target_modules", to="arm.targets", default=["q_proj", "v_proj"])
    read_lora(
        given,
        run,
        rank="r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        targets=targets_of(named),
        defaults=(16, 16.0, 0.0),
    )
    if given.get("bias", "none") == "none":
        given.carried["get_peft_model.bias"] = "as it is here"
    if given.get("random_state") is not None:
        given.left["get_peft_model.random_state"] = "training.seed seeds adapters too"
    given.leave("loftq_config", "adapters start at zero here")
    given.finish(seen=("use_gradient_checkpointing",))


def _data(calls: Mapping[str, Mapping[str, Any]], run: ImportedRun, given: Given, *, near: Sequence[Path]) -> None:
    loaded = Given(calls.get(_DATA, {}), "load_dataset.", given.carried, given.left)
    name = loaded.take("path", to="data.source")
    files = loaded.take("data_files", to="data.source")
    local = find_file(str(files or name), near=near) if files or name else None
    if local is not None:
        run.data["source"] = str(local)
    elif name is not None:
        run.data["source"] = f"{name}:{loaded.take('split', to='data.source', default='train')}"
    loaded.finish(seen=("split",))
    run.notes.append("what the notebook does to its rows (formatting functions, templates) is code, and not read")
    given.leave("dataset_text_field", "the text is made by code; `finetrial check` shows what is trained here")


def _calls(tree: ast.Module) -> dict[str, dict[str, Any]]:
    """Every call by its last name, with those keyword arguments that are plain; the first argument as `path`."""
    names: dict[str, Any] = {}
    found: dict[str, dict[str, Any]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = _plain(node.value, names)
            if value is not _NOT_PLAIN:
                names[node.targets[0].id] = value
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called is None or (called == _MODEL and "Tokenizer" in ast.unparse(node.func)):
            continue
        kept = {
            word.arg: value
            for word in node.keywords
            if word.arg and (value := _plain(word.value, names)) is not _NOT_PLAIN
        }
        if node.args and called == _DATA and (path := _plain(node.args[0], names)) is not _NOT_PLAIN:
            kept["path"] = path
        found[called] = {**found.get(called, {}), **kept}
    return found


def _plain(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of a literal, or of a name that was given one."""
    if isinstance(node, ast.Name):
        return names.get(node.id, _NOT_PLAIN)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return _NOT_PLAIN
