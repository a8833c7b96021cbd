"""Say which extra of finetrial brings a package that is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from finetrial.errors import MissingPackage

# Optional packages -> the extra that brings them.
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "peft", "tokenizers", "safetensors", "datasets"), "tune"),
    **dict.fromkeys(("huggingface_hub", "accelerate", "gguf"), "tune"),
    **dict.fromkeys(("starlette", "uvicorn", "markdown_it"), "grade"),
    **dict.fromkeys(("liger_kernel", "bitsandbytes", "triton"), "gpu"),
    **dict.fromkeys(("pandas", "ipywidgets", "IPython"), "notebook"),
    "pyarrow": "parquet",
    "ray": "ray",
    "submitit": "slurm",
}


def missing_package(error: ModuleNotFoundError, *, purpose: str) -> MissingPackage | None:
    """The error that names the extra to install; None for a module that no extra brings."""
    package = (error.name or "").split(".")[0]
    return MissingPackage(package, extra=EXTRAS[package], purpose=purpose) if package in EXTRAS else None


@contextlib.contextmanager
def optional_packages(purpose: str) -> Iterator[None]:
    """Raise MissingPackage where an import in the block fails for want of an optional package."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_package(error, purpose=purpose)
        if missing is None:
            raise
        raise missing from None
