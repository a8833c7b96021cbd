"""Let a model judge answer, as a step of the trial. Needs no torch where the judge is behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.errors import AnswerIsNo
from finetrial.judging.endpoint import Asker
from finetrial.judging.model_judge import JudgeRun, OnAnswer, run_judge
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.trial.judge_questions import parameters_of
from finetrial.trial.judges import JudgeSetting
from finetrial.trial.trial_file import LoadedTrial
from finetrial.workflow.step import Stage, StepDefaults


def silent(done: int, of: int) -> None:
    """Say nothing of the progress."""


@dataclass(frozen=True, slots=True)
class JudgeStep(StepDefaults):
    """The answers of one model judge to every question about the trial's samples, and the grades in them."""

    folder: TrialFolder
    loaded: LoadedTrial = field(repr=False)
    judge: JudgeSetting
    manifest: Manifest = field(repr=False)
    say: Callable[[str], None] = field(repr=False)
    on_answer: OnAnswer = field(default=silent, repr=False)
    after: tuple[str, ...] = ("score",)
    stage: Stage = Stage.JUDGE
    arm: str | None = None
    recorded: bool = True
    done_text: str | None = "has answered everything already"
    again_text: str | None = "asked again"

    @property
    def name(self) -> str:
        return f"judge:{self.judge.name}"

    @property
    def subject(self) -> str:
        return f"judge {self.judge.name}"

    def inputs(self) -> Mapping[str, Any]:
        endpoint = self.judge.endpoint
        return {
            "the samples to judge": [
                self.manifest.file_hash(p.name) for p in (self.folder.items, self.folder.pairs)
            ],
            "judging.criterion": self.loaded.trial.judging.criterion,
            "the judge's model": [self.judge.model_name, None if endpoint is None else endpoint.url],
            "the judge's rubric": self.judge.rubric,
            "the judge's order": self.judge.order,
            **{f"the judge's {key}": value for key, value in parameters_of(self.judge).items()},
        }

    def outputs(self) -> Sequence[Path]:
        path = self.folder.judge(self.judge.name)
        return [path] if path.exists() else []

    def own_files(self) -> Sequence[Path]:
        return ()  # what was paid for stays where it is, whatever is asked next

    def execute(self) -> None:
        """Ask what is open. Raises AnswerIsNo where something is still open afterwards; what came is kept."""
        done = run_judge(self.folder, self.judge, asker=self._local_model(), on_answer=self.on_answer)
        self.say(f"{self.subject}: {sentence(done)}")
        if not done.complete:
            raise AnswerIsNo(
                f"{done.answered} of {done.questions} questions are answered, for {done.stopped}",
                fix="`finetrial judge` asks what is missing and nothing else; a spent budget must be raised first.",
            )

    def _local_model(self) -> Asker | None:
        """The model in this process; None where an endpoint answers. It is loaded at the first question."""
        if self.judge.model is None:
            return None
        from finetrial.workflow.local_judge import LocalJudge  # torch, which an endpoint does without

        return LocalJudge(self.judge, self.loaded)


def sentence(done: JudgeRun) -> str:
    """What a judge did, in words."""
    text = f"{done.answered} of {done.questions} questions answered, {done.asked} of them now"
    text += f", in {done.requests} requests"
    if done.money is not None:
        text += f" for {done.money:.4g}"
    if done.unreadable:
        text += f"; {done.unreadable} answers are not of the form asked for and count as missing"
    return text


def judge_steps(
    folder: TrialFolder,
    loaded: LoadedTrial,
    *,
    manifest: Manifest,
    say: Callable[[str], None],
    on_answer: OnAnswer = silent,
) -> list[JudgeStep]:
    """A step for each of the trial's judges."""
    return [JudgeStep(folder, loaded, judge, manifest, say, on_answer) for judge in loaded.trial.judging.judges]
