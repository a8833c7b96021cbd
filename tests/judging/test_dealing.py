"""Who grades what, in which order."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from finetrial.judging.assignment import deal, left_of, plan_blocks, repeat_count


def cells(prompts, per_prompt):
    return {f"p{p}": [f"i{p}-{n}" for n in range(per_prompt)] for p in range(prompts)}


def order(blocks):
    return [(c.item_id, c.occurrence) for b in blocks for c in b.cells]


def test_in_a_small_trial_everybody_grades_everything():
    hands = deal({f"p{n}": 9 for n in range(20)}, raters=3, seed=0)
    assert [len(hand) for hand in hands] == [20, 20, 20]


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 120), st.integers(7, 30), st.integers(2, 80), st.integers(0, 5))
def test_a_large_trial_is_dealt_whole_with_a_part_graded_twice(prompts, size, raters, seed):
    sizes = {f"p{n}": size for n in range(prompts)}
    hands = deal(sizes, raters=raters, seed=seed)
    times = [sum(p in hand for hand in hands) for p in sizes]
    assert set(times) <= {1, 2}
    total = prompts * size
    twice = sum(size for t in times if t == 2)
    # At least 20 % and 50 samples, and no more than one prompt beyond.
    wanted = max(0.2 * total, 50)
    assert wanted <= twice < wanted + size + 1
    loads = [sum(sizes[p] for p in hand) for hand in hands]
    assert max(loads) - min(loads) <= size


def test_each_rater_has_an_order_of_their_own_and_keeps_it():
    common = {"seed": 0, "slot": 0, "raters": 2}
    anna = plan_blocks(cells(5, 9), rater="Anna", **common)
    ben = plan_blocks(cells(5, 9), rater="Ben", **common)
    assert order(anna) != order(ben) and sorted(order(anna)) == sorted(order(ben))
    assert anna == plan_blocks(cells(5, 9), rater="Anna", **common)
    assert plan_blocks(cells(5, 9), rater="Anna", **{**common, "seed": 1}) != anna


def test_one_prompt_is_one_block():
    blocks = plan_blocks(cells(5, 9), seed=0, rater="Anna", slot=0, raters=1)
    assert len(blocks) == 5 and all(len({c.item_id.split("-")[0] for c in b.cells}) == 1 for b in blocks)


def test_hidden_repeats_stand_among_new_texts_of_a_second_visit_far_from_the_first_showing():
    blocks = plan_blocks(cells(20, 9), seed=0, rater="Anna", slot=0, raters=1, repeats=0.05)
    seen = order(blocks)
    repeats = [item for item, occurrence in seen if occurrence == 2]
    assert len(repeats) == 9  # 5 % of 180
    for item in repeats:
        assert seen.index((item, 2)) - seen.index((item, 1)) > 30  # at least four other prompts between
    with_repeats = [block for block in blocks if any(c.occurrence == 2 for c in block.cells)]
    assert len(with_repeats) == 9  # one each: spread as evenly as can be
    for block in with_repeats:
        assert sum(c.occurrence == 1 for c in block.cells) >= 4  # new texts of that prompt, too
    places = {[c.occurrence for c in block.cells].index(2) for block in with_repeats}
    assert len(places) >= 3  # anywhere among them


@given(st.integers(2, 30), st.integers(1, 12), st.sampled_from([0.02, 0.05, 0.2, 0.5]), st.integers(0, 3))
def test_repeats_change_no_count_of_prompts_and_lose_no_text(prompts, size, share, seed):
    plain = plan_blocks(cells(prompts, size), seed=seed, rater="Anna", slot=0, raters=1)
    blocks = plan_blocks(cells(prompts, size), seed=seed, rater="Anna", slot=0, raters=1, repeats=share)
    once = [c.item_id for b in blocks for c in b.cells if c.occurrence == 1]
    assert sorted(once) == sorted(c.item_id for b in plain for c in b.cells)
    assert {b.number for b in blocks} == set(range(1, prompts + 1))
    assert all(a.prompt != b.prompt for a, b in pairwise(blocks))  # never the same prompt twice running
    numbers = {}
    assert all(numbers.setdefault(b.prompt, b.number) == b.number for b in blocks)
    seen = order(blocks)
    again = [item for item, occurrence in seen if occurrence == 2]
    assert len(again) == repeat_count(prompts * size, share=share) or share == 0.5
    assert len(again) >= 1 and all(seen.index((i, 1)) < seen.index((i, 2)) for i in again)


def test_with_one_prompt_repeats_come_late_with_other_texts_between():
    seen = order(plan_blocks(cells(1, 10), seed=0, rater="Anna", slot=0, raters=1, repeats=0.1))
    (again,) = [item for item, occurrence in seen if occurrence == 2]
    assert len(seen) == 11 and seen.index((again, 1)) < 5 and seen.index((again, 2)) >= 8


def test_new_items_do_not_move_the_others():
    before = order(plan_blocks(cells(5, 9), seed=0, rater="Anna", slot=0, raters=1))
    after = order(plan_blocks(cells(6, 10), seed=0, rater="Anna", slot=0, raters=1))
    assert [c for c in after if c in set(before)] == before


def test_a_rater_beyond_the_expected_gets_an_earlier_hand():
    many = cells(60, 9)
    first = plan_blocks(many, seed=0, rater="A", slot=0, raters=2)
    third = plan_blocks(many, seed=0, rater="C", slot=2, raters=2)
    assert {b.prompt for b in first} == {b.prompt for b in third}


def test_begun_prompts_stay_in_the_plan():
    many = cells(60, 9)
    mine = {b.prompt for b in plan_blocks(many, seed=0, rater="A", slot=0, raters=4)}
    other = next(p for p in many if p not in mine)
    kept = plan_blocks(many, seed=0, rater="A", slot=0, raters=4, kept=frozenset({other}))
    assert {b.prompt for b in kept} == mine | {other}


def test_sides_are_shuffled_evenly():
    left = sum(left_of(f"pair{n}", seed=0, rater="Anna") == "first" for n in range(1000))
    assert 430 < left < 570  # a fair coin stays within 4.4 standard deviations
