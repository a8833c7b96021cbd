"""Sample the arms of a trial on prompts of one's own. Nothing is written into the trial's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from finetrial.errors import FinetrialError, UserError
from finetrial.sampling.most_likely import most_likely
from finetrial.sampling.prompts import arm_prompts
from finetrial.sampling.sampler import ArmToSample, LoadedArm
from finetrial.sampling.strip import decoder, strip_sample
from finetrial.store.grades import grading_state
from finetrial.store.records import Sample
from finetrial.trial.examples import Example
from finetrial.trial.graded_prompts import graded_prompts
from finetrial.trial.shingles import normalised
from finetrial.trial.subset import grading_prompts
from finetrial.workflow.context import TrialContext
from finetrial.workflow.sample_inputs import check_tuned


@dataclass(slots=True)
class OwnPrompts:
    """The arms of a trial, asked what one likes. Of an arm that was tuned several times the first run answers."""

    context: TrialContext
    keep: bool = False  # the models stay in memory: for prompts that come one after the other
    best: bool = False  # of each prompt's answers the most likely one alone
    failures: dict[str, FinetrialError] = field(default_factory=dict)  # arms that could not answer
    _loaded: dict[str, LoadedArm] = field(default_factory=dict)

    def answer(self, prompts: Sequence[Example]) -> Iterator[Sample]:
        """Every arm's answers, arm by arm, each prompt's in the order of the list.

        Raises UserError for a prompt whose texts people are still to grade blind.
        """
        self._refuse_set_aside(prompts)
        order = {prompt.id: place for place, prompt in enumerate(prompts)}
        for name in self.context.arms:
            try:
                samples = sorted(self._of_arm(name, prompts), key=lambda s: (order[s.prompt_id], s.index))
                chosen = most_likely(samples) if self.best else samples
            except FinetrialError as error:
                self.failures[name] = error
                continue
            self.failures.pop(name, None)
            yield from chosen

    def load(self) -> None:
        """Load every arm now, rather than with the first prompt."""
        for name in self.context.arms:
            try:
                self._arm(name)
            except FinetrialError as error:
                self.failures[name] = error

    def _arm(self, name: str) -> LoadedArm:
        if name in self._loaded:
            return self._loaded[name]
        context, arm = self.context, self.context.resolved[name]
        check_tuned(context, arm)
        if arm.method.sampler is not None or arm.method.deployed_from is not None:
            raise UserError(
                f"arm {name} answers elsewhere, and only what `finetrial run` asks it",
                fix="Ask the arms that are run here: --arm NAME.",
            )
        to_sample = ArmToSample(
            arm=arm,
            folder=context.folder.arm(name) if arm.tuned else None,
            tokenizer=context.tokenizer(name),
            trust_remote_code=context.trial.trust_remote_code,
        )
        loaded = context.sampler.load(to_sample)
        if self.keep:
            self._loaded[name] = loaded
        return loaded

    def _of_arm(self, name: str, prompts: Sequence[Example]) -> Iterator[Sample]:
        context, loaded = self.context, self._arm(name)
        tasks = arm_prompts(
            context.resolved[name],
            prompts,
            data=context.trial.data,
            tokenizer=context.tokenizer(name),
            train=context.splits.train,
            context=loaded.positions,
        )
        total = len(tasks) * context.resolved[name].decoding.per_prompt

        def progress(tokens: int, finished: int) -> None:
            context.listener.step(f"{name}, sampling", done=finished, total=total)

        strip = context.resolved[name].decoding.strip
        decode = None if strip is None else decoder(context.tokenizer(name), strip=strip)
        for sample in loaded.sample(tasks, on_progress=progress):
            yield strip_sample(sample, strip=strip, decode=decode)
        context.listener.end()

    def _refuse_set_aside(self, prompts: Sequence[Example]) -> None:
        """Whoever reads an arm's answers to a prompt by name cannot grade that prompt blind."""
        context = self.context
        seed = context.trial.sampling.seed
        if not context.folder.items.exists() or grading_state(context.folder).locked_at is not None:
            return
        count = graded_prompts(context.trial.judging, manifest=context.manifest.content)
        aside = grading_prompts([e.id for e in context.heldout], count=count, seed=seed)
        texts = {normalised(example.prompt) for example in context.heldout if example.id in aside}
        for prompt in prompts:
            if normalised(prompt.prompt) in texts:
                raise UserError(
                    f"{prompt.origin} is a prompt whose answers are still to be graded blind",
                    fix="Ask it once the grades are locked: `finetrial unblind`.",
                )
