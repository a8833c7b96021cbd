"""A CSV with semicolons is read wherever a CSV is read: data, outputs, grades, training runs."""

import json

import pytest

from finetrial.api.run_table import read_runs
from finetrial.cli.main import dispatch
from finetrial.delimiters import delimiter_of
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.import_grades import import_files
from finetrial.store.grades import read_grades
from finetrial.store.layout import TrialFolder
from finetrial.trial.rows import read_file

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}


@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS)
def test_the_separator_is_the_one_that_stands_in_the_header(separator):
    assert delimiter_of(separator.join(("a", "b")) + "\n1;2,3\t4\n") == separator
    quoted = separator.join(('"one; two, three"', '"line\nbreak, too;"', "c"))
    assert delimiter_of(quoted + "\n") == separator
    assert delimiter_of('\n"a ""b; c"" d"' + separator + "e") == separator


def test_one_column_has_no_separator_and_a_tsv_has_tabs():
    assert delimiter_of("text\none; two; three\n") == ","
    assert delimiter_of("", suffix=".csv") == ","
    assert delimiter_of("a,b;c\n", suffix=".tsv") == "\t"


def table(path, rows, separator):
    lines = [
        separator.join(f'"{cell}"' if any(c in cell for c in ",;\t") else cell for cell in row) for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")  # with the mark that spreadsheets write
    return path


@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS)
def test_every_reader_of_a_csv_reads_it(tmp_path, capsys, separator):
    data = table(tmp_path / "data.csv", [("prompt", "completion"), ("a, b; c", "d")], separator)
    assert [dict(row.values) for row in read_file(data).rows] == [{"prompt": "a, b; c", "completion": "d"}]

    rows = [
        ("prompt", "arm", "text"),
        *((f"Q{p}; or, {p}", arm, f"{arm} says {p}") for p in range(3) for arm in "ab"),
    ]
    outputs = table(tmp_path / "outs.csv", rows, separator)
    assert [(s.prompt, s.arm) for s in read_outputs_file(outputs).samples][:2] == [
        ("Q0; or, 0", "a"),
        ("Q0; or, 0", "b"),
    ]
    assert dispatch(["score", str(outputs), "--value", "text", "--json"]) == 2  # read; `text` is no number
    assert "is not a number" in capsys.readouterr().out

    assert dispatch(["grade", str(outputs), "--export", str(tmp_path / "page.html")]) == 0
    folder = TrialFolder(tmp_path / "runs" / "outs")
    session = GradingSession(folder)
    item = json.loads(folder.items.read_text().splitlines()[0])
    graded = [("rater", "value", "prompt", "text"), ("Anna", "good", item["prompt"], item["text"])]
    import_files(session, [table(tmp_path / "grades.csv", graded, separator)])
    two = [("rater", "value", "item_id"), ("Ben", "bad", item["item_id"])]
    import_files(session, [table(tmp_path / "two.csv", two, separator)])
    session.close()
    assert [(g.rater, g.value) for g in read_grades(folder)] == [("Anna", "good"), ("Ben", "bad")]


@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS)
def test_training_runs_are_read_with_any_separator(tmp_path, separator):
    # Losses of the Chinchilla law itself (E 1.69, A 406.4, B 410.7, exponents 0.34 and 0.28), so that a fit exists.
    runs = [
        (f"{n:.0f}", f"{d:.0f}", f"{1.69 + 406.4 / n**0.34 + 410.7 / d**0.28:.6f}")
        for n in (1e7, 3e7, 1e8, 3e8, 1e9)
        for d in (1e9, 3e9, 1e10, 3e10)
    ]
    path = table(tmp_path / "runs.csv", [("params", "tokens", "loss"), *runs], separator)
    assert len(read_runs(path, columns=None)) == 20
