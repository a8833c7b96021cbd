"""Check that template, prompt and completion fit together.

What is looked for: a marker such as `TL;DR:` that the data already end in and the template adds again, and white
space at the seam that a tokenizer would stumble over.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.trial.data_findings import Finding, some
from finetrial.trial.examples import Example
from finetrial.trial.shingles import normalised
from finetrial.trial.template import fixed_end, fixed_start, render_prompt

# A marker that fewer prompts than this share end in is coincidence (assumption).
DOUBLED_SHARE = 0.1


def doubled_markers(examples: Sequence[Example], *, template: str, arms: str) -> list[Finding]:
    """Findings for a template that repeats what the prompts begin or end with."""
    end, start = normalised(fixed_end(template)), normalised(fixed_start(template))
    findings = []
    for marker, place, hits in (
        (end, "end", [e for e in examples if end and normalised(e.prompt).endswith(end)]),
        (start, "begin", [e for e in examples if start and normalised(e.prompt).startswith(start)]),
    ):
        if hits and len(hits) >= DOUBLED_SHARE * len(examples):
            findings.append(
                Finding(
                    "doubled_marker",
                    f"{len(hits):,} of {len(examples):,} prompts already {place} with {marker!r}, and the template "
                    f"of {arms} adds it again",
                    some(example.origin for example in hits),
                )
            )
    return findings


def seam_findings(examples: Sequence[Example], *, template: str, arms: str) -> list[Finding]:
    """Findings for white space around the seam of prompt and completion."""
    double: list[str] = []
    bare: list[str] = []
    examples = [example for example in examples if example.references]
    for example in examples:
        prompt, completion = render_prompt(example, template=template), example.references[0]
        if prompt[-1:].isspace() and completion[:1].isspace():
            double.append(example.origin)
        elif prompt[-1:] in (" ", "\t", "\u00a0"):
            bare.append(example.origin)
    total = f"of {len(examples):,}"
    findings = []
    if double:
        text = f"double space at the seam of {len(double):,} {total} examples in {arms}: the prompt ends in white "
        findings.append(Finding("double_space", text + "space and the completion begins with it", some(double)))
    if bare:
        text = (
            f"missing space at the seam of {len(bare):,} {total} completions in {arms}: the prompt ends in a "
            "space, which most tokenizers join to the word that follows; end the prompt without it"
        )
        findings.append(Finding("missing_space", text, some(bare)))
    return findings
