"""Let a trial's model judges answer, from its folder or from a trial file that names other judges."""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.api.judged import score_anew
from finetrial.errors import AnswerIsNo, UserError, unknown_name
from finetrial.judging.model_judge import JudgeRun, standing
from finetrial.store.folder_lock import folder_lock
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.trial.schema import Judging
from finetrial.trial.trial_file import LoadedTrial, load_trial, write_resolved
from finetrial.workflow.judge_step import judge_steps
from finetrial.workflow.listener import Listener
from finetrial.workflow.walk import run_step


def judge_folder(
    loaded: LoadedTrial, folder: TrialFolder, *, judges: Sequence[str] | None, listener: Listener
) -> tuple[JudgeRun, ...]:
    """Ask the judges what is open. A judge that stops does not stop the others; what each lacks stands in its run.

    Raises UserError where the trial names no judge, where the endpoint refuses, and where the trial file was
    changed elsewhere than in its judges.
    """
    settings = {judge.name: judge for judge in loaded.trial.judging.judges}
    if not settings:
        raise UserError(
            "this trial names no model judge",
            fix="Name one under judging.judges: {name: ..., endpoint: {url: ..., model: ...}}.",
        )
    for name in judges or ():
        if name not in settings:
            raise unknown_name("judge", name, settings)
    with folder_lock(folder.root):
        _take_over(loaded, folder)
        notes: list[str] = []
        score_anew(loaded, folder, notes=notes)
        for note in notes:
            listener.line(note)
        manifest = Manifest(folder.manifest)
        steps = judge_steps(
            folder,
            loaded,
            manifest=manifest,
            say=listener.line,
            on_answer=lambda done, of: listener.step("judging", done=done, total=of),
        )
        chosen = [step for step in steps if judges is None or step.judge.name in judges]
        for step in chosen:
            try:
                run_step(step, manifest=manifest, say=listener.line)
            except AnswerIsNo as error:
                listener.line(f"{step.subject}: {error}")
            finally:
                listener.end()
        return tuple(standing(folder, step.judge) for step in chosen)


def _take_over(loaded: LoadedTrial, folder: TrialFolder) -> None:
    """Write the judges of the trial file into the folder's own. Raises UserError where more was changed."""
    if not folder.trial.exists():
        raise UserError(f"{folder.root} was not run yet", fix="`finetrial run` samples the arms first.")
    held = load_trial(folder.root).trial.judging
    if held == loaded.trial.judging:
        return
    if _without_judges(held) != _without_judges(loaded.trial.judging):
        raise UserError(
            "the trial is judged otherwise than its folder says, in more than its judges",
            fix="`finetrial run` takes a changed trial file over.",
        )
    write_resolved(loaded, folder.trial)


def _without_judges(judging: Judging) -> Judging:
    return judging.model_copy(update={"judges": ()})
