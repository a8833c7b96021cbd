"""Everything that is imported is declared, and everything that is installed is pinned."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from finetrial.api.packages import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# A module whose name is not its package's, apart from - and _ and case.
PACKAGES = {"yaml": "pyyaml", "markdown_it": "markdown-it-py", "PIL": "pillow"}


def bare(requirement: str) -> str:
    """A requirement's package, spelt as PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement.strip())[0]).lower()


def imported(folder: Path) -> set[str]:
    """The packages that the modules of a folder import, anywhere in them."""
    beside = ("tests", "tools", "examples")
    own = {path.stem for name in beside for path in (ROOT / name).rglob("*.py")} | {"finetrial", "benchmarks"}
    own |= {path.parent.name for name in beside for path in (ROOT / name).rglob("__init__.py")}
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.split(".")[0])
    return {bare(PACKAGES.get(name, name)) for name in names - set(sys.stdlib_module_names) - own}


def declared(*extras: str) -> set[str]:
    groups = PROJECT["optional-dependencies"]
    return {bare(one) for one in PROJECT["dependencies"]} | {bare(one) for name in extras for one in groups[name]}


def test_every_imported_package_is_declared():
    found = imported(ROOT / "src")
    assert {"torch", "accelerate", "markupsafe", "pyyaml", "huggingface-hub"} <= found
    assert found <= declared("tune", "grade", "gpu", "parquet", "notebook", "ray", "slurm")


def test_every_package_that_the_tests_import_is_declared():
    found = imported(ROOT / "tests")
    assert {"pytest", "hypothesis"} <= found
    assert found <= declared("tune", "grade", "parquet", "notebook", "dev")


def test_every_declared_package_is_imported():
    """But those that others load by name: pandas' and the notebook's parts, and what tools call."""
    found = imported(ROOT / "src")
    assert declared("tune", "grade", "gpu", "parquet", "notebook", "ray", "slurm") - found <= {"liger-kernel"}


def test_of_every_optional_package_it_is_known_which_extra_brings_it():
    known = {bare(PACKAGES.get(name, name)): extra for name, extra in EXTRAS.items()}
    for extra in ("tune", "grade", "gpu", "parquet", "notebook", "ray", "slurm"):
        for one in PROJECT["optional-dependencies"][extra]:
            assert known.pop(bare(one)) == extra
    assert not known


def test_what_is_installed_here_by_the_makefile_is_pinned():
    pinned = {bare(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    needed, waiting = set(), [bare(one) for one in declared("tune", "grade", "parquet", "dev", "docs")]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        try:
            requires = [Requirement(one) for one in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue  # a declared one for another system or Python
        needed.add(name)
        # By its marker, not by whether it is found: setuptools, once imported, shows what it carries in itself.
        waiting += [bare(one.name) for one in requires if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert len(needed) > 50
    assert needed - {"setuptools", "pip"} <= pinned


def test_constraints_name_versions_that_pyproject_allows():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    versions = {bare(name): version for name, version in pins.items()}
    requirements = [Requirement(one) for one in PROJECT["dependencies"]]
    requirements += [Requirement(one) for group in PROJECT["optional-dependencies"].values() for one in group]
    checked = [one for one in requirements if bare(one.name) in versions]
    assert len(checked) > 25
    for one in checked:
        assert one.specifier.contains(versions[bare(one.name)]), one
