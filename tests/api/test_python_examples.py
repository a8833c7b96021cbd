"""The example notebook and the README's Python run as they are printed."""

import json
import re
from html import escape
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook" / "trial_in_python.ipynb"


@pytest.mark.long
def test_the_notebook_goes_the_whole_way_and_its_manifest_says_that_a_notebook_called():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none is printed that was not computed
    asked = 'import json; print(json.dumps(json.loads(trial.folder.manifest.read_text())["interface"]))'
    notebook.cells.append(nbformat.v4.new_code_cell(asked))
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()  # raises where a cell does
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    def shown(source, kind):
        (cell,) = (cell for cell in cells if source in cell.source)
        data = [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]
        text = [output["text"] for output in cell.outputs if output.output_type == "stream"]
        return "".join(data if kind != "stream" else text)

    check = shown("trial.check()", "text/html")
    assert "»" in check and "no prompt stands in two splits" in check and "\x1b" not in check
    result = shown("result = trial.run()", "text/html")
    verdict = shown("print(result.verdict)", "stream").splitlines()[0]
    assert verdict and escape(verdict) in result and result.count("data:image/svg+xml") == 3
    assert shown('result.figures["losses"]', "image/svg+xml").lstrip().startswith("<")
    assert "<table" in shown("result.means", "text/html")
    assert "files agree" in shown("trial.verify()", "stream")
    assert json.loads(shown(asked, "stream")) == "notebook"


def test_the_readmes_python_runs(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    rows = [{"prompt": f"Where is ticket {i}?", "completion": f"It is with team {i % 7}."} for i in range(80)]
    (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["result"].verdict in capsys.readouterr().out
    assert names["again"].primary == "rougeL"
    assert (tmp_path / "runs/tickets/report/index.html").exists()
