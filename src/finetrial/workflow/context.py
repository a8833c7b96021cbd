"""Hold what all steps of one trial share: the trial, its folder, its data, its manifest, and who watches."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from finetrial.errors import unknown_name
from finetrial.evidence.findings import Findings
from finetrial.evidence.pilot import pilot_spread
from finetrial.models.device import pick_device, versions_and_device
from finetrial.models.gguf_base import base_format, gguf_hash, kept_folder
from finetrial.models.pretraining_corpus import Document, read_documents
from finetrial.reporting.write import ReportFiles
from finetrial.sampling.sampler import Sampler
from finetrial.sampling.sampler_table import sampler_named
from finetrial.store.gguf import is_gguf
from finetrial.store.hashes import hash_folder, hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.plan_record import ArmMemory, Plan, read_plan_or_none
from finetrial.store.records import Measured, read_object
from finetrial.training.shared_base import SharedBase
from finetrial.trial.data import examples_hash, read_splits
from finetrial.trial.examples import EncodedSplit, Example, Splits
from finetrial.trial.graded_prompts import RESOLVED_KEY, GradedPrompts, choose_graded_prompts
from finetrial.trial.resolve import PrecisionKey, ResolvedArm, SampledArm, resolve_arms
from finetrial.trial.subset import check_prompt_count, sampled_examples, unit_count
from finetrial.trial.trial_file import LoadedTrial, write_resolved
from finetrial.workflow.bases import Bases
from finetrial.workflow.encodings import Encodings
from finetrial.workflow.forecast import Forecast
from finetrial.workflow.listener import Listener
from finetrial.workflow.resolve_trial import Tokenizers, arm_forms, resolve_trial

# What of a model's or adapter's folder decides its answers.
MODEL_SUFFIXES = (".json", ".safetensors", ".jinja", ".txt", ".model")


@dataclass(frozen=True, slots=True)
class Call:
    """How a run was asked for, as the manifest records it: what repeats it, and from where it came."""

    command: str  # a line of a shell, or a Python expression
    interface: Literal["command line", "Python", "notebook"]


def read_retained(loaded: LoadedTrial) -> tuple[Document, ...]:
    """The documents of `data.retain`; empty where the trial names none."""
    named = loaded.trial.data.retain
    return tuple(read_documents([str(loaded.path(named))])) if named is not None else ()


class TrialContext:
    """One trial in its folder. Reading is done once, when it is first needed."""

    def __init__(
        self,
        loaded: LoadedTrial,
        folder: TrialFolder,
        *,
        listener: Listener,
        only: Sequence[str] | None = None,
        deterministic: bool = False,
        call: Call | None = None,
    ) -> None:
        """`deterministic` asks a GPU for the same bits every time; `call` is the process's own command line unless
        given. Raises UserError for an arm that is unknown."""
        for name in only or ():
            if name not in loaded.trial.arms:
                raise unknown_name("arm", name, loaded.trial.arms)
        self.loaded, self.trial, self.folder, self.listener = loaded, loaded.trial, folder, listener
        self.arms = tuple(arm for arm in self.trial.arms if only is None or arm in only)
        self.manifest = Manifest(folder.manifest)
        self.deterministic = deterministic
        self.call = call or Call(shlex.join(["finetrial", *sys.argv[1:]]), "command line")
        self.shared_base = SharedBase()
        self.together = False  # arms that may share passes do
        self._source_hashes: dict[str, str] = {}
        self._formats: dict[str, str | None] = {}
        self.plan: Plan | None = None  # of memory, time and disk; `finetrial run` and `tune` make one
        self.report: ReportFiles | None = None  # once it is written
        self.findings: Findings | None = None  # what the report rests on
        self.processes = 1  # that tune an arm together, where the run's executor starts several
        self.forecast = Forecast(())  # of what a run has to do; `finetrial run` and `tune` make one

    def leave_out(self, arms: Sequence[str]) -> None:
        """Go on without these arms: they are neither tuned nor sampled."""
        self.arms = tuple(arm for arm in self.arms if arm not in arms)

    def open(self) -> None:
        """Create the folder and write what is run: the resolved trial, the command, versions and device."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        write_resolved(self.loaded, self.folder.trial)
        facts = {
            "command": self.call.command,
            "interface": self.call.interface,
            "deterministic": self.deterministic or None,
            "base_format": self._format_of(self.model),
            "arm_formats": {
                name: found
                for name, arm in self.trial.arms.items()
                if (arm.model or arm.start_from)
                and (found := self._format_of(self.loaded.model_source(self.trial.model_of(name))))
            },
            **versions_and_device(),
        }
        if self.loaded.set_values is not None:
            facts["set"] = {key: dict(value) for key, value in self.loaded.set_values.items()}
        self.manifest.describe(facts)
        for override in self.loaded.remembered:
            self.listener.line(f"settings: {override}, as --set gave it before (set it anew, or change the file)")

    def _format_of(self, source: str) -> str | None:
        """How a base's weights are stored, where that is not what is tuned; said as a line."""
        if source not in self._formats:
            self._formats[source] = self._read_format(source) if is_gguf(source) else None
        return self._formats[source]

    def _read_format(self, source: str) -> str | None:
        file = Path(source)
        if not (kept := kept_folder(file)).exists():
            self.listener.line(f"model: reading {file.name}, once; its dequantised copy stays in {kept}")
        found = base_format(source)
        self.listener.line(f"model: {file.name} is {found}")
        return found

    @cached_property
    def splits(self) -> Splits:
        return read_splits(self.loaded)

    @cached_property
    def tuned_on(self) -> str:
        """The hash of all examples that tuning reads; the held-out ones are not among them."""
        return hash_value([examples_hash(self.splits.train), examples_hash(self.splits.validation)])

    @cached_property
    def heldout(self) -> tuple[Example, ...]:
        """The held-out examples that are sampled."""
        check_prompt_count(self.trial.sampling, heldout=len(self.splits.heldout))
        return sampled_examples(self.splits.heldout, sampling=self.trial.sampling)

    @cached_property
    def retained(self) -> tuple[Document, ...]:
        """The other text on which forgetting is measured; empty where the trial names none."""
        return read_retained(self.loaded)

    @property
    def model(self) -> str:
        """The base: a folder as an absolute path, or a hub id."""
        return self.loaded.model_source(self.trial.model)

    @cached_property
    def bases(self) -> Bases:
        """The configurations of what the arms start from."""
        return Bases(self.loaded)

    def source_hash(self, source: str) -> str:
        """Stands for a model or adapter: a folder's or GGUF file's content, or the hub id and revision."""
        if source not in self._source_hashes:
            self._source_hashes[source] = self._hash_of(source)
        return self._source_hashes[source]

    def _hash_of(self, source: str) -> str:
        folder = Path(source)
        if is_gguf(source):
            return gguf_hash(folder)
        if folder.is_dir():
            return hash_folder(folder, suffixes=MODEL_SUFFIXES)
        return hash_value([source, self.trial.data.revision])

    @cached_property
    def tokenizers(self) -> Tokenizers:
        return Tokenizers(self.loaded)

    def tokenizer(self, arm: str) -> Any:
        """The arm's tokenizer: an external model's own, or the base's with the special tokens of tuned arms."""
        return self.tokenizers.of(arm)

    @cached_property
    def _resolved_arms(self) -> dict[str, ResolvedArm]:
        return resolve_arms(self.loaded, forms=arm_forms(self.trial, tokenizer_of=self.tokenizer))

    def arm(self, name: str) -> ResolvedArm:
        """An arm, resolved. Reads no data: tuning needs no more, and never looks at held-out rows."""
        return self._resolved_arms[name]

    @cached_property
    def resolved(self) -> dict[str, SampledArm]:
        """Every arm with what its `auto` keys chose from the data."""
        positions_of = self.bases.positions_of
        return resolve_trial(self.loaded, self.splits, tokenizers=self.tokenizers, positions_of=positions_of)

    @cached_property
    def sampler(self) -> Sampler:
        """What draws the answers. Raises UserError for one that is unknown."""
        return sampler_named(self.trial.sampling.engine)

    def sampler_of(self, arm: ResolvedArm) -> Sampler:
        """What this arm's answers come from: the trial's sampler, or the one that its method names."""
        named = arm.method.sampler
        return self.sampler if named is None else sampler_named(named)

    def planned_memory(self, arm: str) -> ArmMemory | None:
        """The arm's micro-batch, recomputation and sampling batch as the plan chose them; None without a plan."""
        planned = None if self.plan is None else self.plan.arms.get(arm)
        return None if planned is None else planned.memory

    def precision_of(self, arm: ResolvedArm) -> PrecisionKey:
        """What the arm is computed in: `auto` is what it came to when the run was planned, for every arm and every
        machine that works on the trial. Without a plan for this kind of device it stays `auto`."""
        if arm.precision != "auto":
            return arm.precision
        plan = self.plan or read_plan_or_none(self.folder.plan)
        if plan is None or plan.device.kind != pick_device().type:
            return "auto"
        return next((name for name in get_args(PrecisionKey) if name == plan.precision), "auto")

    @cached_property
    def graded(self) -> GradedPrompts | None:
        """How many prompts `grade_prompts: auto` came to; None where the trial file has a number."""
        judging = self.trial.judging
        if judging.grade_prompts != "auto":
            return None
        return choose_graded_prompts(
            judging,
            arms=len(self.trial.arms),
            per_prompt=min(arm.decoding.per_prompt for arm in self.resolved.values()),
            sampled=len(self.heldout),
            units=unit_count(self.heldout),
            pilot=None if judging.pilot is None else pilot_spread(self.loaded.path(judging.pilot)),
        )

    def note_resolved(self) -> None:
        """Write what every `auto` chose to the manifest: beside the trial file, never into it.

        Of arms that were sampled also whether an adapter was merged.
        """
        resolved = {name: arm.as_dict() | self._adapter_of(name) for name, arm in self.resolved.items()}
        if self.graded is not None:
            resolved[RESOLVED_KEY] = self.graded.as_dict()
        self.manifest.describe({"resolved": resolved})

    def _adapter_of(self, name: str) -> dict[str, str]:
        path = self.folder.measured(name)
        checks = (read_object(path, Measured).sampling_checks or ()) if path.exists() else ()
        return {check.name: check.text for check in checks if check.name == "adapter"}

    @cached_property
    def _encodings(self) -> Encodings:
        return Encodings(self.trial, self.splits, tokenizer_of=self.tokenizer)

    def encoded(self, arm: ResolvedArm, examples: Sequence[Example]) -> EncodedSplit:
        """Examples as this arm's training sees them. Of the splits that tuning reads, done once."""
        return self._encodings.of(arm, examples)
