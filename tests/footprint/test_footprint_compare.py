"""`finetrial footprint compare`, ranks of the same bytes, and figures that rounding or cutting would change."""

import json

import pytest

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Matrices
from finetrial.footprint.beside import Lora
from finetrial.footprint.method_words import parse_spec


def ask(capsys, *arguments: str, status: int = 0) -> dict:
    assert dispatch(["footprint", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def say(capsys, *arguments: str) -> str:
    assert dispatch(["footprint", *arguments]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_the_exercise_is_one_table(capsys):
    command = ("compare", "--model", "gpt3-175b", "--copies", "100", "full", "matrices:q,v", "lora:4:q,v")
    answer = ask(capsys, *command)
    full, matrices, lora = answer["rows"]
    # REFERENCES: 325.23 GiB counted, 54 GiB, 36 MiB; 100 copies 5.27 TiB and 3.516 GiB
    assert round(full["bytes_per_copy"] / 2**30, 2) == 325.23
    assert matrices["bytes_per_copy"] == 54 * 2**30
    assert lora["bytes_per_copy"] == 37_748_736
    assert round(lora["bytes_total"] / 2**30, 3) == 3.516
    assert lora["ratio_to_first"] == pytest.approx(37_748_736 / (2 * 174_604_259_328))
    assert answer["published"]["bytes_total"] == 3.5e13
    text = say(capsys, *command)
    for part in ("174,604,259,328", "31.76 TiB", "31.83 TiB", "5.273 TiB", "3.516 GiB", "1/9,251", "1/6.02"):
        assert part in text


def test_ranks_come_as_lists_and_the_first_row_is_the_measure(capsys):
    answer = ask(capsys, "compare", "--model", "gpt2", "lora:2,4,8:q,v", "full")
    assert [row["method"] for row in answer["rows"]] == ["lora:2:q,v", "lora:4:q,v", "lora:8:q,v", "full"]
    assert [row["ratio_to_first"] for row in answer["rows"][:3]] == [1, 2, 4]
    # 12 layers x 2 targets x 2 x (768 + 768)
    assert answer["rows"][0]["params_stored"] == 12 * 2 * 2 * 1536
    assert "1 copies" not in say(capsys, "compare", "--model", "gpt2", "lora:2,4,8:q,v", "full")
    explained = say(capsys, "compare", "--model", "gpt2", "lora:2:q", "full", "--explain")
    assert "12 layers x 2 x (768 + 768)" in explained


def test_methods_are_words():
    assert [spec.method for spec in parse_spec("lora:1,16:q_proj")] == [
        Lora(rank=1, targets=("q_proj",)),
        Lora(rank=16, targets=("q_proj",)),
    ]
    assert parse_spec("matrices:q, v")[0].method == Matrices(targets=("q", "v"))
    assert parse_spec("full")[0].method == Full()


@pytest.mark.parametrize(
    "text",
    ["lora", "lora:4", "lora:4:q:v", "lora:x:q", "lora::q", "lora:4:q,,v", "full:q", "matrices", "dora:4:q", ""],
)
def test_words_that_are_no_method_are_refused_with_the_forms(text):
    with pytest.raises(UserError) as caught:
        parse_spec(text)
    assert "lora" in str(caught.value)


def test_the_same_bytes_on_query_alone_are_rank_8(capsys):
    answer = ask(capsys, "rank", "--model", "gpt3-175b", "--same-as", "lora:4:q,v", "--targets", "q")
    assert answer["rank"] == 8
    assert answer["budget_bytes"] == answer["bytes_per_copy"] == 37_748_736
    assert "rank 8 on q fits the 37,748,736 bytes of lora:4:q,v" in say(
        capsys, "rank", "--model", "gpt3-175b", "--same-as", "lora:4:q,v", "--targets", "q"
    )


def test_a_near_miss_says_what_is_missing(capsys):
    command = ("rank", "--model", "gpt3-175b", "--budget", "3.77e7", "--targets", "q")
    answer = ask(capsys, *command)
    assert answer["rank"] == 7
    assert answer["next_rank_bytes"] == 37_748_736
    assert answer["next_rank_excess"] == pytest.approx(37_748_736 / 3.77e7 - 1)
    assert "rank 8 needs 37,748,736 bytes, 0.13 % more" in say(capsys, *command)
    # rank 7 takes 33,030,144 bytes: a budget halfway to rank 8 misses by 7 %, which is none
    assert "near miss" not in say(capsys, "rank", "--model", "gpt3-175b", "--budget", "3.53e7", "--targets", "q")


def test_no_rank_beyond_the_useful_one_is_called_a_miss(capsys):
    answer = ask(capsys, "rank", "--model", "gpt2", "--targets", "q", "--budget", "1GB")
    assert answer["rank"] == 768
    assert answer["next_rank_bytes"] is None


def test_explain_names_what_cutting_off_would_give(capsys):
    command = ("storage", "--model", "gpt3-175b", "--method", "lora", "--targets", "q,v", "--rank", "4")
    text = say(capsys, *command, "--copies", "100", "--explain")
    assert "rounded to two decimals 3.52, cut off 3.51" in text  # 3.515625 GiB
    assert "= 3.515625" in text
    assert "cut off" not in say(capsys, *command, "--explain")  # 36 MiB to the byte
    assert dispatch(["footprint", *command, "--copies", "100", "--explain", "--format", "latex"]) == 0
    latex = capsys.readouterr().out
    assert r"\mathrm{bytes} / 2^{30}" in latex
    assert latex.count("{") == latex.count("}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "--model", "gpt2", "full", "full"), "named twice"),
        (("compare", "--model", "gpt2", "lora:4:gate"), "no target 'gate'"),
        (("compare", "--model", "gpt2", "lora:0:q"), "invalid LoRA rank"),
        (("compare", "--model", "gpt2", "--copies", "0", "full"), "number of copies"),
        (("compare", "--model", "gpt9", "full"), "no model is known"),
        (("rank", "--model", "gpt2", "--targets", "q"), "--budget or --same-as"),
        (("rank", "--model", "gpt2", "--targets", "q", "--budget", "1MB", "--same-as", "full"), "one of the two"),
        (("rank", "--model", "gpt2", "--targets", "q", "--same-as", "lora:1,2:q"), "takes one rank"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, said):
    assert dispatch(["footprint", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert said in output.err
