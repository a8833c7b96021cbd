"""`finetrial scale` as a user meets it: answers, JSON keys, exit statuses, one clear line for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processor_time import taken_and_allowed
from synthetic_runs import COLUMNS, synthetic

from finetrial.api.run_table import parse_columns, read_runs
from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.scaling.published_laws import BESIROGLU2024, MUENNIGHOFF2023
from finetrial.scaling.repeated_data import MUENNIGHOFF
from finetrial.scaling.target_loss import train


def ask(capsys, *arguments: str, status: int = 0) -> dict:
    """One command with --json: its object, after its exit status was checked."""
    assert dispatch(["scale", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def write_runs(path: Path, runs, *, unique: bool = False) -> Path:
    rows = ["params,tokens,loss" + (",unique_tokens" if unique else "")]
    for index in range(len(runs)):
        row = [runs.params_R[index], runs.tokens_R[index], runs.loss_R[index]]
        rows.append(",".join(repr(float(v)) for v in [*row, *([runs.unique_tokens_R[index]] if unique else [])]))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_loss_and_flops_of_the_first_figure(capsys):
    answer = ask(capsys, "loss", "--params", "67B", "--tokens", "4.1T")
    assert answer["loss"] == pytest.approx(1.895506113, rel=1e-6)
    assert answer["flops"] == pytest.approx(1.6482e24, rel=1e-6)
    assert answer["floor"] == pytest.approx(1.69 + 406.4 / 67e9**0.34, rel=1e-12)
    assert answer["law"]["name"] == "hoffmann2022"
    assert any("extrapolation" in line for line in answer["warnings"])


def test_constants_on_the_command_line_are_a_law(capsys):
    law = "E=1.69,A=406.4,B=410.7,alpha=0.34,beta=0.28"
    answer = ask(capsys, "loss", "--params", "67B", "--tokens", "4.1T", "--law", law)
    assert answer["loss"] == pytest.approx(1.895506113, rel=1e-6)


def test_tokens_of_the_second_figure_with_both_costs(capsys):
    answer = ask(
        capsys,
        *("tokens", "--params", "67B", "--improve", "1%", "--from-tokens", "4.1T"),
        *("--unique-tokens", "4.1T", "--repeat", "halving"),
    )
    expected = {
        "loss": 1.876551052,
        "tokens_effective": 7.54407124e12,
        "flops_effective": 3.03271664e24,
        "epochs_extra": 2.644012867,
        "epochs_total": 3.644012867,
        "tokens_processed": 1.494045275e13,
        "flops_processed": 6.006062007e24,
    }
    for name, value in expected.items():
        assert answer[name] == pytest.approx(value, rel=1e-6), name
    # the third figure's comparison at equal cost, once at each of the two costs
    cheap, dear = answer["same_cost"]
    assert cheap["larger"]["loss"] == pytest.approx(1.88041, abs=5e-6)
    assert cheap["same_size"]["loss"] == pytest.approx(1.88376, abs=5e-6)
    assert cheap["best"]["loss"] > answer["loss"] > dear["best"]["loss"]
    assert {row["law"] for row in answer["spread"]} >= {"hoffmann2022", "besiroglu2024", "muennighoff2023"}


def test_tokens_without_unique_tokens_leave_epochs_undefined_with_the_reason(capsys):
    answer = ask(capsys, "tokens", "--params", "67B", "--loss", "1.8766")
    assert answer["epochs_total"] is None
    assert "unique-tokens" in answer["epochs_reason"]
    assert answer["tokens_effective"] == answer["tokens_processed"]
    unreachable = [row for row in answer["spread"] if not row["reachable"]]
    assert "besiroglu2024" in {row["law"] for row in unreachable}  # its floor at 67B is 1.90


def test_epochs_and_loss_of_the_third_figure(capsys):
    answer = ask(
        capsys,
        *("epochs", "--params", "94.47B", "--unique-tokens", "4.1T", "--flops", "3.0327e24", "--repeat", "halving"),
    )
    assert answer["epochs_total"] == pytest.approx(1.305, abs=5e-4)
    assert answer["loss"] == pytest.approx(1.88041, abs=5e-6)
    assert answer["best_at_same_cost"]["loss"] == pytest.approx(1.87964, abs=5e-6)


def test_optimal_defaults_to_the_unrounded_set_and_shows_its_neighbours(capsys):
    answer = ask(capsys, "optimal", "--flops", "5.76e23")
    assert answer["tokens_per_param"] == pytest.approx(59, abs=0.5)
    assert answer["law"]["name"] == "hoffmann2022-unrounded"
    for side, factor in (("half", 0.5), ("twice", 2.0)):
        neighbour = answer["neighbours"][side]
        assert neighbour["params"] == pytest.approx(factor * answer["params"])
        assert neighbour["loss"] > answer["loss"]
    assert answer["unrounded"] is None


def test_optimal_of_a_rounded_set_warns_and_gives_the_unrounded_answer(capsys):
    answer = ask(capsys, "optimal", "--flops", "5.76e23", "--law", "hoffmann2022")
    assert answer["tokens_per_param"] == pytest.approx(93, abs=0.5)
    unrounded = answer["unrounded"]
    assert unrounded["tokens_processed"] / unrounded["params"] == pytest.approx(59, abs=0.5)
    assert any("rounded" in line and "59" in line for line in answer["warnings"])


def test_optimal_under_repetition_finds_the_worked_optimum(capsys):
    answer = ask(
        capsys,
        *("optimal", "--flops", "3.03271664e24", "--unique-tokens", "4.1T", "--repeat", "halving"),
        *("--law", "hoffmann2022"),
    )
    assert answer["params"] / 67e9 == pytest.approx(1.84, abs=0.01)
    assert answer["loss"] == pytest.approx(1.87964, abs=5e-6)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("--loss", "1.7"), 1.69 + 406.4 / 67e9**0.34),  # below the floor at any amount of data
        # beyond what repetition can sum to: 2 U
        (
            ("--loss", "1.80", "--unique-tokens", "4.1T", "--repeat", "halving"),
            1.69 + 406.4 / 67e9**0.34 + 410.7 / 8.2e12**0.28,
        ),
    ],
)
def test_unreachable_is_exit_status_1_with_the_floor_and_the_nearest_loss(capsys, arguments, nearest):
    answer = ask(capsys, "tokens", "--params", "67B", *arguments, status=1)
    assert answer["reachable"] is False
    assert answer["floor"] == pytest.approx(1.69 + 406.4 / 67e9**0.34)
    assert answer["nearest_loss"] == pytest.approx(nearest, rel=1e-9)
    assert answer["tokens_effective"] is None
    assert answer["reason"]


def test_serving_more_than_the_budget_is_answered_no(capsys):
    answer = ask(capsys, "optimal", "--flops", "1e22", "--inference-tokens", "1e30", status=1)
    assert "serving alone" in answer["error"]["what"]
    tight = ask(capsys, "optimal", "--flops", "1e22", "--inference-tokens", "1e19")  # 2 N T <= C: N below 500
    assert 0 < tight["params"] < 500
    assert tight["flops_training"] + 2 * tight["params"] * 1e19 == pytest.approx(1e22)


def test_explain_is_a_worked_exercise_in_text_and_in_latex(capsys):
    command = ["scale", "tokens", "--params", "67B", "--improve", "1%", "--from-tokens", "4.1T"]
    command += ["--unique-tokens", "4.1T", "--repeat", "halving", "--explain"]
    assert dispatch(command) == 0
    text = capsys.readouterr().out
    for part in ("1.895506113", "7.544071238e12", "chained unrounded", "6.48e+12", "1.88376", "1.88041", "misses"):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert dispatch([*command, "--format", "latex"]) == 0
    latex = capsys.readouterr().out
    assert r"\frac{B}{L' - E - A/N^{\alpha}}" in latex
    assert latex.count("{") == latex.count("}")
    assert "<" not in latex.replace(r"\left<", "")  # every value was put in


def test_explanations_stand_in_json_too(capsys):
    seen = 0
    for command in (
        ("loss", "--params", "67B", "--tokens", "4.1T", "--epochs", "3", "--repeat", "muennighoff2023"),
        ("epochs", "--params", "67B", "--unique-tokens", "1T", "--flops", "1e24", "--repeat", "geometric:0.7"),
        ("optimal", "--flops", "1e22", "--unique-tokens", "10B", "--repeat", "muennighoff2023"),
        ("loss", "--params", "1B", "--tokens", "20B", "--law", "kaplan2020"),
    ):
        explanation = ask(capsys, *command, "--explain")["explanation"]
        assert all(step["formula"] and step["source"] for step in explanation["steps"])
        seen += 1
    assert seen == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("loss", "--params", "-1B", "--tokens", "1T"), "more than zero"),
        (("loss", "--params", "0", "--tokens", "1T"), "more than zero"),
        (("loss", "--params", "67X", "--tokens", "1T"), "unknown unit"),
        (("loss", "--params", "1B", "--tokens", "1T", "--epochs", "-2"), "more than zero"),
        (("loss", "--params", "1B", "--tokens", "1T", "--law", "hofmann2022"), "Did you mean 'hoffmann2022'?"),
        (("loss", "--params", "1B", "--tokens", "1T", "--law", "none.json"), "no law file"),
        (("loss", "--params", "1B", "--tokens", "1T", "--repeat", "often"), "halving"),
        (("loss", "--params", "1B", "--tokens", "1T", "--repeat", "fitted"), "law file"),
        (("loss", "--params", "1B"), "tokens"),
        (("loss", "--params", "1e300", "--tokens", "1e300"), "--params is out of range"),
        (("optimal", "--flops", "1e-5"), "--flops is out of range"),
        (("tokens", "--params", "67B", "--loss", "1e9"), "--loss is out of range"),
        (("tokens", "--params", "67B", "--loss", "inf"), "--loss is not a number"),
        (("tokens", "--params", "1B"), "--loss or --improve"),
        (("tokens", "--params", "1B", "--loss", "3", "--improve", "1%"), "--loss or --improve"),
        (("tokens", "--params", "1B", "--improve", "1%"), "--from-tokens"),
        (("tokens", "--params", "1B", "--improve", "200%", "--from-tokens", "1T"), "between 0 and 1"),
        (("tokens", "--params", "1B", "--loss", "3", "--repeat", "halving"), "--unique-tokens"),
        (("optimal", "--flops", "1e22", "--law", "kaplan2020"), "E + A/N^alpha"),
        (("optimal", "--flops", "1e22", "--repeat", "halving"), "--unique-tokens"),
        (("fit", "nowhere.csv"), "no file nowhere.csv"),
        (("plot", "fit", "-o", "x.svg"), "needs a csv"),
        (("plot", "contours", "-o", "x.txt"), ".svg, .png, .pdf"),
        (("sizes",), "sizes"),
    ],
)
def test_bad_input_is_one_line_that_says_what_exists(capsys, arguments, said):
    assert dispatch(["scale", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert said in output.err


def test_bad_cells_are_named_with_their_lines(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("params,tokens,loss\n1e8,1e9,3.1\n,2e9,nan\n2e8,x,2.9\n\n3e8,-1,inf\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_runs(path, columns=None)
    text = str(caught.value)
    assert "5 bad cells" in text
    assert "line 3, params: missing; line 3, loss: 'nan' is not finite" in text
    assert "line 4, tokens: 'x' is not a number and 2 more" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("params,tokens,loss\n", "no runs"),
        ("params,loss\n1,2\n", "no column tokens or flops"),
        ("x,y,z\n1,2,3\n", "got the columns x, y, z"),
        ("params,params,tokens,loss\n1,1,2,3\n", "more than once"),
    ],
)
def test_files_without_what_a_fit_needs_are_refused(tmp_path, content, said):
    path = tmp_path / "runs.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"runs\.csv") as caught:
        read_runs(path, columns=None)
    assert said in str(caught.value)


def test_columns_are_mapped_with_and_without_quotes(tmp_path):
    expected = {"params": "Model Size", "flops": "Training FLOP, total"}
    assert parse_columns('params="Model Size",flops="Training FLOP, total"') == expected
    assert parse_columns("params=Model Size, loss=L") == {"params": "Model Size", "loss": "L"}
    path = tmp_path / "runs.csv"
    path.write_text('Model Size,"Training FLOP, total",loss\n70M,8.4e17,3.2\n', encoding="utf-8")
    runs = read_runs(path, columns='params="Model Size",flops="Training FLOP, total"')
    assert runs.tokens_R[0] == pytest.approx(8.4e17 / (6 * 70e6))
    with pytest.raises(UserError, match="Did you mean 'Model Size'"):
        read_runs(path, columns="params=Model size")
    with pytest.raises(UserError, match="unknown column role 'size'"):
        parse_columns("size=N")


@pytest.mark.real_data
def test_fit_of_the_published_runs_has_the_promised_keys(capsys, chinchilla_file, tmp_path):
    saved = tmp_path / "law.json"
    answer = ask(
        capsys,
        *("fit", str(chinchilla_file), "--columns", COLUMNS, "--drop-highest", "5", "--bootstrap", "200"),
        *("--flops", "5.76e23", "--save", str(saved)),
    )
    assert set(answer["coefficients"]) == {"E", "A", "B", "alpha", "beta"}
    assert answer["coefficients"]["B"] == pytest.approx(2143, abs=0.5)
    assert answer["objective"] == pytest.approx(0.00101827, abs=5e-9)
    assert answer["runs_used"] == 240
    for name, (low, high) in answer["intervals"].items():
        assert low < answer["coefficients"][name] < high
    assert set(answer["decision"]["intervals"]) == {"params", "tokens", "loss"}
    assert answer["decision"]["extrapolation"] == pytest.approx(44.5, abs=0.1)
    assert any("extrapolation" in line for line in answer["warnings"])
    assert len(answer["influence"]["runs"]) == 5
    assert len(answer["residuals"]) == 240
    again = ask(capsys, "loss", "--params", "70B", "--tokens", "1.4T", "--law", str(saved))
    law = answer["coefficients"]
    assert again["loss"] == pytest.approx(
        law["E"] + law["A"] / 70e9 ** law["alpha"] + law["B"] / 1.4e12 ** law["beta"], rel=1e-12
    )
    assert any("extrapolation" in line for line in again["warnings"])  # 45 times the largest run


@pytest.mark.real_data
def test_fit_of_all_published_runs_reports_what_five_points_do(capsys, chinchilla_file):
    answer = ask(capsys, "fit", str(chinchilla_file), "--columns", COLUMNS, "--bootstrap", "0")
    assert any("5 highest losses move B 5.99-fold" in line for line in answer["warnings"])
    assert answer["bootstrap"] is None
    assert answer["intervals"] == answer["profile_intervals"]


def test_held_out_runs_are_predicted_beside_their_truth(capsys, tmp_path):
    path = write_runs(tmp_path / "runs.csv", synthetic(BESIROGLU2024, runs=50, noise=0.004, seed=4))
    answer = ask(capsys, "fit", str(path), "--hold-out-above", "3e20", "--bootstrap", "200")
    assert answer["runs_used"] + len(answer["held_out"]) == 50
    assert answer["intervals_by"].startswith("bootstrap of runs")
    for row in answer["held_out"]:
        assert row["flops"] > 3e20
        assert row["interval"][0] < row["predicted"] < row["interval"][1]
        assert row["covered"] == (row["interval"][0] <= row["measured"] <= row["interval"][1])
    assert sum(row["covered"] for row in answer["held_out"]) >= 0.7 * len(answer["held_out"])
    asked = ask(capsys, "fit", str(path), "--bootstrap", "50", "--predict", "1B:20B", "--predict", "1T:20T")
    near, far = asked["predictions"]
    assert near["interval"][0] < near["predicted"] < near["interval"][1]
    assert near["measured"] is None
    assert near["predicted"] == pytest.approx(BESIROGLU2024.loss(1e9, tokens=2e10), rel=0.01)
    assert far["extrapolation"] > 10
    assert any("extrapolation: the run 1e+12:2e+13" in line for line in asked["warnings"])
    assert dispatch(["scale", "fit", str(path), "--predict", "1B"]) == 2
    assert "PARAMS:TOKENS" in capsys.readouterr().err
    assert dispatch(["scale", "fit", str(path), "--hold-out-above", "1e30"]) == 2
    assert dispatch(["scale", "fit", str(path), "--hold-out-above", "1"]) == 2
    assert dispatch(["scale", "fit", str(path), "--drop-highest", "50"]) == 2
    assert capsys.readouterr().err.count("error:") == 3


def test_repetition_is_fitted_saved_and_used(capsys, tmp_path):
    runs = synthetic(MUENNIGHOFF2023, runs=12, noise=0.0, seed=1)
    rows = ["params,tokens,loss,unique_tokens"]
    for index in range(12):
        params, unique = float(runs.params_R[index]), float(runs.tokens_R[index])
        rows.append(f"{params!r},{unique!r},{float(runs.loss_R[index])!r},{unique!r}")
        for epochs in (3.0, 12.0, 40.0):
            run = train(
                MUENNIGHOFF2023,
                params=params,
                tokens=epochs * unique,
                unique_tokens=unique,
                rule=MUENNIGHOFF,
            )
            rows.append(f"{params!r},{epochs * unique!r},{run.loss!r},{unique!r}")
    path, saved = tmp_path / "repeated.csv", tmp_path / "law.json"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    answer = ask(capsys, "fit", str(path), "--repeat", "--bootstrap", "0", "--save", str(saved))
    found = answer["repetition"]
    assert found["r_star_tokens"] == pytest.approx(15.387756, rel=1e-3)
    assert found["r_star_params"] == pytest.approx(5.309743, rel=1e-3)
    assert found["identified"] is True
    assert found["other_optima"] == []
    assert set(found["intervals"]) == {"r_star_tokens", "r_star_params"}
    used = ask(
        capsys,
        "loss",
        "--params",
        "1B",
        "--tokens",
        "5B",
        "--epochs",
        "8",
        "--law",
        str(saved),
        "--repeat",
        "fitted",
    )
    plan = train(MUENNIGHOFF2023, params=1e9, tokens=40e9, unique_tokens=5e9, rule=MUENNIGHOFF)
    assert used["loss"] == pytest.approx(plan.loss, rel=1e-4)
    assert dispatch(["scale", "fit", str(path), "--repeat", "--hold-out-above", "1e20"]) == 2
    assert "do not go together" in capsys.readouterr().err
    blind = ask(capsys, "fit", str(path), "--bootstrap", "0")
    assert any("36 runs repeat their data" in line for line in blind["warnings"])
    other = ask(capsys, "fit", str(path), "--repeat", "--base", "muennighoff2023")
    assert other["repetition"]["base"] == "frozen"
    assert other["intervals"] is None
    assert other["intervals_reason"]


def test_repeat_needs_unique_tokens_and_enough_runs(capsys, tmp_path):
    runs = synthetic(BESIROGLU2024, runs=9, noise=0.0, seed=1)
    path = write_runs(tmp_path / "runs.csv", runs)
    assert dispatch(["scale", "fit", str(path), "--repeat"]) == 2
    assert "unique_tokens" in capsys.readouterr().err
    few = write_runs(tmp_path / "few.csv", runs.select(runs.lines_R < 6))
    assert dispatch(["scale", "fit", str(few)]) == 2
    assert "fewer runs than coefficients; got 4 runs" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_pictures_are_written_whole_and_the_same_twice(capsys, tmp_path, suffix):
    runs = write_runs(tmp_path / "runs.csv", synthetic(BESIROGLU2024, runs=40, noise=0.004, seed=1))
    made = 0
    for arguments in (
        ("contours", "--flops", "1e20,1e22"),
        ("repetition", "--params", "1B", "--unique-tokens", "5B"),
        ("fit", str(runs), "--bootstrap", "50"),
    ):
        pictures = []
        for name in ("one", "two"):
            path = tmp_path / f"{arguments[0]}-{name}.{suffix}"
            assert dispatch(["scale", "plot", *arguments, "-o", str(path)]) == 0
            pictures.append(path.read_bytes())
        assert pictures[0] == pictures[1]
        assert pictures[0].startswith(b"<?xml" if suffix == "svg" else b"\x89PNG")
        assert len(pictures[0]) > 10_000
        made += 1
    assert made == 3
    assert not list(tmp_path.glob("*.tmp"))


def test_a_plain_answer_loads_neither_numpy_nor_scipy_nor_matplotlib_nor_the_fitting_code():
    code = (
        "import sys; from finetrial.cli.main import dispatch; "
        "assert dispatch(['scale', 'loss', '--params', '67B', '--tokens', '4.1T', '--json']) == 0; "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        "assert not loaded & {'numpy', 'scipy', 'matplotlib', 'torch', 'transformers'}, loaded; "
        "bad = [n for n in sys.modules if n.startswith('finetrial.scaling.') and n.rsplit('.', 1)[1] in "
        "('fitting', 'newton', 'objective', 'resampling', 'profiling', 'repeating', 'figures')]; "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs os.wait4 to read a child's processor time")
def test_a_plain_answer_takes_under_300_ms_of_processor_time():
    question = ["scale", "loss", "--params", "67B", "--tokens", "4.1T", "--json"]
    code = "from finetrial.cli.main import main; main()"
    taken, allowed = taken_and_allowed("-c", code, *question, seconds=0.3)
    assert taken < allowed
