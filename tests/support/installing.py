"""Put a package where Python finds it, as an installer does."""

from pathlib import Path


def install(folder: Path, *, group: str, code: str, module: str, package: str = "toys") -> None:
    """A module, and a dist-info that names its entry point; the module's ADDED is what it adds."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{module} = {module}:ADDED\n", encoding="utf-8")
