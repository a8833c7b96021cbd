"""A trial in Python: loaded from its file or made here, checked, run, graded, reported and verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.api.calls import interface, load_call, method_call, override_texts, path_texts, trial_call
from finetrial.api.memory import keep_rows, placed, write_kept
from finetrial.api.packages import optional_packages
from finetrial.errors import FinetrialError
from finetrial.store.layout import TrialFolder
from finetrial.trial.folder import open_trial
from finetrial.trial.sweep import chosen_arms
from finetrial.trial.trial_file import LoadedTrial, trial_of, with_prompt_files

if TYPE_CHECKING:
    from finetrial.api.calls import Overrides
    from finetrial.api.cleaned import Cleaned
    from finetrial.api.frames import Table
    from finetrial.api.grading import GradingPage
    from finetrial.api.result import TrialResult
    from finetrial.api.trial_check import CheckResult
    from finetrial.evidence.findings import Findings
    from finetrial.judging.model_judge import JudgeRun
    from finetrial.judging.unblinding import Unblinded
    from finetrial.reporting.verification import Verification
    from finetrial.reporting.write import ReportFiles
    from finetrial.store.records import Score
    from finetrial.trial.examples import Example
    from finetrial.workflow.context import TrialContext
    from finetrial.workflow.listener import Listener
    from finetrial.workflow.prompt_answers import OwnPrompts


class Trial:
    """A declared comparison and the folder that it runs in.

    A method that needs a package which is not installed raises MissingPackage; what the user can mend is a
    UserError, with the same four parts as on the command line.
    """

    loaded: LoadedTrial
    folder: TrialFolder

    def __init__(
        self,
        *,
        model: str | Path,
        data: Any,
        arms: Mapping[str, Mapping[str, Any] | None],
        name: str = "trial",
        folder: str | Path | None = None,
        training: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        judging: Mapping[str, Any] | None = None,
        report: Mapping[str, Any] | None = None,
        prices: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Declare a trial with the keys of a trial file; relative paths start from the current folder.

        `data` is a source's name, rows in memory (a list of mappings or a DataFrame), {"train": rows, "heldout":
        rows}, or a whole `data` block whose `source` is one of these. Rows in memory are written into the trial's
        folder, `folder` or else runs/<name>. Raises UserError for an unknown key and for an invalid value.
        """
        given = Path(folder) if folder is not None else Path("runs") / name
        root = given.absolute()  # a notebook may change its folder
        block, self._kept = keep_rows(data)
        sections = {"training": training, "sampling": sampling, "judging": judging, "report": report}
        sections["prices"] = prices
        content: dict[str, Any] = {
            "trial": name,
            "model": str(model),
            "data": placed(block, kept=self._kept, root=root),
            "arms": {arm: None if keys is None else path_texts(keys) for arm, keys in arms.items()},
            **{key: dict(section) for key, section in sections.items() if section is not None},
            **({"trust_remote_code": True} if trust_remote_code else {}),
        }
        trial = trial_of(content, origin="Trial(...)")
        self.loaded = with_prompt_files(LoadedTrial(trial=trial, base=Path.cwd()))
        self.folder = TrialFolder(root)
        self._made_by = trial_call(content | {"data": block}, folder=given)
        self._command: str | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        folder: str | Path | None = None,
        overrides: Overrides = (),
        command: str | None = None,
    ) -> Trial:
        """Load a trial file, or the folder of a trial that was run.

        `folder` is where a trial file runs, runs/<name> beside it unless given. `overrides` change values of the
        file: {"arms.lora.rank": 8} or ["arms.lora.rank=8"]. `command` is what the manifest records of how the trial
        was asked for; the Python call unless given.
        """
        changed = override_texts(overrides)
        trial = cls.__new__(cls)
        out = None if folder is None else Path(folder)
        trial.loaded, trial.folder = open_trial(Path(path), out=out, overrides=changed)
        trial._kept = ()
        trial._made_by = load_call(path, folder=folder, overrides=changed)
        trial._command = command
        return trial

    def __repr__(self) -> str:
        arms = ", ".join(self.loaded.trial.arms)
        return f"<Trial {self.loaded.trial.trial}: {self.loaded.trial.model}, arms {arms}, in {self.folder.root}>"

    def check(self) -> CheckResult:
        """Read the data as training would, and say what is kept, truncated, dropped and trained, and what `run`
        would refuse.

        Writes nothing but rows that were given in memory. Raises UserError, with every mistake, where the data
        cannot be read or trained on; other mistakes stand in the result, all together as its `error`.
        """
        from finetrial.api.trial_check import check_trial

        self._write_rows()
        return check_trial(self.loaded, folder=self.folder)

    def run(
        self,
        *,
        arms: Sequence[str] | None = None,
        progress: bool | Listener = True,
        deterministic: bool = False,
        even_if_it_does_not_fit: bool = False,
        early: bool = False,
        on: str = "here",
        together: bool = False,
    ) -> TrialResult:
        """Check the data, tune every arm, sample, score and write the report; what is done already is skipped.

        `arms` limits the run to these. `progress` shows a widget in a notebook that has ipywidgets, a bar on a
        terminal and lines elsewhere; False shows nothing. `deterministic` asks a GPU for the same bits every time.
        `early` drops arms that cannot win by pilots. Steps run `on` `here`, `ray` or `slurm`; `together` tunes LoRA
        arms that may share passes in one. Raises the first error where all fail, AnswerIsNo for what cannot fit.
        """
        from finetrial.api.progress import watched

        arms = self._chosen(arms)
        with optional_packages("running a trial"):
            from finetrial.workflow.processes import leading
            from finetrial.workflow.run import run_trial
        with leading(on, together=together) as place, watched(progress) as listener:
            method = method_call(
                "run",
                arms=arms,
                deterministic=deterministic,
                even_if_it_does_not_fit=even_if_it_does_not_fit,
                early=early,
                on=on,
                together=together,
            )
            context = self._context(listener, only=arms, deterministic=deterministic, method=method)
            done = run_trial(context, executor=place, early=early, even_if_it_does_not_fit=even_if_it_does_not_fit)
        return self._result(failures=done.failures, findings=done.findings, files=done.report)

    def smoke(self) -> Trial:
        """The same trial on ten rows, in a folder of its own beside this one: its `run()` takes the whole path in a
        minute. Nothing of it is evidence, and this trial reads nothing of it."""
        from finetrial.trial.data import read_splits
        from finetrial.trial.smoke import smoke_folder, smoke_trial

        self._write_rows()
        small = type(self).__new__(type(self))
        small.loaded = smoke_trial(self.loaded, read_splits(self.loaded))
        small.folder = smoke_folder(self.folder)
        small._kept = ()
        small._made_by, small._command = self._made_by + method_call("smoke"), self._command
        return small

    def tune(
        self,
        *,
        arms: Sequence[str] | None = None,
        progress: bool | Listener = True,
        deterministic: bool = False,
        on: str = "here",
        together: bool = False,
    ) -> Mapping[str, FinetrialError]:
        """Check the data and tune the arms, and nothing else. Returns the arms that failed, with their errors."""
        from finetrial.api.progress import watched

        arms = self._chosen(arms)
        with optional_packages("tuning"):
            from finetrial.workflow.processes import leading
            from finetrial.workflow.run import tune_trial
        made = method_call("tune", arms=arms, deterministic=deterministic, on=on, together=together)
        with leading(on, together=together) as executor, watched(progress) as listener:
            context = self._context(listener, only=arms, deterministic=deterministic, method=made)
            return tune_trial(context, executor=executor)

    def sample(
        self, *, arms: Sequence[str] | None = None, progress: bool | Listener = True, on: str = "here"
    ) -> Mapping[str, FinetrialError]:
        """Sample arms that are tuned, all on the same prompts. Returns the arms that failed, with their errors."""
        from finetrial.api.progress import watched

        arms = self._chosen(arms)
        with optional_packages("sampling"):
            from finetrial.workflow.executor_table import executor_at
            from finetrial.workflow.run import sample_trial
        executor, method = executor_at(on), method_call("sample", arms=arms, on=on)
        with watched(progress) as listener:
            return sample_trial(self._context(listener, only=arms, method=method), executor=executor)

    def answer(
        self,
        prompts: Sequence[str] | str | Path,
        *,
        arms: Sequence[str] | None = None,
        progress: bool | Listener = True,
    ) -> Table:
        """What every arm answers to prompts of one's own: texts, or a file of them. One answer a row.

        The arms must be tuned; nothing is written. An arm that cannot answer raises its error. The same prompt is
        answered alike wherever it stands in a list.
        """
        from finetrial.api.frames import as_table
        from finetrial.api.own_answers import COLUMNS, answer_row
        from finetrial.api.progress import watched

        with watched(progress) as listener:
            asked = self.asking(listener, arms=arms)
            rows = [answer_row(sample) for sample in asked.answer(self.own_prompts(prompts))]
        for error in asked.failures.values():
            raise error
        return as_table(rows, columns=COLUMNS)

    def own_prompts(self, prompts: Sequence[str] | str | Path) -> tuple[Example, ...]:
        """Prompts of one's own as the trial reads them: texts, or the name of a file."""
        from finetrial.trial.own_prompts import own_lines, read_own_prompts

        if isinstance(prompts, (str, Path)):
            return read_own_prompts(Path(prompts), data=self.loaded.trial.data)
        return own_lines(prompts, name="prompts")

    def asking(
        self, listener: Listener, *, arms: Sequence[str] | None = None, keep: bool = False, best: bool = False
    ) -> OwnPrompts:
        """The arms, ready for prompts of one's own. With `keep` their models stay in memory; with `best` an arm's
        answer to a prompt is the most likely of its samples."""
        arms = self._chosen(arms)
        with optional_packages("sampling"):
            from finetrial.workflow.prompt_answers import OwnPrompts
        return OwnPrompts(self._context(listener, only=arms, method=method_call("answer", arms=arms)), keep, best)

    def score(self, *, open_grades: bool = False) -> TrialResult:
        """Score the samples anew where they or the judging changed, and conclude what they support.

        A trial that is judged otherwise than its folder says is concluded and not written.
        """
        from finetrial.api.judged import score_folder

        found = score_folder(self.loaded, self.folder, open_grades=open_grades)
        return self._result(
            findings=found.findings, scores=found.scores, notes=found.notes, open_grades=open_grades
        )

    def grade(
        self, *, raters: Sequence[str] = (), pairs: bool = False, port: int | None = None, open_browser: bool = True
    ) -> GradingPage:
        """Serve the grading page on this machine while Python goes on; `stop()` ends it.

        Grades are on the disk at once. `raters` get links of their own, `pairs` compares side by side.
        """
        from finetrial.api.grading import serve_page

        return serve_page(self.folder, raters=tuple(raters), pairs=pairs, port=port, open_browser=open_browser)

    def judge(
        self, *, judges: Sequence[str] | None = None, progress: bool | Listener = True
    ) -> tuple[JudgeRun, ...]:
        """Let the trial's model judges answer what is open, and say how far each is; `judges` limits it to these.

        A judge that was stopped, by its budget too, goes on where it was. The file may name other judges than the
        folder's; whatever else was changed there is `run`'s to take over.
        """
        from finetrial.api.judging import judge_folder
        from finetrial.api.progress import watched

        with watched(progress) as listener:
            return judge_folder(self.loaded, self.folder, judges=judges, listener=listener)

    def unblind(self) -> Unblinded:
        """Lock the grades for good, open the key, and say how people judged each arm. Cannot be undone."""
        from finetrial.api.grading import unblind

        return unblind(self.folder)

    def report(self, *, open_grades: bool = False, texts: bool = True) -> TrialResult:
        """Write the report from the folder's records; needs no model. `open_grades` shows the prompts set aside for
        blind grading as well, which is logged; without `texts` lengths and hashes stand for them."""
        from finetrial.evidence.trial_findings import trial_findings
        from finetrial.reporting.write import write_report

        findings = trial_findings(self.folder, open_grades=open_grades)
        files = write_report(self.folder, open_grades=open_grades, findings=findings, texts=texts)
        return self._result(findings=findings, files=files, open_grades=open_grades)

    def transcript_figure(self, arm: str, prompt: int, *, open_grades: bool = False) -> str:
        """An arm's answers to one prompt, by its number in the report, as a figure in LaTeX. Writes nothing.

        Raises UserError where there is no such answer, and where it awaits blind grading.
        """
        from finetrial.reporting.transcript_figure import transcript_figure
        from finetrial.reporting.write import read_material

        material = read_material(self.folder, open_grades=open_grades, findings=None)
        return transcript_figure(material, arm=arm, number=prompt)

    def seal(self) -> str:
        """The digest of trial file, data, prompts and criterion, to be published before anything is sampled.

        What is sealed is kept in the folder as seal.json. Raises UserError where the data cannot be read.
        """
        from finetrial.trial.trial_seal import seal_content, write_seal

        self._write_rows()
        return write_seal(self.folder, seal_content(self.loaded))

    def verify(
        self, *, seal: str | None = None, lock: str | None = None, run_own_metrics: bool = False
    ) -> Verification:
        """Recompute the report from samples, grades and measurements; `holds` says whether all files agree.

        `seal` and `lock` are digests that were published before sampling and at the lock. Metrics of the user's own
        are computed only where `run_own_metrics`: that runs code that lies beside the folder.
        """
        from finetrial.reporting.verification import verify

        return verify(self.folder, seal=seal, lock=lock, run_own_metrics=run_own_metrics)

    def clean(self) -> Cleaned:
        """Remove what earlier settings made and changed ones displaced: kept/ in the trial's folder."""
        from finetrial.api.cleaned import clean_folder

        return clean_folder(self.folder)

    def result(self, *, open_grades: bool = False) -> TrialResult:
        """What the folder's records support now. Writes nothing. Raises UserError where nothing was scored."""
        return self._result(open_grades=open_grades)

    def _write_rows(self) -> None:
        """Write rows that were given in memory into the folder, where they are not yet."""
        write_kept(self.folder.root, self._kept)

    def _chosen(self, arms: Sequence[str] | None) -> Sequence[str] | None:
        """The arms that are named. Refuses before torch is imported what the hub cannot give."""
        from finetrial.trial.data import check_sources

        self._write_rows()
        check_sources(self.loaded)
        chosen = chosen_arms(arms, self.loaded.trial.arms)
        self.loaded.check_models(chosen)
        return chosen

    def _context(
        self, listener: Listener, *, only: Sequence[str] | None, method: str, deterministic: bool = False
    ) -> TrialContext:
        """What all steps of a run share. Whatever the workflow needs of a caller is handed over here."""
        from finetrial.workflow.context import Call, TrialContext

        self._write_rows()
        call = Call(self._made_by + method, interface())
        if self._command is not None:
            call = Call(self._command, "command line")
        return TrialContext(
            self.loaded, self.folder, listener=listener, only=only, deterministic=deterministic, call=call
        )

    def _result(
        self,
        *,
        failures: Mapping[str, FinetrialError] | None = None,
        findings: Findings | None = None,
        scores: Sequence[Score] | None = None,
        notes: tuple[str, ...] = (),
        files: ReportFiles | None = None,
        open_grades: bool = False,
    ) -> TrialResult:
        from finetrial.api.result import read_result

        return read_result(
            self.folder,
            trial=self.loaded.trial,
            findings=findings,
            scores=scores,
            failures=failures,
            notes=notes,
            files=files,
            open_grades=open_grades,
        )
