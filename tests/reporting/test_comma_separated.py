"""The CSV files hold every number of results.json and every cell of every table, and no spreadsheet runs a cell; of
outputs from elsewhere the Markdown's tables are whole, too."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from hostile_trial import Made
from test_document import tables_of

from finetrial.evidence.trial_findings import trial_findings
from finetrial.judging.outputs_trial import trial_of_outputs
from finetrial.reporting.document import Document, Paragraph, Section, Table, TableCell, TableRow
from finetrial.reporting.render.comma_separated import render_tables_csv
from finetrial.reporting.results import read_results
from finetrial.reporting.write import write_report
from finetrial.store.manifest import Manifest
from finetrial.workflow.score_step import score_trial


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def at(content: object, pointer: str) -> object:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def count_numbers(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(count_numbers, value.values()))
    if isinstance(value, list):
        return sum(map(count_numbers, value))
    return int(isinstance(value, (int, float)) and not isinstance(value, bool))


def test_numbers_csv_holds_every_number_of_results_json_at_its_pointer(made: Made):
    found, content = rows(made.folder.report / "numbers.csv"), read_results(made.folder)
    assert len(found) == count_numbers(content) > 100
    for row in found:
        assert float(row["value"]) == pytest.approx(at(content, row["pointer"]), rel=1e-11)
    assert len({row["pointer"] for row in found}) == len(found)


def test_tables_csv_holds_every_cell_of_every_table_of_the_page(made: Made):
    found = rows(made.folder.report / "tables.csv")
    assert len(found) == len(re.findall(r"<td[ >]", made.page)) > 30
    means = {(row["row"], row["column"]): row["shown"] for row in found if row["table"] == "scores"}
    metrics = read_results(made.folder)["metrics"]
    assert means["full", "ROUGE-1"] == f"{metrics['rouge1']['full']['mean']:.3f}"
    best = [row["row"] for row in found if row["best"] and row["column"] == "ROUGE-1"]
    assert best == [arm for arm, cell in metrics["rouge1"].items() if cell["best"]]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-x", "'-x"),
        ("+0.214", "+0.214"),
        ("-3", "-3"),
        ('a "quoted", cell', 'a "quoted", cell'),
    ],
)
def test_no_cell_is_read_as_a_formula(text, written):
    table = Table("t", "Arm", (text,), (TableRow(text, (TableCell(text, (text,)),)),))
    lead = Section("opening", "Verdict", (Paragraph("One sentence."),))
    made = render_tables_csv(Document("t", "t", (), {}, lead, (Section("s", "S", (table,)),), "0"))
    head, line = csv.reader(made.splitlines())
    assert head[2:6] == ["row", "column", "shown", "below"]
    assert line[2:6] == [written] * 4


def pipes(line: str) -> int:
    """The cells of a line of a pipe table as GitHub counts them."""
    return len(re.split(r"(?<!\\)\|", line.strip().strip("|")))


def test_every_table_of_an_outputs_only_report_is_whole_in_markdown(tmp_path):
    said = [
        {"prompt": f"p{i} | a\nb", "arm": arm, "text": f"{arm} says {i} | so\n| x |", "reference": f"b says {i}"}
        for i in range(6)
        for arm in ("a", "b", "c")
    ]
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
    loaded, folder, _ = trial_of_outputs(path, out=tmp_path / "run", criterion="True.")
    score_trial(folder, loaded.trial, manifest=Manifest(folder.manifest), base=loaded.base, training=lambda: None)
    text = write_report(folder, findings=trial_findings(folder)).markdown.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) >= 3 and len(tables_of(text)) == len(blocks)
    for block in blocks:
        lines = block.splitlines()
        assert re.fullmatch(r"\| ---:?( \| ---:?)* \|", lines[1]), lines[1]
        assert len({pipes(line) for line in lines}) == 1 and len(lines) > 2
    assert all(f"\n\n{block}" in text for block in blocks)
