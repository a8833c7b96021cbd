"""Finetrial: a fine-tune as a trial. Importing the package loads nothing; its rooms load when they are used."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("finetrial")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
    raise AttributeError(f"module 'finetrial' has no attribute {name!r}")
