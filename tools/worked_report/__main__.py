"""Build a worked report in HTML, Markdown and LaTeX, and its PDF where there is a LaTeX.

PYTHONPATH=tools python -m worked_report examples/worked_report/inputs.yaml --out docs/worked-report
PYTHONPATH=tools python -m worked_report --keep runs/posts --as examples/worked_report/posts.json
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from finetrial.errors import FinetrialError, UserError
from finetrial.reporting.render.html import render_html
from finetrial.reporting.render.latex import render_article
from finetrial.reporting.render.markdown import render_markdown
from finetrial.store.files import atomic_bytes, atomic_text
from finetrial.store.layout import TrialFolder
from finetrial.units import listing
from worked_report.compose import compose
from worked_report.inputs import read_inputs
from worked_report.trial_record import keep, record_of

_ENGINES = ("xelatex", "lualatex", "tectonic")
_RUNS = 2  # the second knows the page numbers of the first


def pdf_of(tex: str) -> bytes | None:
    """The PDF of an article; None where no LaTeX is installed. Raises UserError where it does not compile."""
    engine = next((name for name in _ENGINES if shutil.which(name)), None)
    if engine is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "report.tex")
        source.write_text(tex, encoding="utf-8")
        options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
        # the same text gives the same bytes
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
        for _ in range(1 if engine == "tectonic" else _RUNS):
            done = subprocess.run(
                [engine, *options, source.name], cwd=folder, capture_output=True, text=True, env=environment
            )
            if done.returncode:
                raise UserError(f"{engine} does not compile the report", got=done.stdout[-2000:])
        log = source.with_suffix(".log")
        if log.exists():
            lost = re.findall(r"Missing character: There is no (\S+)", log.read_text("utf-8", errors="replace"))
            if lost:
                print(f"the PDF's font has no {listing(sorted(set(lost)))}", file=sys.stderr)
        return source.with_suffix(".pdf").read_bytes()


def build(inputs_path: Path, out: Path) -> list[Path]:
    """Write the report's files and return them."""
    inputs = read_inputs(inputs_path)
    command = f"PYTHONPATH=tools python -m worked_report {inputs_path}"
    document = compose(inputs, base=inputs_path.parent, command=command)
    tex = render_article(document)
    forms = {".html": render_html(document), ".md": render_markdown(document), ".tex": tex}
    written = []
    for suffix, text in forms.items():
        written.append(out / f"{inputs.name}{suffix}")
        atomic_text(written[-1], text)
    pdf = pdf_of(tex)
    if pdf is None:
        print(f"no PDF: none of {', '.join(_ENGINES)} is installed", file=sys.stderr)
    else:
        written.append(out / f"{inputs.name}.pdf")
        atomic_bytes(written[-1], pdf)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Build a report, or keep a trial's record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("inputs", type=Path, nargs="?", help="the YAML file of inputs")
    parser.add_argument("--out", type=Path, default=Path("docs/worked-report"))
    parser.add_argument("--keep", type=Path, help="a trial folder whose record is to be kept")
    parser.add_argument("--as", dest="kept", type=Path, help="with --keep: the file it is kept in")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.keep is not None and chosen.kept is not None:
            keep(record_of(TrialFolder(chosen.keep)), chosen.kept)
            print(chosen.kept)
        elif chosen.inputs is not None:
            for path in build(chosen.inputs, chosen.out):
                print(path)
        else:
            parser.error("give a file of inputs, or --keep FOLDER --as FILE")
    except FinetrialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
