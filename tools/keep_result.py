"""Keep a run's report in docs/results: tables, figures, the first transcripts, the commands that made it.

python tools/keep_result.py runs/scitldr --as scitldr --command "finetrial run ..." [--command ...]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

TRANSCRIPT = "### === "


def without_texts(report: str) -> str:
    """The report less its sections that quote prompts and samples, with what stands below their headings."""
    kept, level = [], 0
    for line in report.split("\n"):
        heading = re.match(r"(#+) (.*)", line)
        if heading and level and len(heading[1]) <= level:
            level = 0
        if heading and not level and heading[2].startswith(("Transcripts", "What was found")):
            level = len(heading[1])
        if not level:
            kept.append(line)
    return "\n".join(kept)


def main() -> None:
    """Copy the report, cut after the transcripts that are kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--as", dest="name", required=True)
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--transcripts", type=int, default=5)
    parser.add_argument("--no-texts", action="store_true", help="quote no prompt and no sample")
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    chosen = parser.parse_args()
    report = (chosen.run / "report" / "report.md").read_text(encoding="utf-8")
    report = report.replace(str(Path.home()), "~")  # of the recorded command
    if chosen.no_texts:
        report = without_texts(report)
    body, *transcripts = report.split(f"\n{TRANSCRIPT}")
    manifest = json.loads((chosen.run / "manifest.json").read_text(encoding="utf-8"))
    title, _, rest = body.partition("\n")
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    device = manifest["device"]
    lines = [
        title,
        "",
        f"Made on {datetime.now(UTC):%Y-%m-%d} with {versions}, on {device['kind']} ({device['threads']} threads):",
        "",
        "```sh",
        *chosen.command,
        "```",
        rest.replace("](figures/", f"]({chosen.name}/"),
    ]
    text = "\n".join(lines)
    kept = transcripts[: chosen.transcripts]
    text += "".join(f"\n{TRANSCRIPT}{part.split(chr(10) + '## ', 1)[0]}" for part in kept)
    if len(transcripts) > len(kept):
        text += f"\nThe report has {len(transcripts)} transcripts; the first {len(kept)} are kept here.\n"
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / f"{chosen.name}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    figures = chosen.results / chosen.name
    figures.mkdir(exist_ok=True)
    for figure in (chosen.run / "report" / "figures").glob("*.svg"):
        shutil.copy(figure, figures / figure.name)


if __name__ == "__main__":
    main()
