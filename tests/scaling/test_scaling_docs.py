"""The commands of docs/scaling.md and of the README's plan on paper run, and their figures are those said."""

import re
import shlex
from pathlib import Path

from synthetic_runs import synthetic

from finetrial.cli.main import dispatch
from finetrial.scaling.interval import FEW_RUNS, FEWEST_RUNS
from finetrial.scaling.published_laws import BESIROGLU2024
from finetrial.scaling.resampling import Bootstrap

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
STATISTICS = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("## Plan on paper")[1].split("```")[1]
    found = [line.split("#")[0].strip() for line in block.splitlines() if line.startswith("finetrial")]
    return found + re.findall(r"`(finetrial (?:scale|footprint) [^`]+ [^`]+)` \|", DOCS)


def test_every_command_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = synthetic(BESIROGLU2024, runs=12, noise=0.004, seed=1)
    rows = zip(runs.params_R.tolist(), runs.tokens_R.tolist(), runs.loss_R.tolist(), strict=True)
    lines = ["params,tokens,loss", *(",".join(map(repr, row)) for row in rows)]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = commands()
    assert len(found) == 17
    for command in found:
        # the one that asks whether a training fits is answered "no"
        assert dispatch(shlex.split(command)[1:]) == int("--memory" in command), command
        captured = capsys.readouterr()
        assert max(map(len, (captured.out + captured.err).splitlines())) <= 80, command


def test_the_figures_of_the_docs_are_the_codes():
    assert f"fewer than {FEWEST_RUNS} runs" in DOCS
    assert f"{FEWEST_RUNS} to {FEW_RUNS - 1}" in STATISTICS
    for runs, said in ((30, "1.2 and 98.8 % at 30 runs"), (240, "2.3 and 97.7 % at 240")):
        low, high = Bootstrap(None, runs, 0, 0, 0).shares()
        assert said.startswith(f"{100 * low:.1f} and {100 * high:.1f} %")
        assert said in " ".join(STATISTICS.split())
