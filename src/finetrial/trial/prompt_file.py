"""Read an arm's template from a text file."""

from __future__ import annotations

from pathlib import Path

from finetrial.errors import UserError


def read_prompt_file(path: Path, *, arm: str) -> str:
    """A prompt file's text as a template. Its last line break is the editor's and no part of it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"arms.{arm}.prompt_file cannot be read",
            got=f"{path}: {error.strerror or type(error).__name__}",
            expected="a text file with a column's name in braces, such as {prompt}",
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text", got=f"byte {error.start}", fix="Save it again as UTF-8."
        ) from None
    if not text.strip():
        raise UserError(
            f"the prompt file {path} is empty", fix="Write the prompt into it, with {prompt} in braces."
        )
    return text.removesuffix("\n").removesuffix("\r")
