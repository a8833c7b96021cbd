"""Let a model judge: ask it every question that has no answer yet, and write its grades beside people's.

The judge's own rows (judges/<name>.jsonl) come first and the grades follow from them: whatever stops in between,
the next start makes up for it without asking again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial import __version__
from finetrial.endpoints.asking import as_they_come
from finetrial.endpoints.client import Reply
from finetrial.endpoints.spending import Spending
from finetrial.errors import AnswerIsNo, UserError
from finetrial.judging.database import GradesLocked
from finetrial.judging.endpoint import Asker, EndpointJudge
from finetrial.judging.events import GradeBook
from finetrial.judging.raters import now
from finetrial.store.grade_records import MODEL, EventKind, GradeEvent
from finetrial.store.grades import counting, grading_state, read_events, text_hash
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import (
    ModelAnswer,
    append_answer,
    cut_torn_line,
    read_answers,
    spent,
    words_by_question,
)
from finetrial.store.records import Item, ItemPair, read_rows
from finetrial.trial.judge_questions import Question, judge_rubric_hash, judged, parameters_of, questions_of
from finetrial.trial.judges import JudgeSetting
from finetrial.trial.trial_file import load_trial

# So many questions in a row without words, and the endpoint is taken to be down. Assumption
_FAILURES_IN_A_ROW = 3

OnAnswer = Callable[[int, int], None]  # questions with an answer, of all


@dataclass(frozen=True, slots=True)
class JudgeRun:
    """What a judge did."""

    name: str
    questions: int
    asked: int  # that were answered this time
    answered: int
    unreadable: int  # answers that are not of the form asked for: missing
    failed: int  # questions to which no words came this time; they are asked again at the next start
    requests: int  # ever sent
    money: float | None
    stopped: str | None  # why not everything was asked; None: it was

    @property
    def complete(self) -> bool:
        return self.answered == self.questions


def questions_for(folder: TrialFolder, judge: JudgeSetting) -> tuple[Question, ...]:
    """What the judge is asked about the items of a folder. Raises UserError where nothing was laid out."""
    settings = grading_state(folder).settings
    if settings is None or not folder.items.exists():
        raise UserError(
            f"there is nothing to judge in {folder.root} yet",
            fix="`finetrial run` samples the arms and lays the samples out for judges.",
        )
    items = list(read_rows(folder.items, Item))
    pairs = list(read_rows(folder.pairs, ItemPair)) if folder.pairs.exists() else []
    return questions_of(judge, items, pairs, criterion=settings.criterion)


def run_judge(
    folder: TrialFolder,
    judge: JudgeSetting,
    *,
    asker: Asker | None = None,
    on_answer: OnAnswer = lambda done, of: None,
) -> JudgeRun:
    """Ask what is not answered yet, and bring the grades up to date. `asker` stands in for the judge's endpoint.

    Raises UserError where the endpoint refuses, and GradesLocked once the key is open and answers are missing.
    """
    questions, path = questions_for(folder, judge), folder.judge(judge.name)
    cut_torn_line(path)
    known = read_answers(path)
    words = words_by_question(known)
    open_questions = list({q.request_hash: q for q in questions if q.request_hash not in words}.values())
    if open_questions and grading_state(folder).locked_at is not None:
        raise GradesLocked(
            f"the grades are locked and judge {judge.name} has not answered {len(open_questions)} questions",
            fix="What is said after the key is open does not count; judge the trial in another folder (--out).",
        )
    _write_grades(folder, judge, questions)  # what an earlier run was stopped before writing
    so_far = spent(known)
    spending = Spending(
        judge.budget,
        judge.prices,
        max_tokens=judge.max_tokens,
        requests=so_far.requests,
        money=so_far.money or 0.0,
    )
    done, failed, stopped = len(questions) - len(open_questions), 0, None
    in_a_row = asked = 0
    if open_questions:
        if asker is None:
            asker = _endpoint_of(judge)
        for answer in _answers(open_questions, judge=judge, asker=asker, spending=spending):
            append_answer(path, answer)
            if answer.raw is None:
                failed, in_a_row = failed + 1, in_a_row + 1
                if in_a_row >= _FAILURES_IN_A_ROW + judge.concurrency - 1:
                    stopped = f"the last {in_a_row} questions were not answered: {answer.error}"
                    break
                continue
            done, asked, in_a_row = done + 1, asked + 1, 0
            on_answer(done, len(questions))
        _write_grades(folder, judge, questions)
    if spending.is_spent and stopped is None:
        stopped = "its budget is spent"
    stopped = stopped or (f"{failed} questions were not answered" if failed else None)
    return dataclasses.replace(standing(folder, judge), asked=asked, failed=failed, stopped=stopped)


def standing(folder: TrialFolder, judge: JudgeSetting) -> JudgeRun:
    """How far a judge is, by its rows."""
    rows = read_answers(folder.judge(judge.name))
    found, so_far = judged(judge, questions_for(folder, judge), rows), spent(rows)
    return JudgeRun(
        name=judge.name,
        questions=found.questions,
        asked=0,
        answered=found.answered,
        unreadable=found.unreadable,
        failed=0,
        requests=so_far.requests,
        money=so_far.money,
        stopped=None,
    )


def _endpoint_of(judge: JudgeSetting) -> EndpointJudge:
    if judge.endpoint is None:
        raise UserError(
            f"judge {judge.name} is a local model, which `finetrial judge` loads",
            fix="Run `finetrial judge TRIAL`.",
        )
    return EndpointJudge(judge)


def _answers(
    questions: Sequence[Question], *, judge: JudgeSetting, asker: Asker, spending: Spending
) -> Iterator[ModelAnswer]:
    """Every answer as it comes; at most `concurrency` requests are ever under way. Closed early, none is begun."""

    def ask(question: Question) -> Reply:
        return asker.ask(question, may_send=functools.partial(spending.take, _characters(question)))

    stop = asker.stop if isinstance(asker, EndpointJudge) else lambda: None
    for question, reply in as_they_come(
        questions, ask, concurrency=judge.concurrency, go_on=lambda: not spending.is_spent, stop=stop
    ):
        cost = spending.settle(reply, characters=_characters(question))
        if reply.requests:  # a question that the budget kept back was never asked
            yield _row(question, reply, judge=judge, cost=cost)


def _characters(question: Question) -> int:
    return sum(len(content) for _, content in question.messages)


def _row(question: Question, reply: Reply, *, judge: JudgeSetting, cost: float | None) -> ModelAnswer:
    return ModelAnswer(
        request_hash=question.request_hash,
        cell_id=question.cell_id,
        order=question.order,
        model=judge.model_name,
        parameters=parameters_of(judge),
        messages=question.messages,
        raw=reply.raw,
        raw_hash=None if reply.raw is None else hash_value(reply.raw),
        answered_by=reply.answered_by,
        finish_reason=reply.finish_reason,
        constrained=reply.constrained,
        prompt_tokens=reply.prompt_tokens,
        generated_tokens=reply.generated_tokens,
        cost=cost,
        attempts=reply.requests,
        error=reply.error,
        at=now(),
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a judge says of one cell, as a grade holds it."""

    value: str
    label: str | None
    reasons: tuple[str, ...]
    note: str | None


