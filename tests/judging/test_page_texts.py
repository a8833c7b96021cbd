"""What the page says of its reach and its raters' progress, and how a text becomes nodes and never HTML."""

import json
import random

import pytest
from grading_material import distinct_samples, make_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrial.judging.detectable import detectable_by, detectable_sentences
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.markdown_nodes import LONGEST, formatted
from finetrial.judging.page_content import about
from finetrial.judging.rater_progress import progress_of
from finetrial.store.grades import grading_state, read_grades, too_fast

# What these prompts can show


def reach(root, **options):
    options = {"prompts": 5, **options}
    return grading_state(make_folder(root, distinct_samples(**options))).settings


def test_five_prompts_and_three_arms_cannot_show_anything(tmp_path):
    found = detectable_by(reach(tmp_path))
    # Of 2^5 ways to flip five signs, two are as extreme as five of a kind: 2/32. Three pairs: three times that.
    assert (found.least_p, found.least_p_holm) == (0.0625, 0.1875) and not found.can_show
    assert found.fewest_units == 7  # 2/2^7 = 0.0156, times 3 = 0.047; 2/2^6 times 3 = 0.094
    first = detectable_sentences(reach(tmp_path))[0]
    assert "cannot show" in first and "0.0625" in first and "0.188" in first and "7 prompts are the fewest" in first


def test_seven_prompts_can_and_the_page_says_what_a_real_difference_takes(tmp_path):
    settings_ = reach(tmp_path, prompts=7)
    found = detectable_by(settings_)
    assert found.can_show and found.samples == 3
    # (z at .05 / 3 pairs + z.8)^2 = 10.469, variance (1/4 + 1/4)/3, difference 0.2: 10.469 / 6 / 0.04 = 43.6
    assert found.units_for_difference == 44
    assert "can show a clear difference" in detectable_sentences(settings_)[0]


def test_rows_of_one_group_count_as_one(tmp_path):
    rows = [
        type(row)(**{**{f: getattr(row, f) for f in row.__slots__}, "group": f"g{int(row.prompt_id[1:]) // 2}"})
        for row in distinct_samples(prompts=8)
    ]
    settings_ = grading_state(make_folder(tmp_path, rows)).settings
    assert settings_.prompts == 8 and detectable_by(settings_).units == 4
    assert "4 groups" in detectable_sentences(settings_)[0]


def test_one_arm_compares_nothing(tmp_path):
    settings_ = reach(tmp_path, arms=("base",))
    assert detectable_by(settings_) is None and "compare nothing" in detectable_sentences(settings_)[0]


def test_mixed_in_references_are_no_arm_of_the_comparison(tmp_path):
    folder = make_folder(tmp_path, distinct_samples(arms=("base", "lora")), grade_references=True)
    assert detectable_by(grading_state(folder).settings).comparisons == 1


def test_repeats_are_counted_in_everywhere(tmp_path):
    session = GradingSession(make_folder(tmp_path, distinct_samples(), repeats=0.1))
    told = about(session, mode="single")
    plan = session.plan(session.book.join("Anna"), mode="single")
    assert told["cells"] == len(plan.positions) == 45 + 4  # 4.5, halves to even
    assert told["prompts"] == len({block.number for block in plan.blocks}) == 5
    session.close()


# Progress and pace


def graded(folder, rater, *, kind, shown_ms, n):
    session = GradingSession(folder)
    session.book.join(rater)
    if kind:
        session.book.declare(rater, kind)
    for number, item in enumerate(sorted(session.items)[:n]):
        event = {"uid": f"{rater}-{number:08}", "kind": "grade", "item_id": item, "value": "good"}
        session.record({**event, "shown_ms": shown_ms}, rater=rater)
    return session


def test_the_owner_learns_who_graded_how_much_and_who_did_not_read(folder):
    graded(folder, "Anna", kind="person", shown_ms=4000, n=10).close()
    graded(folder, "Robot", kind="stand-in", shown_ms=300, n=45).close()
    session = graded(folder, "Idle", kind=None, shown_ms=0, n=0)
    rows = progress_of(session, mode="single")
    session.close()
    assert [(r.rater, r.kind, r.graded, r.of, r.median_seconds, r.too_fast) for r in rows] == [
        ("Anna", "person", 10, 45, 4.0, False),
        ("Robot", "stand-in", 45, 45, 0.3, True),
        ("Idle", None, 0, 45, None, False),
    ]
    assert [(row.rater, row.median_seconds) for row in too_fast(read_grades(folder))] == [("Robot", 0.3)]


def test_a_few_quick_grades_are_no_sign(folder):
    session = graded(folder, "Anna", kind="person", shown_ms=300, n=4)
    assert [row.too_fast for row in progress_of(session, mode="single")] == [False]
    session.close()
    assert too_fast(read_grades(folder)) == ()


# Formatted


def tags(nodes):
    for node in nodes:
        if not isinstance(node, str):
            yield node[0]
            yield from tags(node[2])


def text_of(nodes):
    return "".join(node if isinstance(node, str) else text_of(node[2]) for node in nodes)


def test_markdown_becomes_nodes_of_the_known_kinds():
    text = (
        "# Title\n\nSome *em*, **strong**, ~~gone~~ and `code`.\n\n```python\nprint(1)\n```\n\n"
        "3. c\n4. d\n\n> q\n\n|a|b|\n|-|-|\n|1|2|"
    )
    nodes = formatted(text)
    assert nodes[0] == ["h1", None, ["Title"]]
    assert ["pre", "python", ["print(1)"]] in nodes
    assert ["ol", "3", [["li", None, ["c"]], ["li", None, ["d"]]]] in nodes
    assert {"em", "strong", "s", "code", "blockquote", "table", "th", "td"} <= set(tags(nodes))


@pytest.mark.parametrize(
    "text",
    [
        "# x\n\n<script>alert(1)</script>",
        "# x\n\n<img src=x onerror=alert(1)>",
        "**x** <b onclick=alert(1)>y</b> &lt;i&gt;",
        "[x](javascript:alert(1)) `y`",
        "![x](data:text/html,<script>alert(1)</script>) `y`",
    ],
)
def test_html_in_a_text_stays_text(text):
    nodes = formatted(text)
    assert not {"script", "img", "b", "i", "a", "html_block"} & set(tags(nodes))
    assert "alert(1)" in text_of(nodes) + json.dumps(nodes) or "onclick" in text_of(nodes)


KNOWN = {
    *("p", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"),
    *("em", "strong", "s", "br", "hr", "code", "pre", "link", "picture"),
}
MARKUP = st.text(alphabet="ab *_`#>-+1.[]()!|<>&\\~\n\t&;:=/\"'")


@settings(max_examples=400, deadline=None)
@given(MARKUP)
def test_whatever_the_text_only_known_tags_come_out_and_its_words_stay(text):
    nodes = formatted(text)
    if nodes is None:
        return
    assert set(tags(nodes)) <= KNOWN | {f"h{n}" for n in range(1, 7)}
    json.dumps(nodes)  # plain data, nothing else


def test_text_without_markup_and_very_long_text_are_left_as_they_are():
    assert formatted("Two lines\nof a verse.\n\nAnd a second one.") is None
    assert formatted("") is None
    assert formatted("# x\n" * LONGEST) is None


def test_hostile_nesting_costs_no_time():
    chance = random.Random(0)
    for pattern in ("[", "> ", "- ", "*a ", "`", "![", "|a", "**a*b", "<", "(", "&#"):
        formatted(pattern * (LONGEST // len(pattern)))
    formatted("".join(chance.choice("[]()!`*_<>&|\n") for _ in range(LONGEST)))
