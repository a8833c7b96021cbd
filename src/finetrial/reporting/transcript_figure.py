"""Write one arm's answers to one prompt as a figure of a paper, in LaTeX.

The manner is that of printed transcripts: `=== POST 4 ===`, then `=== SUMMARY 4-A ===` for each sample, rules
between them, lines folded where a column of typewriter letters ends. Whoever picks the prompt is the author, and
the caption says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from finetrial.errors import UserError, unknown_name
from finetrial.reporting.describe import short_source
from finetrial.reporting.formats import sample_letter
from finetrial.reporting.raters_words import grades_by_sample, said_of
from finetrial.reporting.results import Material
from finetrial.reporting.safe_text import latex, plural, visible
from finetrial.store.records import Sample
from finetrial.trial.schema import Data
from finetrial.units import listing

COLUMNS = 70  # 70 letters of cmtt8, 4.25 points each, are 298 points: an article's column has 345
RULE = "=" * 5
# A page of a 10-point article holds 550 points: 54 lines of 9.5 points (\footnotesize) leave room for a caption.
MOST_LINES = 54
_LEAST_LINES = 2  # of one text, however many there are


def _labels(data: Data) -> tuple[str, str]:
    """What a prompt and an answer are called: as the data's columns are."""
    if data.text_format is not None:
        return "PREFIX", "CONTINUATION"
    named = ((data.prompt, "prompt"), (data.completion, "answer"))
    first, second = ((name or usual).replace("_", " ").upper() for name, usual in named)
    return first, second


def _folded(text: str) -> list[str]:
    """The lines of a text, none longer than COLUMNS."""
    lines = visible(text.strip()).expandtabs(4).split("\n") if text.strip() else ["(no text)"]
    return [part for line in lines for part in textwrap.wrap(line, COLUMNS, replace_whitespace=False) or [""]]


def _cut(texts: Sequence[list[str]], *, most: int) -> list[list[str]]:
    """The texts with the longest ones cut to one length, so that all together have `most` lines at most."""
    longest = max(map(len, texts))
    while longest > _LEAST_LINES and sum(min(len(text), longest) for text in texts) > most:
        longest -= 1
    return [
        text
        if len(text) <= longest
        else [*text[: longest - 1], f"[{plural(len(text) - longest + 1, 'more line')}]"]
        for text in texts
    ]


def _typed(line: str) -> str:
    """A line in typewriter letters, its spaces kept."""
    inner = line.lstrip(" ")
    kept = r"\ " * (len(line) - len(inner)) + r"\ \ ".join(latex(part) for part in inner.split("  "))
    return f"{{}}{kept}" if inner else r"\mbox{}"


def _caption(material: Material, *, arm: str, number: int, samples: Sequence[Sample]) -> str:
    """Whose answers these are, to what, how they were drawn and judged, and who chose the prompt."""
    records, results = material.records, material.results
    trial, chosen = records.trial, next(row for row in results.arms if row.name == arm)
    model = short_source(chosen.base or trial.model)
    outside = bool(records.manifest.get("outputs_only"))
    whose = f"{arm} ({chosen.description}" + (")" if outside else f"; model {model})")
    drawn = plural(len(samples), "sample")
    if not outside and (temperature := _temperature(material, arm)) is not None:
        drawn += f" at temperature {temperature:g}"
    sentences = [f"{results.title}: prompt {number} answered by {whose}, {drawn}"]
    if truncated := [sample_letter(sample.index) for sample in samples if sample.end_reason == "length"]:
        sentences.append(f"Truncated at the limit: {listing(truncated)}")
    grades = grades_by_sample(records)
    judged = [(sample_letter(sample.index), said_of(grades.get(sample.id, ()))) for sample in samples]
    if said := [f"{name} {words}" for name, words in judged if words is not None]:
        sentences.append(f"Graded {'; '.join(said)}")
    return ". ".join([*sentences, "The author chose this prompt; it was not drawn at random."])


def _temperature(material: Material, arm: str) -> float | None:
    """At which the arm was sampled: as the run noted it, else as the trial file says; None where neither does."""
    noted = (material.records.manifest.get("resolved") or {}).get(arm) or {}
    value = noted.get("temperature", material.records.trial.sampling.temperature)
    return float(value) if isinstance(value, (int, float)) else None


def _shown(material: Material, *, arm: str, number: int) -> tuple[Sample, ...]:
    """The samples of an arm for the prompt of this number. Raises UserError where there are none to show."""
    records, results = material.records, material.results
    names = [row.name for row in records.arms if row.samples]
    if arm not in names:
        raise unknown_name("arm that was sampled", arm, names)
    if not 1 <= number <= len(records.prompt_ids):
        raise UserError(
            "there is no such prompt",
            got=str(number),
            expected=f"1 to {len(records.prompt_ids)}, as the report counts",
        )
    prompt_id = records.prompt_ids[number - 1]
    if prompt_id in records.set_aside and not (results.opened or results.locked):
        raise UserError(
            f"prompt {number} awaits blind grading, and who grades must not know which arm wrote what",
            fix="`finetrial unblind` ends the grading; --open shows it, and later grades are not blind.",
        )
    rows = next(one.samples for one in records.arms if one.name == arm)
    found = [
        row for row in rows if row.prompt_id == prompt_id and not row.run
    ]  # of several training runs the first
    if not found:
        raise UserError(f"arm {arm} has no answer to prompt {number}", expected="a prompt that it answered")
    return tuple(sorted(found, key=lambda row: row.index))


def _lines(heads: Sequence[str], texts: Sequence[list[str]]) -> Iterable[str]:
    for head, text in zip(heads, texts, strict=True):
        yield f"=== {head} ==="
        yield from text
        yield RULE


def transcript_figure(material: Material, *, arm: str, number: int) -> str:
    """The figure as a float that any LaTeX document can include. `number`: of the prompt, as the report counts.

    Raises UserError for an arm or a prompt that is not there, and for one that awaits blind grading.
    """
    samples = _shown(material, arm=arm, number=number)
    prompt, answer = _labels(material.records.trial.data)
    first = samples[0]
    heads = [f"{prompt} {number}", *(f"{answer} {number}-{sample_letter(sample.index)}" for sample in samples)]
    source = first.source if first.source is not None else first.prompt
    texts = _cut([_folded(source), *(_folded(s.text) for s in samples)], most=MOST_LINES - 2 * len(heads))
    typed = " \\\\\n".join(f"  {_typed(line)}" for line in _lines(heads, texts))
    caption = _caption(material, arm=arm, number=number, samples=samples)
    return (
        f"\\begin{{figure}}\n  \\footnotesize\\ttfamily\\raggedright\n{typed}\n"
        f"  \\caption{{{latex(caption)}}}\n  \\label{{fig:{_label(arm)}-{number}}}\n\\end{{figure}}\n"
    )


def _label(arm: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in arm)
