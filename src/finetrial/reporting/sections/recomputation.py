"""Say how the trial and its report are computed again: commands, versions, seeds, signatures and hashes."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.document import Block, Commands, Fact, Facts, Folded, Paragraph, SectionMaker
from finetrial.reporting.gather import PROVENANCE, TrialRecords, manifest_facts
from finetrial.reporting.results import Material
from finetrial.store.records import as_object
from finetrial.units import listing

_COMMANDS = """\
finetrial verify .      # every number and file compared with the records; exit status 1 where one differs
finetrial report .      # this report again, from its records
finetrial run .         # the trial again, from its data; what is unchanged is skipped"""


# What of the manifest stands elsewhere in the report, or says nothing to a reader.
_NOT_LISTED = {"steps", "begun", "records", "seeds", "failures", "resolved", "base_format", *PROVENANCE}


def _recorded(records: TrialRecords) -> tuple[Fact, ...]:
    """The command, versions, seeds and device that the manifest recorded, under the names it gives them."""
    trial = records.trial
    others = manifest_facts(records.manifest, [name for name in records.manifest if name not in _NOT_LISTED])
    facts = [Fact(label, text) for label, text in (records.provenance | others).items()]
    seeds = f"data {trial.data.seed}, training {trial.training.seed}, sampling and grading {trial.sampling.seed}"
    fast = [Fact(f"Fast paths, {names}", text) for text, names in _fast_paths(records).items()]
    return (*facts, Fact("Seeds", seeds), *fast)


def _fast_paths(records: TrialRecords) -> dict[str, str]:
    """Which fast ways of computing were on, and why one was not: what there is to say -> the arms it is said of."""
    arms: dict[str, list[str]] = {}
    for arm in records.arms:
        paths = () if arm.measured is None else as_object(arm.measured)["fast_paths"] or ()
        on = [path["name"] for path in paths if path["on"]]
        off = [f"{path['name']} ({path['reason']})" for path in paths if not path["on"]]
        text = "; ".join([f"on: {', '.join(on)}"] * bool(on) + [f"off: {', '.join(off)}"] * bool(off))
        if text:
            arms.setdefault(text, []).append(arm.name)
    return {text: listing(names) for text, names in arms.items()}


def _recompute(material: Material) -> Iterable[Block]:
    results = material.results
    yield Paragraph("Every number above follows from the records beside this report. In the trial’s folder:")
    yield Commands(_COMMANDS)
    yield Facts(_recorded(material.records))
    if results.signatures:
        signatures = (Fact(metric_name(metric), text) for metric, text in results.signatures.items())
        yield Facts(tuple(signatures), code=True)
    hashes = Facts(tuple(Fact(name, digest) for name, digest in results.hashes.items()), code=True)
    yield Folded("SHA-256 of the records that were read", (hashes,))


RECOMPUTE = SectionMaker("recompute", "How to recompute", _recompute)
