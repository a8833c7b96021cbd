"""Score texts with the user's own function, named `file.py:function`.

It is called as function(text, references) for each sample, and gets `prompt` and `row` where it has parameters of
these names: `row["column"]` is a column of the data, `row.tokens` and the like are the sample's own record. A
function whose first parameter is called `texts` is called once, with a list of everything: texts, references, and
prompts and rows where it names them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import numbers
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from finetrial.errors import UserError, unknown_name
from finetrial.metrics.metric import Output, SampleMetric, Settings, Values
from finetrial.metrics.sample_row import SampleRow

FORM = "FILE.py:FUNCTION"
ABOUT = "your own: function(text, references, *, prompt, row) to a number, or None where undefined"
_NAME = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


def user_function(name: str) -> SampleMetric | None:
    """The metric that `file.py:function` names; None for another name. The file is read when it computes."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    file, function = match["file"], match["function"]
    return SampleMetric(
        name=name,
        title=name,
        about=ABOUT,
        compute=lambda outputs, settings: _compute(name, _load(name, file, function, settings), outputs),
        sign=lambda settings: f"{name}|sha256:{_hash(_path(name, file, settings))[:12]}",
        prepare=lambda settings: _prepare(name, file, function, settings),
        files=(file,),
    )


def _path(name: str, file: str, settings: Settings) -> Path:
    path = (settings.base / Path(file).expanduser()).resolve()
    if not path.exists():
        raise UserError(
            f"there is no file {path} for the metric {name}",
            expected=f"a path relative to {settings.base.resolve()}",
        )
    return path


def _hash(path: Path) -> str:
    """A changed function is another metric: the signature names the file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _prepare(name: str, file: str, function: str, settings: Settings) -> None:
    _load(name, file, function, settings)


def _load(name: str, file: str, function: str, settings: Settings) -> Callable[..., Any]:
    """The function. This runs its file."""
    path = _path(name, file, settings)
    spec = importlib.util.spec_from_file_location(f"_finetrial_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{path} cannot be run",
            got=f"{type(error).__name__}: {error}",
            fix="Run it alone to see where it fails.",
        ) from error
    functions = {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}
    if function not in functions:
        raise unknown_name(f"function of {path.name}", function, functions)
    return cast(Callable[..., Any], functions[function])


def _compute(name: str, function: Callable[..., Any], outputs: Sequence[Output]) -> Values:
    parameters = _parameters(function)
    if parameters[:1] == ("texts",):
        return _all_at_once(name, function, outputs, parameters=parameters)
    found = []
    for output in outputs:
        beside = {"prompt": output.prompt, "row": SampleRow(output.row)}
        wanted = {key: value for key, value in beside.items() if key in parameters}
        try:
            value = function(output.text, output.references, **wanted)
        except (Exception, SystemExit) as error:
            raise _failed(name, f"on the sample {output.id}", error, "(text, references)") from error
        found.append(_number(name, value, output=output))
    return found


def _all_at_once(
    name: str, function: Callable[..., Any], outputs: Sequence[Output], *, parameters: Sequence[str]
) -> Values:
    beside = {"prompts": [o.prompt for o in outputs], "rows": [SampleRow(o.row) for o in outputs]}
    wanted = {key: value for key, value in beside.items() if key in parameters}
    try:
        values = list(function([o.text for o in outputs], [o.references for o in outputs], **wanted))
    except (Exception, SystemExit) as error:
        raise _failed(name, f"on {len(outputs)} samples", error, "(texts, references)") from error
    if len(values) != len(outputs):
        raise UserError(f"{name} returned another number of values", got=len(values), expected=len(outputs))
    return [_number(name, value, output=output) for value, output in zip(values, outputs, strict=True)]


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function written in C says nothing of its parameters
        return ()


def _failed(name: str, where: str, error: BaseException, call: str) -> UserError:
    return UserError(
        f"{name} failed {where}",
        got=f"{type(error).__name__}: {error}",
        fix=f"It is called as function{call}, with str and tuples of str, and prompt or row where it names them.",
    )


def _number(name: str, value: object, *, output: Output) -> float | None:
    if value is None:
        return None
    if not isinstance(value, numbers.Real):
        raise UserError(
            f"{name} returned no number for the sample {output.id}",
            got=type(value).__name__,
            expected="a float, an int, a bool, or None where undefined",
        )
    number = float(value)
    return None if math.isnan(number) else number
