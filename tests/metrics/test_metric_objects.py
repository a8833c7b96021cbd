"""A metric says which values are better, and one file and one entry point add another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from finetrial.errors import UserError
from finetrial.metrics.metric import (
    Direction,
    GivenMetric,
    Output,
    ReferenceRule,
    SampleMetric,
    Settings,
)
from finetrial.metrics.metric_table import METRICS, computed_metric, find_metric, listed_metrics, metric_named
from finetrial.metrics.rouge import rouge


def toy(name: str = "capitals", *, direction: str = "LOWER") -> str:
    """The one file of a metric: the share of letters that are capitals."""
    return f'''"""The share of a text's letters that are capitals."""

from finetrial.metrics.metric import Direction, SampleMetric, each


def capitals(output, settings):
    letters = [c for c in output.text if c.isalpha()]
    return sum(c.isupper() for c in letters) / len(letters) if letters else None


METRIC = SampleMetric(
    name="{name}", title="Capitals", bounds=(0.0, 1.0), direction=Direction.{direction}, compute=each(capitals)
)
'''


def install(folder: Path, *, code: str, module: str = "capitals", package: str = "shouting") -> None:
    """Put a package there as an installer does: a module, and a dist-info that names its entry point."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[finetrial.metrics]\n{module} = {module}:METRIC\n", encoding="utf-8")


def test_every_name_stands_once_and_every_computed_metric_is_bounded_or_describes():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) == 19
    unbounded = [metric.name for metric in METRICS if metric.bounds is None]
    assert unbounded == ["length_ratio"] == [m.name for m in METRICS if m.direction is Direction.NEITHER]


def test_every_metric_is_listed_with_what_it_says():
    rows = {row.name: row for row in listed_metrics()}
    assert set(rows) == {m.name for m in METRICS} | {"regex:PATTERN", "FILE.py:FUNCTION"}
    assert all(len(row.about) > 15 for row in rows.values())
    assert rows["macro_f1"].per == "arm" and rows["json_fields"].needs_references


def test_the_best_value_is_the_highest_the_lowest_or_none():
    values = {"a": 0.2, "b": 0.5, "c": None, "d": 0.5}
    higher, lower = metric_named("rouge1"), metric_named("loss", lower_is_better=["loss"])
    assert higher.best(values) == ("b", "d") and higher.ranking(values) == ("b", "d", "a")
    assert lower.best(values) == ("a",) and lower.ranking(values) == ("a", "b", "d")
    assert metric_named("length_ratio").best(values) == ()
    assert higher.best({"c": None}) == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rouge1", "from 0 to 1, higher is better"),
        ("length_ratio", "neither higher nor lower is better"),
        ("a column", "higher is better"),
    ],
)
def test_a_metric_says_how_its_values_are_read(name, said):
    assert metric_named(name).scale == said


@pytest.mark.parametrize("rule", list(ReferenceRule))
@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL", "rougeLsum"])
def test_rouge_as_a_metric_is_the_function_under_every_rule(rule, variant):
    outputs = [
        Output("a b c d", ("b a d c", "a b x y")),
        Output("the cats sat\non mats", ("a cat sat on a mat", "cats sat")),
    ]
    settings = Settings(primary="rougeL", metrics=("rougeL", variant), references=rule, stemmer=True)
    found = find_metric(variant)
    assert isinstance(found, SampleMetric)
    for output, value in zip(outputs, found.compute(outputs, settings), strict=True):
        options = {"metrics": (variant,), "stemmer": True, "rule": rule, "primary": "rougeL"}
        expected = rouge(output.text, output.references, **options)
        assert value == expected[variant].fmeasure
        assert found.signature(settings) == str(expected.signatures[variant])


def test_a_package_adds_a_metric_by_one_file_and_one_entry_point(tmp_path, monkeypatch):
    assert find_metric("capitals") is None
    install(tmp_path, code=toy())
    monkeypatch.syspath_prepend(str(tmp_path))
    found = computed_metric("capitals")
    assert isinstance(found, SampleMetric) and found.title == "Capitals" and found.factor == -1
    assert found.compute([Output("AbcD"), Output("1")], Settings()) == [0.5, None]
    assert found.signature(Settings()) == "capitals|tok:none|stem:none|refs:none|v:shouting 1.2"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (toy("rouge1"), "two metrics are named rouge1; got another one from broken 1.2"),
        ("1 / 0\n", "the metric broken of broken 1.2 cannot be loaded; got ZeroDivisionError"),
        ("METRIC = len\n", "broken of broken 1.2 is no metric; got builtin_function_or_method"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(tmp_path, monkeypatch, code, said):
    install(tmp_path, code=code, module="broken", package="broken")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "broken", raising=False)
    with pytest.raises(UserError, match=said):
        find_metric("another")


def test_an_unknown_name_is_one_of_values_from_elsewhere_and_cannot_be_computed():
    assert metric_named("nll") == GivenMetric(name="nll", title="nll")
    with pytest.raises(UserError, match="unknown metric in judging 'nll'"):
        computed_metric("nll")
    with pytest.raises(UserError, match="unknown metric in judging 'grade'"):
        computed_metric("grade")


def test_a_function_of_the_users_gets_the_prompt_and_row_it_names_and_batches_where_it_wants_them(tmp_path):
    (tmp_path / "own.py").write_text(
        "def near(text, references, prompt, row):\n    return len(prompt) + row.tokens\n"
        "def all_of(texts, references, prompts):\n    return [len(texts) + len(p) for p in prompts]\n"
        "def short(texts, references):\n    return [1.0]\n",
        encoding="utf-8",
    )

    @dataclasses.dataclass(frozen=True)
    class FiveTokens:
        tokens: int = 5

    outputs = [Output("x", ("r",), "ab", "a/1/0", FiveTokens()), Output("y", (), "abcd", "a/2/0", FiveTokens())]
    settings = Settings(base=tmp_path)
    assert computed_metric("own.py:near").compute(outputs, settings) == [7.0, 9.0]
    assert computed_metric("own.py:all_of").compute(outputs, settings) == [4.0, 6.0]
    with pytest.raises(UserError, match="returned another number of values; got 1; expected 2"):
        computed_metric("own.py:short").compute(outputs, settings)
