"""Take an arm's answers from a file: joined to the trial's prompts by id, else by text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetrial.errors import UserError
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.methods.outputs.outputs_method import SAMPLER
from finetrial.sampling.elsewhere_arm import ElsewhereArm
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sampler import ArmToSample, LoadedArm, OnProgress
from finetrial.sampling.usage import Usage
from finetrial.store.records import Sample
from finetrial.trial.shingles import normalised

_NAMED = 5  # prompts without an answer that an error names


@dataclass(slots=True)
class OutputsArm(ElsewhereArm):
    """The answers of one arm's file, by the id and by the text of their prompts."""

    arm: str
    per_prompt: int
    file: Path
    by_id: Mapping[str, Sequence[Sample]]
    by_text: Mapping[str, Sequence[Sample]]
    _missing: list[str] = field(default_factory=list)
    _fewer: int = 0
    _more: int = 0

    @property
    def usage(self) -> Usage:
        notes = []
        if self._fewer:
            notes.append(f"{self._fewer} prompts have fewer answers there than sampling.per_prompt asks for")
        if self._more:
            notes.append(f"{self._more} prompts have more answers there: the first {self.per_prompt} count")
        return Usage(missing=tuple(self._missing), notes=tuple(notes))

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield each prompt's answers in the file's order. Raises UserError where no prompt has any."""
        found = {prompt.prompt_id: self._answers(prompt) for prompt in prompts}
        self._missing += [name for name, rows in found.items() if not rows]
        if not any(found.values()):
            shown = ", ".join(list(found)[:_NAMED])
            raise UserError(
                f"arm {self.arm}: no prompt of the trial stands in {self.file.name}",
                got=f"{len(self.by_text):,} other prompts",
                expected=f"the sampled ones, by `prompt_id` ({shown}, ...) or by the text of `prompt` or `source`",
            )
        self._fewer += sum(0 < len(rows) < self.per_prompt for rows in found.values())
        self._more += sum(len(rows) > self.per_prompt for rows in found.values())
        for prompt in prompts:
            for index, row in enumerate(found[prompt.prompt_id][: self.per_prompt]):
                if index not in prompt.drawn:
                    yield replace(
                        row,
                        id=f"{self.arm}/{prompt.prompt_id}/{index}",
                        prompt_id=prompt.prompt_id,
                        group=prompt.group,
                        arm=self.arm,
                        index=index,
                        references=prompt.references,
                        source=prompt.source,
                        turns=None,
                        columns=None,
                    )

    def _answers(self, prompt: PromptTask) -> Sequence[Sample]:
        if prompt.prompt_id in self.by_id:
            return self.by_id[prompt.prompt_id]
        texts = (prompt.source, prompt.text)
        return next((self.by_text[key] for key in map(normalised, texts) if key in self.by_text), ())


@dataclass(frozen=True, slots=True)
class OutputsSampler:
    """Reads files of outputs, and the logs of other tools."""

    name: str = SAMPLER
    log_likelihoods: bool = False
    common_random_numbers: bool = False

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """The file's answers. Raises UserError where it is none, or holds those of several arms."""
        arm, file = to_sample.arm, to_sample.arm.file
        if file is None:
            raise UserError(f"arm {arm.name} names no file of outputs", fix="Set arms.NAME.outputs: FILE.")
        found = read_outputs_file(file, arm=arm.name)
        if found.counts:
            raise UserError(f"{file} holds counts and no texts", expected="rows with prompt and text")
        stated = arm.name if arm.name in found.arms else found.arms[0]
        if len(found.arms) > 1 and stated != arm.name:
            raise UserError(
                f"{file.name} holds the answers of several arms, and none is called {arm.name}",
                got=", ".join(found.arms),
                fix="Name the arm as the file does, or give it a file of its own.",
            )
        by_id: dict[str, list[Sample]] = defaultdict(list)
        by_text: dict[str, list[Sample]] = defaultdict(list)
        for sample in found.samples:
            if sample.arm == stated:
                named = (sample.columns or {}).get("id")
                for key in dict.fromkeys(str(key) for key in (sample.prompt_id, named) if key is not None):
                    by_id[key].append(sample)
                for text in dict.fromkeys((normalised(sample.source or ""), normalised(sample.prompt))):
                    by_text[text].append(sample)
        return OutputsArm(arm.name, arm.decoding.per_prompt, file, dict(by_id), dict(by_text))


OUTPUTS_SAMPLER = OutputsSampler()
