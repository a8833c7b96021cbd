"""A judge is one file and one row: it grades the blinded texts, and its grades count as everybody's."""

import pytest
from installing import install

from finetrial.errors import UserError
from finetrial.judging.events import GradeBook
from finetrial.judging.judge import Judgement, grade_items
from finetrial.judging.judge_table import JUDGES, all_judges, judge_named
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grades import read_events, read_grades
from finetrial.store.records import Item, read_rows

TOY = '''"""Calls a text good that names the number of its prompt's version 0."""

from finetrial.judging.judge import Judgement, grade_items


class Picky:
    name = "picky"

    def judge(self, folder):
        grade_items(folder, rater=self.name, question=self.ask)

    def ask(self, item, settings):
        is_good = item.text.endswith("version 0")
        return Judgement("good" if is_good else "bad", () if is_good else ("off_task",), None if is_good else "no")


ADDED = Picky()
'''


def test_people_and_models_are_the_judges_of_our_own():
    assert [judge.name for judge in JUDGES] == ["people", "models"]
    with pytest.raises(UserError, match=r"unknown judge 'poeple'.*Did you mean 'people'"):
        judge_named("poeple")


def test_a_package_adds_a_judge_by_one_file_and_one_entry_point(folder, tmp_path, monkeypatch):
    place = tmp_path / "site"
    place.mkdir()
    install(place, group="finetrial.judges", code=TOY, module="picky")
    monkeypatch.syspath_prepend(str(place))
    assert [judge.name for judge in all_judges()] == ["people", "models", "picky"]
    judge_named("picky").judge(folder)
    items = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    grades = read_grades(folder)
    assert len(items) == 45 and {grade.item_id for grade in grades} == set(items) and len(grades) == 45
    for grade in grades:
        assert grade.value == ("good" if items[grade.item_id].endswith("version 0") else "bad")
        assert (grade.rater, grade.rater_kind, grade.blind) == ("picky", "stand-in", True)
        assert grade.note == (None if grade.value == "good" else "no")
    events = len(read_events(folder))
    judge_named("picky").judge(folder)
    assert len(read_events(folder)) == events, "what was graded is not asked again"
    book = GradeBook(folder.grades)
    book.lock()
    book.close()
    by_arm = {arm: [g.value for g in unblinded_grades(folder) if g.arm == arm] for arm in ("base", "full", "lora")}
    # each of five prompts has three versions an arm, the first of which is called good
    assert {arm: (len(v), v.count("good")) for arm, v in by_arm.items()} == dict.fromkeys(by_arm, (15, 5))


def test_a_judge_that_is_stopped_goes_on_where_it_was_and_an_answer_off_the_scale_is_refused(folder):
    asked = []

    def stops(item, settings):
        asked.append(item.item_id)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return Judgement("good")

    with pytest.raises(KeyboardInterrupt):
        grade_items(folder, rater="careful", question=stops)
    assert len(read_grades(folder)) == 3
    with pytest.raises(UserError, match=r"unknown grade.*good, bad, unsure"):
        grade_items(folder, rater="careful", question=lambda item, settings: Judgement("splendid"))
    begun = set(asked[:3])

    def goes_on(item, settings):
        assert item.item_id not in begun
        return Judgement("bad")

    assert grade_items(folder, rater="careful", question=goes_on) == 42
