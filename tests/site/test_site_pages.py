"""The site's pages: their commands run, their figures are those of results files, their reference is complete."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import fields
from pathlib import Path

import example_data
import pytest
from site_pages.command_reference import command_reference
from site_pages.formulas import with_formulas
from site_pages.page_commands import DOCS, Command, PageFile, command_lines, pages, read_page
from site_pages.python_reference import python_reference, record_reference
from site_pages.results_figures import with_figures
from site_pages.site_links import aimed
from site_pages.walk import prepare, run_command, walk

import finetrial
from finetrial.cli.main import available, dispatch
from finetrial.store.records import Measured, Sample

ROOT = DOCS.parent


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def commands_of(page: Path) -> list[Command]:
    return [part for part in read_page(page) if isinstance(part, Command)]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_quick_command_of_a_page_ends_as_the_page_says(page, tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    for part in read_page(page):
        if isinstance(part, PageFile):
            (tmp_path / part.name).write_text(part.text, encoding="utf-8")
        elif not part.long and part.elsewhere is None:
            words = shlex.split(part.text)
            assert words[0] == "finetrial", f"{part.text}: what is no command of ours is long, or run elsewhere"
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = dispatch(words[1:])
            assert status == part.status, f"{part.text}\n{said.getvalue()}"


@pytest.mark.long
@pytest.mark.parametrize(
    "page", [page for page in pages() if any(part.long for part in commands_of(page))], ids=name_of
)
def test_every_command_of_a_page_runs_in_its_order(page, tmp_path):
    steps = walk(page, folder=tmp_path, long=True)
    assert steps


def test_the_pages_have_commands_of_every_kind():
    commands = [part for page in pages() for part in commands_of(page)]
    assert len(commands) > 50
    assert {True, False} == {part.long for part in commands}
    assert any(part.status == 1 for part in commands)
    assert any(isinstance(part, PageFile) for page in pages() for part in read_page(page))


def test_a_command_that_another_test_runs_is_named_in_that_test():
    found = [part for page in pages() for part in commands_of(page) if part.elsewhere]
    assert found
    for part in found:
        text = (ROOT / part.elsewhere).read_text(encoding="utf-8")
        words = shlex.split(part.text)
        assert words[1] in text, f"{part.elsewhere} does not run {part.text}"


def test_every_verb_that_a_page_types_is_one():
    fenced = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.M | re.S)
    typed = set()
    for page in DOCS.rglob("*.md"):
        for block in fenced.findall(page.read_text(encoding="utf-8")):
            typed |= {
                line.removeprefix("$ ").split()[1] for line in command_lines(block) if "finetrial " in line[:12]
            }
    assert len(typed) > 15
    assert typed <= {*available(), "--help", "--version"}


def test_every_figure_of_the_pages_stands_in_a_results_file():
    for page in DOCS.rglob("*.md"):
        text = with_figures(page.read_text(encoding="utf-8"))
        assert "{{" not in re.sub(r"`[^`\n]*`", "", text), page


def test_a_figure_that_no_results_file_has_is_an_error():
    with pytest.raises((KeyError, FileNotFoundError)):
        with_figures("{{ value families.json: nothing.of.the.kind }}")


def test_the_data_of_the_pages_are_those_that_their_tool_writes():
    written = example_data.files()
    assert {path.name for path in (DOCS / "data").iterdir()} == set(written)
    for name, text in written.items():
        assert (DOCS / "data" / name).read_text(encoding="utf-8") == text, name


def test_the_reference_of_commands_names_every_verb_and_option():
    page = command_reference()
    for verb in available():
        assert f"### `finetrial {verb}`" in page
    assert "#### `finetrial scale optimal`" in page
    assert page.count("<code>--json</code>") >= len(available())


def test_the_python_reference_has_every_public_name():
    page = python_reference()
    shown = [name for name in finetrial.__all__ if name not in ("scale", "footprint", "__version__")]
    assert len(shown) > 5
    for name in shown:
        assert re.search(rf"^### `(?:finetrial\.)?{name}`$", page, re.M), name
    assert "### `scale.optimal`" in page


def test_the_reference_of_records_has_every_field():
    page = record_reference()
    for record in (Sample, Measured):
        assert f"## {record.__name__}" in page
        for field in fields(record):
            assert f"<code>{field.name.replace('_', '&#95;')}</code>" in page


def test_a_formula_is_set_and_one_that_is_not_read_is_an_error():
    assert "<mfrac>" in with_formulas("$$\n\\frac{a}{b}\n$$")
    steps = with_formulas("```math\n\\begin{aligned}\nC &= 6 N D \\\\\n&= 12\n\\end{aligned}\n```")
    assert steps.count("<mtr>") == 2 and "```" not in steps
    with pytest.raises(ValueError):
        with_formulas("$$\n\\unknown{a}\n$$")


def test_a_stand_in_grades_every_text_of_a_page_as_one(tmp_path):
    """The command is stopped by Ctrl-C once all 24 texts of outputs.jsonl, less equal ones, are graded."""
    env = prepare(tmp_path)
    step = run_command("finetrial grade outputs.jsonl --criterion short", folder=tmp_path, env=env)
    graded = int(re.search(r"a stand-in graded (\d+) texts", step.output)[1])
    progress = run_command("finetrial grade runs/outputs --progress --json", folder=tmp_path, env=env)
    assert step.status == 0 and 12 <= graded <= 24
    assert '"stand-in"' in progress.output and f'"graded": {graded}' in progress.output
    assert str(tmp_path) not in step.output


def test_links_are_aimed_at_the_site():
    page = DOCS / "report.md"
    assert aimed("[a](../examples/published/tldr.csv)", source=page) == "[a](examples/published/tldr.csv)"
    assert aimed("[a](../CHANGELOG.md)", source=page) == "[a](changelog.md)"
    assert aimed("[a](results)", source=page) == "a"
    assert aimed("[a](../src/finetrial/units.py)", source=page) == "a"
    assert aimed("[a](https://example.org/x)", source=page) == "[a](https://example.org/x)"
    assert aimed("[a](no-such-page.md)", source=page) == "[a](no-such-page.md)"
    beside = ROOT / "examples" / "README.md"
    assert aimed("[a](../docs/scaling.md#x)", source=beside) == "[a](../scaling.md#x)"
