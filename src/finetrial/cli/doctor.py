"""`finetrial doctor`: versions, device, cores, memory, fast paths and what is missing."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetrial import __version__
from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import UserError
from finetrial.store.hub_reach import check_hub, is_offline
from finetrial.units import format_bytes

if TYPE_CHECKING:
    from finetrial.store.records import FastPath

app = typer.Typer(add_completion=False, rich_markup_mode=None)

# What each extra is for, as its reader would say it, and the commands that are without it.
_PURPOSES = {
    "tune": "load, tune and sample models",
    "grade": "grade samples blind in the browser",
    "parquet": "read .parquet and .zst files",
    "gpu": "compute by fused kernels and in four bits on a card",
    "ray": "run a trial's steps on a cluster (run --on ray)",
    "notebook": "see tables as DataFrames and progress as a bar in a notebook",
}
_COMMANDS = {
    "tune": ("demo", "check", "run", "tune", "sample", "pretrain", "export", "push"),
    "grade": ("grade",),
}


@dataclass(frozen=True, slots=True)
class Extra:
    """One optional part of finetrial."""

    name: str
    purpose: str
    versions: dict[str, str | None]  # package -> installed version, None when it is missing
    too_old: dict[str, str]  # package -> the version that is asked for

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name, version in self.versions.items() if version is None)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that need it."""
        return _COMMANDS.get(self.name, ())


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option(help="A model whose fast paths are tried on its own weights.", metavar="MODEL")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print versions, device, cores, memory, fast paths, and what is missing with how to install it."""
    from finetrial.planning.machine import cores, memory_bytes  # loads the records

    core, extras = _packages()
    paths = _fast_paths(model)
    facts = {
        "finetrial": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "device": _device(),
        "offline": is_offline(),
    }
    if as_json:
        shown = [
            {
                "name": e.name,
                "purpose": e.purpose,
                "commands": e.commands,
                "versions": e.versions,
                "missing": e.missing,
                "too_old": e.too_old,
            }
            for e in extras
        ]
        print_json(facts | {"fast_paths": paths, "packages": core, "extras": shown})
        return
    _print(facts, core=core, extras=extras, paths=paths, model=model)


def _packages() -> tuple[dict[str, str | None], list[Extra]]:
    """The installed version of every package that finetrial names, from its own metadata."""
    core: dict[str, str | None] = {}
    found: dict[str, dict[str, str | None]] = {name: {} for name in _PURPOSES}
    old: dict[str, dict[str, str]] = {name: {} for name in _PURPOSES}
    for line in metadata.requires("finetrial") or []:
        match = re.match(
            r"(?P<name>[A-Za-z0-9._-]+)\s*(?P<bounds>[^;]*)(?:;.*extra == ['\"](?P<extra>\w+)['\"])?", line
        )
        assert match is not None, f"a requirement that is not understood: {line}"
        name, extra = match["name"], match["extra"]
        version = _version(name)
        system = re.search(r"sys_platform == ['\"](\w+)['\"]", line)
        if system is not None and system[1] != sys.platform:
            continue
        if extra is None:
            core[name] = version
        elif extra in found:
            found[extra][name] = version
            least = re.search(r">=\s*([\d.]+)", match["bounds"])
            if version is not None and least and _numbers(version) < _numbers(least[1]):
                old[extra][name] = least[1]
    return core, [Extra(name, _PURPOSES[name], found[name], old[name]) for name in _PURPOSES]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", 1)[0])[:3])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device() -> dict[str, Any] | None:
    """What torch would tune on; None without torch."""
    if find_spec("torch") is None:
        return None
    from finetrial.models.device import probe_device  # imports torch

    found = probe_device()
    return {
        "kind": found.kind,
        "name": found.name,
        "memory_bytes": found.memory_bytes,
        "bfloat16": found.bfloat16,
        "threads": found.threads,
    }


def _fast_paths(model: str | None) -> tuple[FastPath, ...] | None:
    """What is computed faster than by a model's own code; None where what tuning needs is missing."""
    if any(find_spec(name) is None for name in ("torch", "transformers", "peft")):
        if model is not None:
            raise UserError("no model can be loaded here", fix="pip install 'finetrial[tune]'")
        return None
    if model is not None:
        check_hub(model)
    from finetrial.models.fast_paths import fast_paths  # imports torch and transformers

    return fast_paths(model)


def _print_paths(paths: tuple[FastPath, ...], *, model: str | None) -> None:
    print(f"fast paths  {'of ' + model if model is not None else 'in training, where a model has such modules'}")
    for path in paths:
        text = f"{path.name}: {'on' if path.on else 'off'}, {path.reason}"
        print(textwrap.fill(text, 80, initial_indent=" " * 12, subsequent_indent=" " * 14))


def _print(
    facts: dict[str, Any],
    *,
    core: dict[str, str | None],
    extras: list[Extra],
    paths: tuple[FastPath, ...] | None = None,
    model: str | None = None,
) -> None:
    print(f"finetrial   {facts['finetrial']}")
    print(f"python      {facts['python']} ({sys.executable})")
    print(f"platform    {facts['platform']}")
    print(f"cores       {facts['cores']:g}")
    memory = facts["memory_bytes"]
    print(f"memory      {format_bytes(memory) if memory is not None else 'unknown'}")
    print(f"free disk   {format_bytes(facts['disk_free_bytes'])} here")
    print(f"device      {_device_line(facts['device'])}")
    print(f"hub         {'offline (HF_HUB_OFFLINE is set)' if facts['offline'] else 'online when asked'}")
    if paths is not None:
        _print_paths(paths, model=model)
    print()
    _print_versions("always", core)
    for extra in extras:
        _print_versions(f"[{extra.name}]", extra.versions)
    has_card = facts["device"] is not None and facts["device"]["kind"] == "cuda"
    lacking = [extra for extra in extras if extra.missing or extra.too_old]
    print()
    for extra in lacking:
        if extra.name == "gpu" and not has_card:
            continue
        parts = [f"{name} is missing" for name in extra.missing]
        parts += [f"{name} is older than {least}" for name, least in extra.too_old.items()]
        _fill(f"To {extra.purpose}: {', '.join(parts)}", indent=2)
        if extra.commands:
            _fill(f"  without it: no {', '.join(extra.commands)}", indent=4)
        print(f"  pip install 'finetrial[{extra.name}]'")
    if not [extra for extra in lacking if extra.name != "gpu" or has_card]:
        print("Nothing is missing.")
    if not has_card:
        print("Nothing of [gpu] is needed here: there is no card.")


def _fill(text: str, *, indent: int) -> None:
    print(textwrap.fill(text, 80, subsequent_indent=" " * indent, break_on_hyphens=False))


def _device_line(device: dict[str, Any] | None) -> str:
    if device is None:
        return "unknown: torch is not installed"
    name = f" {device['name']}" if device["name"] else ""
    memory = f", {format_bytes(device['memory_bytes'])}" if device["memory_bytes"] else ""
    return f"{device['kind']}{name}{memory}, {device['threads']} threads"


def _print_versions(title: str, versions: dict[str, str | None]) -> None:
    line = f"{title:<12}"
    for name, version in versions.items():
        part = f"{name} {version or '-'}"
        if len(line) > 12 and len(line) + len(part) + 2 > 80:
            print(line.rstrip())
            line = " " * 12
        line += part + "  "
    print(line.rstrip())
