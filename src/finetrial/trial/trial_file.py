"""Read a trial file, and name the line of every fault.

Every fault is one error: the file, the line, what was found, what is allowed, and the nearest valid name.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from finetrial.errors import FinetrialError, Mistakes, UserError, nearest
from finetrial.methods.method_table import all_methods
from finetrial.store.files import atomic_text
from finetrial.store.gguf import is_gguf
from finetrial.store.hub_reach import check_hub
from finetrial.trial.arms import Arm
from finetrial.trial.foreign_config import SCRIPTS, foreign_script, refuse_foreign
from finetrial.trial.prompt_file import read_prompt_file
from finetrial.trial.schema import Trial, is_local
from finetrial.trial.set_values import remembered, set_values
from finetrial.trial.sweep import expanded

STARTER_NAME = "starter"
OUTPUTS_ONLY = "outputs-only"  # stands where a trial file names its model: texts came from elsewhere
STARTER_FOLDER = Path(__file__).parent.parent / "starter" / "model"

Lines = dict[tuple[str | int, ...], int]


@dataclass(frozen=True, slots=True)
class LoadedTrial:
    """A trial and the folder that its relative paths start from."""

    trial: Trial
    base: Path
    set_values: Mapping[str, Mapping[str, str]] | None = None  # to be remembered; None: not loaded from a file
    remembered: tuple[str, ...] = ()  # overrides that an earlier run gave, and that hold still

    def path(self, name: str) -> Path:
        """A path of the trial file, made absolute."""
        return (self.base / Path(name).expanduser()).resolve()

    def base_source(self, arm: str) -> str:
        """Where the model stands that the arm starts from."""
        return self.model_source(self.trial.base_of(arm))

    def check_models(self, arms: Iterable[str] | None = None) -> None:
        """Raise UserError at once where a model of these arms, or of all, is neither here nor can be downloaded."""
        for arm in self.trial.arms if arms is None else arms:
            if arm in self.trial.arms:
                check_hub(self.base_source(arm))
                check_hub(self.model_source(self.trial.model_of(arm)))

    def model_source(self, name: str) -> str:
        """A model's folder or GGUF file as an absolute path where it stands here, else its hub id unchanged.

        `starter` is the small base that finetrial brings.
        """
        if name == STARTER_NAME and not self.path(name).exists():
            return str(STARTER_FOLDER)
        local = is_gguf(name) or name.startswith((".", "/", "~")) or self.path(name).exists()
        return str(self.path(name)) if local else name


def _compose(text: str, *, origin: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}, line {mark.line + 1}" if mark else origin
        raise UserError(
            f"{where}: not valid YAML",
            got=getattr(error, "problem", None) or str(error),
            fix="Check indentation, colons and quotes on that line and the one before.",
        ) from None
    if not isinstance(node, yaml.MappingNode):
        raise UserError(
            f"{origin} is not a trial file", got="no keys", expected="keys such as trial, model, data, arms"
        )
    return node


def _construct(
    node: yaml.Node, *, path: tuple[str | int, ...], lines: Lines, origin: str, mistakes: Mistakes
) -> Any:
    """The node's value, with the line of every key noted. A duplicate key is a mistake: YAML would drop one."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                where = f"{origin}, line {key_node.start_mark.line + 1}"
                fix = "Remove one of the two."
                mistakes.add(
                    UserError(f"{where}: the key {'.'.join(map(str, (*path, key)))!r} stands twice", fix=fix)
                )
            result[key] = _construct(value_node, path=(*path, key), lines=lines, origin=origin, mistakes=mistakes)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(item, path=(*path, index), lines=lines, origin=origin, mistakes=mistakes)
            for index, item in enumerate(node.value)
        ]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _apply_override(content: dict[str, Any], override: str) -> None:
    name, separator, raw = override.partition("=")
    keys = name.split(".")
    if not separator or not all(keys):
        raise UserError("an override has no value", got=override, expected="KEY=VALUE, such as arms.lora.rank=8")
    place: Any = content
    for key in keys[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise UserError(
                f"--set {override}: {key!r} holds a value, not keys",
                fix=f"Set the value itself: --set {override.partition(key)[0]}{key}=VALUE.",
            )
    try:
        place[keys[-1]] = yaml.safe_load(raw)
    except yaml.YAMLError:
        place[keys[-1]] = raw


def _models_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [model for part in typing.get_args(hint) for model in _models_in(part)]


def _allowed_keys(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a place of the trial file."""
    models: list[type[BaseModel]] = [Trial]
    for key in path:
        hints = [m.model_fields[str(key)].annotation for m in models if str(key) in m.model_fields]
        if hints:
            models = [model for hint in hints for model in _models_in(hint)]
        # a key that is no field is an arm's name (arms: dict[str, Arm]) or a union's branch: stay where we are
    names = {field.alias or name for model in models for name, field in model.model_fields.items()}
    if Arm in models:
        names |= {key for method in all_methods() for key in method.own_keys()}
    return sorted(names)


def _is_union_branch(part: str | int) -> bool:
    """pydantic puts the branch it tried (a class or type name) into the path; users never wrote it."""
    return isinstance(part, str) and (
        part in ("Source", "_TextKey", "OwnLabels", "str", "float", "int", "bool")
        or part.startswith(("constrained-str", "literal[", "function-", "nullable", "is-instance"))
    )


def _line_of(path: Sequence[str | int], *, lines: Lines) -> int | None:
    for length in range(len(path), 0, -1):
        if tuple(path[:length]) in lines:
            return lines[tuple(path[:length])]
    return None


def _written_path(raw: tuple[str | int, ...], *, lines: Lines) -> tuple[str | int, ...]:
    """The place that a complaint is about, as the user wrote it."""
    return tuple(
        part
        for i, part in enumerate(raw)
        if not (_is_union_branch(part) and (*raw[:i], part) not in lines) and part != "[key]"
    )


def _on_line(line: int | None) -> str:
    return "" if line is None else f" on line {line}"


def _describe(error: ErrorDetails, *, origin: str, lines: Lines) -> UserError:
    path = _written_path(error["loc"], lines=lines)
    line = _line_of(path, lines=lines)
    where = f"{origin}, line {line}" if line and tuple(path) in lines else origin
    name = ".".join(str(part) for part in path)
    if error["type"] == "extra_forbidden":
        allowed = _allowed_keys(path[:-1])
        close = nearest(str(path[-1]), allowed)
        return UserError(
            f"{where}: unknown key {name!r}",
            expected="one of " + ", ".join(allowed),
            fix=f"Did you mean {close!r}?" if close else None,
        )
    if error["type"] == "missing":
        parent = f" under {'.'.join(map(str, path[:-1]))}" if len(path) > 1 else ""
        return UserError(
            f"{origin}: the key {name!r} is missing",
            fix=f"Add `{path[-1]}:`{parent}; `finetrial init` writes a file that has every key that is needed.",
        )
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = error["input"]
    if error["type"] == "value_error" or isinstance(shown, Mapping):
        given = None if shown is None or isinstance(shown, (Mapping, BaseModel)) else repr(shown)
        return UserError(f"{where}: {name}: {message}", got=given, fix=f"Change {name}{_on_line(line)}.")
    fix = None
    if error["type"] in ("literal_error", "enum") and isinstance(shown, str):
        options = [o.strip("' ") for o in message.replace(" or ", ", ").split(",")]
        close = nearest(shown, options)
        fix = f"Did you mean {close!r}?" if close else None
    return UserError(f"{where}: {name}: invalid value", got=repr(shown), expected=message, fix=fix)


def parse_trial(text: str, *, origin: str, overrides: Sequence[str] = ()) -> Trial:
    """A trial from the text of a trial file; `origin` names it in errors. Raises every mistake in it at once."""
    lines: Lines = {}
    mistakes = Mistakes()
    root = _compose(text, origin=origin)
    content = _construct(root, path=(), lines=lines, origin=origin, mistakes=mistakes)
    refuse_foreign(content, origin=origin)
    with mistakes.gathering():
        trial = trial_of(content, origin=origin, overrides=overrides, lines=lines)
    mistakes.raise_all()
    return trial


def trial_of(
    content: dict[str, Any], *, origin: str, overrides: Sequence[str] = (), lines: Lines | None = None
) -> Trial:
    """A trial from the keys of a trial file; `lines` says where each stands, where there is a file."""
    mistakes = Mistakes()
    for override in overrides:
        with mistakes.gathering():
            _apply_override(content, override)
    trial: Trial | None = None
    with mistakes.gathering():
        whole, places = expanded(content, lines=lines)
        try:
            trial = Trial.model_validate(whole)
        except ValidationError as error:
            for found in _described(error.errors(include_url=False), origin=origin, lines=places):
                mistakes.add(found)
    mistakes.raise_all()
    assert trial is not None
    return trial


def _described(details: Sequence[ErrorDetails], *, origin: str, lines: Lines) -> list[FinetrialError]:
    """One error for each place that is wrong.

    A union reports each branch that it tried: of complaints about one place, and about what stands in it, the
    deepest is the one about what the user wrote.
    """
    places: dict[tuple[str | int, ...], ErrorDetails] = {}
    for detail in details:
        path = _written_path(detail["loc"], lines=lines)
        rank = (detail["type"] == "extra_forbidden", len(detail["loc"]))
        held = places.get(path)
        if held is None or rank > (held["type"] == "extra_forbidden", len(held["loc"])):
            places[path] = detail
    deepest = {
        path: detail
        for path, detail in places.items()
        if not any(len(other) > len(path) and other[: len(path)] == path for other in places)
    }
    missing = {path for path, detail in deepest.items() if detail["type"] == "missing"}
    for path, detail in list(deepest.items()):
        if detail["type"] == "extra_forbidden":  # a key that is misspelt is not missing as well
            meant = nearest(str(path[-1]), [str(other[-1]) for other in missing if other[:-1] == path[:-1]])
            deepest.pop((*path[:-1], meant or ""), None)
    in_order = sorted(deepest.items(), key=lambda item: _line_of(item[0], lines=lines) or 0)
    return [_describe(detail, origin=origin, lines=lines) for _, detail in in_order]


def load_trial(
    path: Path, *, overrides: Sequence[str] = (), held: Mapping[str, Mapping[str, str]] | None = None
) -> LoadedTrial:
    """The trial of a trial file, or of a trial folder (its trial.yaml).

    `held` are the overrides of an earlier run, which hold where the file and `overrides` leave them.
    """
    file = path / "trial.yaml" if path.is_dir() else path
    if not file.exists():
        here = sorted(p.name for p in file.parent.glob("[!.]*.y*ml")) if file.parent.is_dir() else []
        raise UserError(
            f"there is no trial file {file}",
            expected=("one of " + ", ".join(here)) if here else None,
            fix="`finetrial init --data FILE --model MODEL` writes one.",
        )
    if file.suffix in SCRIPTS:
        raise foreign_script(file)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 text", got=f"byte {error.start}", fix="Save it again as UTF-8."
        ) from None
    again: tuple[str, ...] = ()
    if held:
        again = remembered(held, _content(text, origin=str(file)), given=overrides)
    trial = parse_trial(text, origin=str(file), overrides=[*again, *overrides])
    values = None if path.is_dir() else set_values(_content(text, origin=str(file)), [*again, *overrides])
    loaded = LoadedTrial(trial=trial, base=file.parent.resolve(), set_values=values, remembered=again)
    return with_prompt_files(loaded)


def _content(text: str, *, origin: str) -> dict[str, Any]:
    """What a trial file says, without overrides."""
    content: dict[str, Any] = _construct(
        _compose(text, origin=origin), path=(), lines={}, origin=origin, mistakes=Mistakes()
    )
    return content


def with_prompt_files(loaded: LoadedTrial) -> LoadedTrial:
    """The trial with the text of every arm's `prompt_file` as that arm's template.

    What the file holds now is what counts: a step that has consumed another text runs again.
    """
    arms: dict[str, Arm] = {}
    mistakes = Mistakes()
    for name, arm in loaded.trial.arms.items():
        with mistakes.gathering():
            if arm.prompt_file:
                text = read_prompt_file(loaded.path(arm.prompt_file), arm=name)
                arms[name] = arm.model_copy(update={"template": text})
    mistakes.raise_all()
    if not arms:
        return loaded
    trial = loaded.trial.model_copy(update={"arms": {**loaded.trial.arms, **arms}})
    return replace(loaded, trial=trial)


def _absolute(content: Any, *, loaded: LoadedTrial, folder: Path) -> Any:
    """The trial's content with local paths made absolute, so that the folder's copy means the same.

    A file inside the folder is named from there, so that the folder can be moved.
    """
    data, arms = content["data"], content["arms"]

    def local(name: str) -> str:
        if not is_local(name, base=loaded.base):
            return name
        path = loaded.path(name)
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    source = data["source"]
    data["source"] = (
        local(source) if isinstance(source, str) else {k: local(v) if v else v for k, v in source.items()}
    )
    if data.get("retain"):
        data["retain"] = str(loaded.path(data["retain"]))
    if loaded.model_source(content["model"]) != str(STARTER_FOLDER):  # the starter moves with the package
        content["model"] = loaded.model_source(content["model"])
    for judge in content.get("judging", {}).get("judges", ()):
        if judge.get("model") and loaded.model_source(judge["model"]) != str(STARTER_FOLDER):
            judge["model"] = loaded.model_source(judge["model"])
    for name, arm in arms.items():
        if arm.pop("prompt_file", None):  # its text stands in the folder, so that the folder can travel
            arm |= {"method": loaded.trial.arms[name].method.name, "template": loaded.trial.arms[name].template}
        for key in ("trained_on", "outputs", "file"):
            if arm.get(key):
                arm[key] = local(arm[key])
        for key in ("model", "adapter", "from"):
            if arm.get(key) and loaded.model_source(arm[key]) != str(STARTER_FOLDER):
                arm[key] = loaded.model_source(arm[key])
    return content


def write_resolved(loaded: LoadedTrial, path: Path) -> None:
    """Write the trial as it was run: overrides applied, local paths absolute, only what was set."""
    content = _absolute(
        loaded.trial.model_dump(mode="json", exclude_unset=True), loaded=loaded, folder=path.parent.resolve()
    )
    header = "# The trial as it was run: overrides applied, paths absolute.\n"
    for key, held in (loaded.set_values or {}).items():
        header += " ".join(f"# --set {key}={held['value']}".split()) + "\n"
    atomic_text(path, header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
