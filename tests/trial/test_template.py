"""Templates, the seam, and what the prompted arm sees."""

import pytest

from finetrial.errors import UserError
from finetrial.trial.examples import Example, Message
from finetrial.trial.form import Form
from finetrial.trial.prompted import choose_shots, with_shot_turns, with_shots
from finetrial.trial.template import fixed_end, fixed_start, render_prompt, seam


def example(number=0, **changes):
    known = {
        "id": f"e{number}",
        "origin": f"f:{number}",
        "prompt": f"p{number}",
        "references": (f"c{number}",),
        "fields": {"title": "T {x}"},
    }
    return Example(**(known | changes))


def test_a_template_is_filled_and_braces_of_the_data_are_left_alone():
    shown = render_prompt(example(prompt="{a} {{b}}"), template="{title}: {prompt}\n{{TL;DR}}:")
    assert shown == "T {x}: {a} {{b}}\n{TL;DR}:"
    assert fixed_end("{prompt}\n{{TL;DR}}:") == "\n{TL;DR}:" and fixed_start("Say: {prompt}") == "Say: "
    assert fixed_end("{prompt}") == "" and fixed_start("{prompt}") == ""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no column", "shows none of the data"),
        ("{prompt", "written twice"),
        ("{}", "a column's name in braces"),
        ("{prompt.upper}", "unknown column in the template"),
        ("{prompt:>10}", "a column's name in braces"),
        ("{titel}", "Did you mean 'title'?"),
    ],
)
def test_a_faulty_template_is_an_error(template, expected):
    with pytest.raises(UserError) as caught:
        render_prompt(example(), template=template)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "completion", "between"),
    [("a", "b", " "), ("a ", "b", ""), ("a\n", "b", ""), ("a", "\nb", ""), ("a", "", "")],
)
def test_the_seam_is_one_space_unless_white_space_is_there(prompt, completion, between):
    assert seam(prompt, completion) == between


def test_shots_hang_on_seed_and_prompt_and_never_show_the_prompt_itself():
    train = [example(i) for i in range(6)]
    seen = set()
    for number in range(6):  # the prompts asked stand in the training data too: the worst case
        shots = choose_shots(train[number], shots=3, train=train, seed=0)
        assert len({s.id for s in shots}) == 3 and train[number] not in shots
        assert shots == choose_shots(train[number], shots=3, train=train, seed=0)
        seen.add(tuple(s.id for s in shots))
    assert len(seen) > 1
    with pytest.raises(UserError, match="got 5; expected 6"):
        choose_shots(train[0], shots=6, train=train, seed=0)


def test_the_prompted_arm_sees_solved_examples_then_the_prompt():
    train = [example(1, references=("\nc1",))]
    assert with_shots(example(2), shots=train, template="Q: {prompt}\nA:", separator="\n--\n") == (
        "Q: p1\nA:\nc1\n--\nQ: p2\nA:"
    )


def test_in_a_chat_the_shots_are_turns_and_only_the_asked_chat_keeps_its_system_turn():
    def chat(number):
        turns = (Message("system", f"s{number}"), Message("user", f"u{number}"), Message("assistant", f"a{number}"))
        return example(number, messages=turns)

    shown = with_shot_turns(chat(2), shots=[chat(1)], form=Form(chat=True))
    assert [turn.content for turn in shown] == ["s2", "u1", "a1", "u2"]
