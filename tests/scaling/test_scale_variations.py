"""Variations of the worked exercises in one command each: sizes by name and in lists, growth, a budget."""

import json

import pytest
from synthetic_runs import synthetic

from finetrial.cli.main import dispatch
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.published_laws import BESIROGLU2024, HOFFMANN2022, HOFFMANN2022_UNROUNDED, PRETRAINING_LAWS
from finetrial.scaling.repeated_data import HALVING
from finetrial.scaling.target_loss import train

EXERCISE = ("--params", "67B", "--improve", "1%", "--from-tokens", "4.1T", "--unique-tokens", "4.1T")


def ask(capsys, *arguments: str, status: int = 0) -> dict:
    assert dispatch(["scale", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def say(capsys, *arguments: str, status: int = 0) -> str:
    """What one command prints for a person, within 80 columns on both streams."""
    assert dispatch(["scale", *arguments]) == status
    captured = capsys.readouterr()
    assert max(map(len, (captured.out + captured.err).splitlines())) <= 80
    return captured.out


def test_how_many_tokens_for_1b_parameters_at_1e21_flops(capsys):
    # D = C / (6 N) = 1e21 / 6e9 = 166.7B
    answer = ask(capsys, "tokens", "--params", "1B", "--flops", "1e21")
    assert answer["tokens_processed"] == pytest.approx(1e21 / 6e9, rel=1e-12)
    assert answer["tokens_per_param"] == pytest.approx(166.67, abs=0.01)
    assert answer["loss"] == pytest.approx(HOFFMANN2022.loss(1e9, tokens=1e21 / 6e9), rel=1e-12)
    # where 1B is the best size: that law's own optimum there is 1B again
    budget = 6e9 * answer["tokens_where_best"]
    assert HOFFMANN2022_UNROUNDED.optimal_params(budget) == pytest.approx(1e9, rel=1e-9)
    text = say(capsys, "tokens", "--params", "1B", "--flops", "1e21")
    assert text.startswith("166.7B tokens for 1B parameters at 1e+21 FLOPs")
    explained = ask(capsys, "tokens", "--params", "1B", "--flops", "1e21", "--explain")["explanation"]
    assert explained["steps"][0]["formula"] == "C / (6 N)"


def test_one_question_has_one_best_size_or_both_named_with_the_reason(capsys):
    # the issue: `scale optimal` says 2.22B at 1e21 FLOPs, `scale epochs` 1.82B
    optimal = ask(capsys, "optimal", "--flops", "1e21")
    assert optimal["params"] == pytest.approx(2.217e9, rel=1e-3)
    for command in (
        ("epochs", "--params", "1B", "--unique-tokens", "1T", "--flops", "1e21"),
        ("tokens", "--params", "1B", "--flops", "1e21"),
    ):
        answer = ask(capsys, *command)
        assert answer["best_at_same_cost"]["params"] == pytest.approx(1.824e9, rel=1e-3)
        assert answer["best_unrounded"]["params"] == pytest.approx(optimal["params"], rel=1e-9)
        assert any("hoffmann2022-unrounded differ on the best size" in line for line in answer["warnings"])
        text = say(capsys, *command)
        assert "1.824B" in text
        assert "2.217B" in text
    assert any("1.824B" in line and "misplace the best size" in line for line in optimal["warnings"])


def test_a_law_without_unrounded_twin_gives_one_best_size(capsys):
    answer = ask(
        capsys, "epochs", *("--params", "1B", "--unique-tokens", "1T", "--flops", "1e21", "--law", "besiroglu2024")
    )
    assert answer["best_unrounded"] is None
    assert answer["best_at_same_cost"]["params"] == pytest.approx(BESIROGLU2024.optimal_params(1e21), rel=1e-6)


def test_growing_gives_the_third_figure_in_one_command(capsys):
    # 1.41 N runs 1.305 epochs in all to 1.88041, N itself 1.84 to 1.88376
    command = ("epochs", "--params", "67B", "--grow", "1.41", "--unique-tokens", "4.1T", "--flops", "3.03271664e24")
    answer = ask(capsys, *command, "--repeat", "halving")
    same, larger = answer["sizes"]
    assert (same["label"], larger["label"]) == ("67B", "1.41 x 67B")
    assert larger["params"] == pytest.approx(1.41 * 67e9)
    assert larger["epochs_total"] == pytest.approx(1.305, abs=5e-4)
    assert larger["epochs_extra"] == pytest.approx(0.305, abs=5e-4)
    assert larger["loss"] == pytest.approx(1.88041, abs=5e-6)
    assert same["loss"] == pytest.approx(1.88376, abs=5e-6)
    text = say(capsys, *command, "--repeat", "halving")
    assert "epochs in all" in text
    assert "1.305" in text


def test_growing_by_other_factors_replaces_the_constant(capsys):
    answer = ask(capsys, "tokens", *EXERCISE, "--repeat", "halving", "--grow", "1.41,2")
    cheap = answer["same_cost"][0]
    assert [run["params"] / 67e9 for run in cheap["grown"]] == pytest.approx([1.41, 2])
    assert cheap["grown"][0]["loss"] == pytest.approx(1.88041, abs=5e-6)
    by_hand = train(
        HOFFMANN2022, params=134e9, tokens=cheap["flops"] / 6 / 134e9, unique_tokens=4.1e12, rule=HALVING
    )
    assert cheap["grown"][1]["loss"] == pytest.approx(by_hand.loss, rel=1e-12)
    text = say(capsys, "tokens", *EXERCISE, "--repeat", "halving", "--grow", "2", "--explain")
    assert "2 N runs 0.92 epochs to 1.88057" in " ".join(text.split())
    assert "1.41 N" not in text


def test_sizes_come_in_lists_and_by_name(capsys):
    answer = ask(capsys, "loss", "--params", "67B,gpt3-175b, 1e9", "--tokens", "300B")
    # counted from its shape; the published figure stands in the note
    assert [row["params"] for row in answer["sizes"]] == [67e9, 174_604_259_328, 1e9]
    assert any("published as 175B" in line for line in answer["warnings"])
    for row in answer["sizes"]:
        assert row["loss"] == pytest.approx(HOFFMANN2022.loss(row["params"], tokens=3e11), rel=1e-12)
    text = say(capsys, "loss", "--params", "67B,gpt3-175b,1e9", "--tokens", "300B")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["67B", "gpt3-175b", "1B"]
    one = ask(capsys, "loss", "--params", "gpt2", "--tokens", "10B")
    assert one["params"] == 124_439_808


def test_a_law_without_embeddings_takes_a_named_models_parameters_without_them(capsys):
    # GPT-2: 124,439,808 in all, 50,257 x 768 + 1,024 x 768 of them embeddings and positions
    answer = ask(capsys, "loss", "--params", "gpt2", "--tokens", "10B", "--law", "kaplan2020")
    assert answer["params"] == 124_439_808 - 50_257 * 768 - 1024 * 768
    assert any("without embeddings" in line for line in answer["warnings"])


def test_tokens_of_several_sizes_name_those_out_of_reach(capsys):
    answer = ask(capsys, "tokens", "--params", "7B,67B,200B", "--loss", "1.85")
    assert [row["reachable"] for row in answer["sizes"]] == [False, True, True]
    for row in answer["sizes"][1:]:
        assert HOFFMANN2022.loss(row["params"], tokens=row["tokens_effective"]) == pytest.approx(1.85, rel=1e-9)
    assert "unreachable" in say(capsys, "tokens", "--params", "7B,67B,200B", "--loss", "1.85")
    assert ask(capsys, "tokens", "--params", "1B,7B", "--loss", "1.7", status=1)["sizes"][0]["reachable"] is False


def test_loss_and_epochs_show_what_every_law_says(capsys):
    loss = ask(capsys, "loss", "--params", "7B", "--tokens", "1T", "--epochs", "4", "--repeat", "halving")
    epochs = ask(capsys, "epochs", *("--params", "7B", "--unique-tokens", "1T", "--flops", "4e22"))
    seen = 0
    for name, law in PRETRAINING_LAWS.items():
        assert isinstance(law, ParametricLaw)
        (of_loss,) = [row for row in loss["spread"] if row["law"] == name]
        # halving: four passes over U are worth 2 U (1 - 2^-4) = 1.875 U
        assert of_loss["loss"] == pytest.approx(law.loss(7e9, tokens=1.875e12), rel=1e-12)
        (of_epochs,) = [row for row in epochs["spread"] if row["law"] == name]
        assert of_epochs["loss"] == pytest.approx(law.loss(7e9, tokens=4e22 / 42e9), rel=1e-12)
        assert of_epochs["best"]["params"] == pytest.approx(law.optimal_params(4e22), rel=1e-6)
        seen += 1
    assert seen == 7
    assert "gadre2024-refinedweb" in say(capsys, "loss", "--params", "7B", "--tokens", "1T")


def test_explain_names_where_a_rounded_figure_would_differ(capsys):
    answer = ask(capsys, "tokens", *EXERCISE, "--repeat", "halving", "--explain")
    rounded = {(row["what"], row["digits"]): row["tokens"] for row in answer["rounding"]}
    # the two: from L = 1.90, and from the target as printed with nine decimals
    assert rounded["L", 3] == pytest.approx(6.48e12, rel=2e-3)
    assert rounded["L'", 10] == pytest.approx(7.54407114e12, rel=1e-9)
    assert answer["tokens_effective"] == pytest.approx(7.54407124e12, rel=1e-9)
    text = " ".join(say(capsys, "tokens", *EXERCISE, "--repeat", "halving", "--explain").split())
    assert "1.876551052 gives 7.54407114e12" in text
    assert "1.90 gives 6.48e+12 (-14%)" in text
    assert "chained unrounded: 7.54407124e12" in text


def test_epochs_are_said_to_be_a_total_and_an_addition(capsys):
    tokens = " ".join(say(capsys, "tokens", *EXERCISE, "--repeat", "halving", "--explain").split())
    assert "3.644 epochs is the total; 2.644 is the addition to the first" in tokens
    command = ("epochs", "--params", "94.47B", "--unique-tokens", "4.1T", "--flops", "3.03271664e24")
    epochs = " ".join(say(capsys, *command, "--repeat", "halving", "--explain").split())
    assert "1.305 epochs is the total; 0.305 is the addition to the first" in epochs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("loss", "--params", "gpt4", "--tokens", "1T"), "no model is known by the name 'gpt4'"),
        (("loss", "--params", "1B,,2B", "--tokens", "1T"), "--params names no size"),
        (("loss", "--params", "mixtral-8x7b", "--tokens", "1T"), "mixture of experts"),
        (("loss", "--params", "1B", "--tokens", "1T", "--grow", "x"), "--grow is not a number"),
        (("loss", "--params", "1B", "--tokens", "1T", "--grow", "1e9"), "--grow is out of range"),
        (("loss", "--params", "1B", "--tokens", "1T", "--grow", "-2"), "more than zero"),
        (("tokens", "--params", "1B", "--flops", "1e21", "--loss", "2"), "--loss or --improve, or --flops"),
        (("tokens", "--params", "1B", "--flops", "1e21", "--repeat", "halving"), "--unique-tokens"),
        (("tokens", "--params", "1B", "--flops", "1e21", "--law", "kaplan2020"), "E + A/N^alpha"),
        (("tokens", "--params", "1B,2B", "--loss", "2.5", "--explain"), "--explain takes one size"),
    ],
)
def test_bad_variations_are_one_line(capsys, arguments, said):
    assert dispatch(["scale", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert said in output.err


def test_a_fitted_law_takes_the_same_variations(capsys, tmp_path):
    runs = synthetic(BESIROGLU2024, runs=12, noise=0.004, seed=1)
    path, saved = tmp_path / "runs.csv", tmp_path / "law.json"
    rows = [
        f"{n!r},{d!r},{loss!r}"
        for n, d, loss in zip(*(c.tolist() for c in (runs.params_R, runs.tokens_R, runs.loss_R)), strict=True)
    ]
    path.write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    fit = ask(capsys, "fit", str(path), "--save", str(saved))
    answer = ask(capsys, "tokens", "--params", "1B", "--flops", "1e21", "--law", str(saved), "--grow", "2")
    assert len(answer["sizes"]) == 2
    assert answer["law"]["coefficients"] == fit["coefficients"]
    text = say(capsys, "fit", str(path), "--predict", "1B:20B")
    assert "profile likelihood, Student's t with 7 degrees of freedom" in text
