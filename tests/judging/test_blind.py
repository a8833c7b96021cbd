"""What is set aside for grading, and what the items give away."""

import itertools
import json
import random
import stat

import pytest
from grading_material import ARMS, distinct_samples, make_folder, sample

from finetrial.errors import AnswerIsNo, UserError
from finetrial.judging.database import GradesLocked
from finetrial.judging.events import GradeBook
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state
from finetrial.store.records import Item, ItemPair, read_rows


def test_items_hold_no_arm_and_the_key_holds_every_sample(folder):
    text = folder.items.read_text() + folder.pairs.read_text()
    assert not any(arm in text for arm in ARMS)
    assert "template" not in text  # the prompt is the data's own, not what an arm was shown
    assert len(list(read_rows(folder.items, Item))) == 45
    key = json.loads(folder.key.read_text())
    assert sum(len(samples) for samples in key["items"].values()) == 45
    assert stat.S_IMODE(folder.key.stat().st_mode) == 0o600


def test_the_order_of_items_says_nothing_about_arms(folder):
    key = json.loads(folder.key.read_text())["items"]
    arms = [key[item.item_id][0][2] for item in read_rows(folder.items, Item)]
    # Sorted by a hash: 45 arms in three blocks of 15 would have 2 changes, a random order about 30.
    assert sum(a != b for a, b in itertools.pairwise(arms)) > 15


def test_identical_texts_are_one_item_that_counts_for_each_sample(tmp_path):
    samples = [sample(arm, 0, i, "same" if i == 0 else f"{arm} {i}") for arm in ARMS for i in range(2)]
    folder = make_folder(tmp_path, samples)
    assert len(list(read_rows(folder.items, Item))) == 4  # one shared text and three others
    shared = [members for members in json.loads(folder.key.read_text())["items"].values() if len(members) > 1]
    assert [[m[0] for m in members] for members in shared] == [["base/p0/0", "full/p0/0", "lora/p0/0"]]


def test_the_same_text_under_another_prompt_is_another_item(tmp_path):
    folder = make_folder(tmp_path, [sample("base", p, 0, "same") for p in range(3)])
    assert len(list(read_rows(folder.items, Item))) == 3


def test_without_the_data_s_prompt_all_arms_show_the_shortest(tmp_path):
    shown = {"base": "Q", "prompted": "example, example, Q"}
    rows = [sample(arm, 0, 0, f"t {n}") for n, arm in enumerate(shown)]
    rows = [
        type(r)(**{**{f: getattr(r, f) for f in r.__slots__}, "source": None, "prompt": shown[r.arm]}) for r in rows
    ]
    folder = make_folder(tmp_path, rows)
    assert [item.prompt for item in read_rows(folder.items, Item)] == ["Q", "Q"]


def test_blinding_again_and_in_another_order_changes_nothing(tmp_path):
    samples = distinct_samples()
    folder = make_folder(tmp_path, samples)
    before = [p.read_bytes() for p in (folder.items, folder.pairs, folder.key)]
    random.Random(1).shuffle(samples)
    make_folder(tmp_path, samples)
    assert [p.read_bytes() for p in (folder.items, folder.pairs, folder.key)] == before


def test_pairs_cross_arms_only_and_at_one_index(folder):
    owner = {i: m[0] for i, m in json.loads(folder.key.read_text())["items"].items()}
    pairs = list(read_rows(folder.pairs, ItemPair))
    assert len(pairs) == 5 * 3 * 3  # prompts x pairs of three arms x samples
    for pair in pairs:
        (a, pa, arm_a), (b, pb, arm_b) = owner[pair.first], owner[pair.second]
        assert pa == pb and arm_a != arm_b and a.rsplit("/", 1)[1] == b.rsplit("/", 1)[1]


def test_references_are_mixed_in_as_an_arm_of_their_own(tmp_path):
    folder = make_folder(tmp_path, distinct_samples(prompts=2), grade_references=True)
    assert len(list(read_rows(folder.items, Item))) == 2 * 9 + 2
    assert grading_state(folder).settings.arms == ("base", "full", "lora", "references")


def test_references_that_are_not_there_cannot_be_mixed_in(tmp_path):
    with pytest.raises(UserError, match="no references"):
        make_folder(tmp_path, [sample("base", 0, 0, "t", references=())], grade_references=True)


def test_the_key_stays_closed_until_the_grades_are_locked(folder):
    with pytest.raises(AnswerIsNo, match="still blind"):
        read_key(folder)
    book = GradeBook(folder.grades)
    assert book.lock() and not book.lock()
    book.close()
    assert len(read_key(folder).items) == 45


def test_an_early_opening_is_logged(folder):
    read_key(folder, open_grades=True)
    assert grading_state(folder).opened_at is not None and grading_state(folder).locked_at is None


def test_an_exchanged_key_is_noticed(folder):
    key = json.loads(folder.key.read_text())
    first, second = list(key["items"])[:2]
    key["items"][first], key["items"][second] = key["items"][second], key["items"][first]
    folder.key.write_text(json.dumps(key))
    GradeBook(folder.grades).lock()
    with pytest.raises(UserError, match="not the key that was sealed"):
        read_key(folder)


def test_locked_grades_refuse_other_samples(tmp_path):
    folder = make_folder(tmp_path, distinct_samples())
    GradeBook(folder.grades).lock()
    make_folder(tmp_path, distinct_samples())  # the same ones are fine
    with pytest.raises(GradesLocked, match="changed"):
        make_folder(tmp_path, distinct_samples(prompts=4))
    assert folder.items.exists()


def test_grade_prompts_zero_sets_nothing_aside(tmp_path):
    folder = make_folder(tmp_path, distinct_samples(), grade_prompts=0)
    assert folder.items.read_text() == "" and grading_state(folder).settings.items == 0
