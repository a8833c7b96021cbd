"""Load the shape of a model given by name, folder, config.json, GGUF file or hub id."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from finetrial.errors import MissingPackage, UserError
from finetrial.footprint.gguf_config import config_from_gguf
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.shapes import UnknownShape, find_name, named_shape, shape_from_config
from finetrial.footprint.structure import Shape
from finetrial.store.gguf import is_gguf, read_gguf
from finetrial.store.hub_reach import check_hub


def load_shape(model: str | Path) -> Shape:
    """The shape of a model given by name, folder, config.json, GGUF file or hub id.

    A folder or file comes before a name, a name before the hub. Raises UnknownShape for a name or an architecture
    that is not known and UserError for a configuration that cannot be read.
    """
    model = str(model)
    path = Path(model).expanduser()
    if is_gguf(path):
        return _from_gguf(path)
    if path.is_dir() and ((path / "config.json").exists() or find_name(model) is None):
        return shape_from_config(_read_config(path / "config.json"), name=model)
    if path.suffix == ".json":
        return shape_from_config(_read_config(path), name=model)
    if find_name(model) is None and re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        return shape_from_config(_read_config(_from_hub(model)), name=model)
    return named_shape(model)


def _from_gguf(path: Path) -> Shape:
    """The shape that the file's header gives, held against the number of weights in it."""
    header = read_gguf(path)
    config = config_from_gguf(header.architecture, fields=header.fields, tensors=header.tensors)
    shape = shape_from_config(config, name=path.name)
    if (counted := count_parameters(shape).total) != header.parameters:
        raise UnknownShape(
            f"the parameters of {path.name} cannot be counted by its header",
            got=f"{header.parameters:,} weights of architecture {header.architecture}",
            expected=f"{counted:,}, by its sizes",
        )
    return shape


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}", fix="Give a folder with config.json, or the file itself.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON", got=str(error)) from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a model's configuration", got=type(config).__name__, expected="an object")
    return config


def _from_hub(model: str) -> Path:
    """The hub's config.json, or the cached one. HF_HUB_OFFLINE is honoured by the library itself."""
    check_hub(model)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingPackage("huggingface_hub", extra="tune", purpose=f"reading {model} from the hub") from None
    try:
        return Path(hf_hub_download(model, "config.json", etag_timeout=5))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
        raise UserError(
            f"the configuration of {model} cannot be had from the hub",
            got=f"{type(error).__name__}: {reason}",
            fix="Give a folder with its config.json, or one of the names that `finetrial footprint shape` lists.",
        ) from None
