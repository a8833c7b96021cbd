"""Write what people deploy beside merged weights: the adapter, an Ollama Modelfile, a GGUF file.

A GGUF file is written by llama.cpp's own converter (convert_hf_to_gguf.py), where that is at hand: in the folder
that the variable FINETRIAL_LLAMA_CPP names, or on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.trial.schema import Sampling
from finetrial.trial.template import PLAIN, template_parts

CONVERTER = "convert_hf_to_gguf.py"
CONVERTER_HOME = "FINETRIAL_LLAMA_CPP"
_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def find_converter() -> Path:
    """llama.cpp's converter. Raises UserError where it is not at hand."""
    home = os.environ.get(CONVERTER_HOME, "").strip()
    if home:
        script = Path(home).expanduser() / CONVERTER
        if not script.is_file():
            raise UserError(f"${CONVERTER_HOME} holds no {CONVERTER}", got=home, fix="Name llama.cpp's folder.")
        return script
    found = shutil.which(CONVERTER)
    if found is None:
        raise UserError(
            "llama.cpp's converter is not at hand, and a GGUF file is written by nothing else",
            fix=f"Get llama.cpp, and set {CONVERTER_HOME} to its folder; it holds {CONVERTER}.",
        )
    return Path(found)


def write_gguf(model: Path, *, out: Path, precision: str, converter: Path) -> Path:
    """A merged model's folder as a GGUF file of the same numbers. Raises UserError with what the converter said."""
    command = [sys.executable, str(converter), str(model), "--outfile", str(out), "--outtype", _TYPES[precision]]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not out.exists():
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise UserError(
            "llama.cpp's converter failed",
            got=said[-1].strip() if said else f"exit status {done.returncode}",
            fix=f"It runs as {sys.executable}, which needs what {converter.parent} lists in its requirements.",
        )
    return out


def _ollama_template(template: str, *, chat: bool) -> str | None:
    """The Modelfile's TEMPLATE: the trial's around the prompt; None where the model's own is left in force.

    Raises UserError for a template with other columns than the prompt: a deployed model is given one text.
    """
    if chat:
        if template != PLAIN:
            raise UserError(
                "a chat's user turn is made by the trial's template, which an Ollama Modelfile cannot say",
                got=template,
                fix="Have whoever calls the model fill the template, and set `template: '{prompt}'` for the arm.",
            )
        return None
    parts = template_parts(template)
    others = [name for _, name in parts if name not in (None, "prompt")]
    if others:
        raise UserError("the template has more columns than the prompt", got=", ".join(map(str, others)))
    return "".join(fixed + ("{{ .Prompt }}" if name else "") for fixed, name in parts)


def modelfile(
    source: str,
    *,
    template: str,
    chat: bool,
    system: str | None,
    sampling: Sampling,
    chose: Mapping[str, Any],
) -> str:
    """An Ollama Modelfile: the model, how it is shown a prompt, and how it answers.

    `source` is a folder of safetensors or a GGUF file, from where the Modelfile stands; `chose` is what the trial's
    `auto` keys came to.
    """
    lines = [f"FROM {source}"]
    shown = _ollama_template(template, chat=chat)
    if shown is not None:
        lines.append(f'TEMPLATE """{shown}"""')
    if system is not None:
        lines.append(f'SYSTEM """{system}"""')
    settings: list[tuple[str, object]] = [
        ("temperature", chose["temperature"]),
        ("top_p", sampling.top_p),
        ("top_k", sampling.top_k or 0),  # Ollama draws from 40 unless it is told otherwise
        ("min_p", sampling.min_p),
        ("repeat_penalty", sampling.repetition_penalty),
        ("num_predict", chose["max_new_tokens"]),
        *(("stop", json.dumps(stop, ensure_ascii=False)) for stop in chose["stop"]),
    ]
    lines += [f"PARAMETER {name} {value}" for name, value in settings]
    return "\n".join(lines) + "\n"


def write_modelfile(text: str, *, folder: Path) -> Path:
    """Write it beside what it names."""
    path = folder / "Modelfile"
    atomic_text(path, text)
    return path