def _write_grades(folder: TrialFolder, judge: JudgeSetting, questions: Sequence[Question]) -> None:
    """Make the judge's grades those that follow from its rows; what stands already is left alone."""
    found = judged(judge, questions, read_answers(folder.judge(judge.name)))
    mode = "pairs" if judge.scale == "pairs" else "single"
    said = {name: _Said(row.value, row.label, row.reasons, row.note) for name, row in found.items.items()}
    said |= {name: _Said(row.value, None, (), row.note) for name, row in found.pairs.items()}
    book = GradeBook(folder.grades)
    try:
        if book.locked_at() is not None:
            return
        rater = book.join(judge.name, origin=MODEL).name
        if rater != judge.name:
            raise UserError(
                f"a rater is called {judge.name} already", fix="Give the judge another name under judging.judges."
            )
        book.declare(rater, MODEL)
        book.append_all(_events(folder, judge, said, rater=rater, mode=mode, questions=questions))
    finally:
        book.close()


def _events(
    folder: TrialFolder,
    judge: JudgeSetting,
    said: Mapping[str, _Said],
    *,
    rater: str,
    mode: str,
    questions: Sequence[Question],
) -> list[GradeEvent]:
    """The events that are missing: grades to be given or changed, and undone ones that no answer stands behind."""
    events = read_events(folder)
    standing = {
        (item, kind): event
        for kind in ("grade", "note")
        for (_, who, item, _), (_, event) in counting(events, kind=kind, mode=mode).items()
        if who == rater
    }
    texts = _text_hashes(folder)
    common: dict[str, Any] = {
        "mode": mode,
        "rater": rater,
        "occurrence": 1,
        "left": None,
        "position": None,
        "shown_ms": None,
        "client_at": None,
        "at": now(),
        "rubric_hash": judge_rubric_hash(judge, questions),
        "version": __version__,
        "source": "judge",
        "rater_kind": MODEL,
    }
    seen: Counter[tuple[str | None, EventKind]] = Counter(
        (event.item_id, event.kind) for _, event in events if event.rater == rater
    )

    def event(item: str, kind: EventKind, **own: Any) -> GradeEvent:
        uid = hashlib.sha256(f"{rater}\0{mode}\0{item}\0{kind}\0{seen[item, kind]}".encode()).hexdigest()[:32]
        empty = {"value": None, "reasons": (), "note": None, "undoes": None, "label": None}
        return GradeEvent(**{**common, **empty, **own, "uid": f"model-{uid}", "kind": kind, "item_id": item})

    found = []
    for item, row in said.items():
        held, note = standing.get((item, "grade")), standing.get((item, "note"))
        mine = (row.value, row.label, row.reasons)
        if held is None or (held.value, held.label, held.reasons) != mine:
            own = {"value": row.value, "label": row.label, "reasons": row.reasons, "text_hash": texts[item]}
            found.append(event(item, "grade", **own))
        if (row.note or "") != ("" if note is None else note.note or ""):
            found.append(event(item, "note", note=row.note or "", text_hash=texts[item]))
    for (item, _), held in standing.items():
        if item not in said:
            found.append(event(item, "undo", undoes=held.uid, text_hash=""))
            seen[item, "undo"] += 1
    return found


def _text_hashes(folder: TrialFolder) -> dict[str, str]:
    items = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    found = {name: text_hash(text) for name, text in items.items()}
    for pair in read_rows(folder.pairs, ItemPair) if folder.pairs.exists() else ():
        found[pair.pair_id] = text_hash(items[pair.first] + "\0" + items[pair.second])
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models that a trial file names under `judging.judges`."""

    name: str = "models"

    def judge(self, folder: TrialFolder) -> None:
        """Ask every judge behind an endpoint what is open. Raises AnswerIsNo where one did not finish."""
        for judge in load_trial(folder.root).trial.judging.judges:
            done = run_judge(folder, judge)
            if not done.complete:
                raise AnswerIsNo(
                    f"judge {judge.name} answered {done.answered} of {done.questions} questions: {done.stopped}",
                    fix="Run it again: it asks only what is missing.",
                )


MODELS = Models()
