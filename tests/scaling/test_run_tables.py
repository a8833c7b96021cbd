"""Tables of runs as trackers and papers write them: columns, units, doubled rows, several experiments."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import synthetic

import finetrial
from finetrial.api.run_table import read_table
from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.scaling.published_laws import BESIROGLU2024
from finetrial.scaling.run_columns import PFLOP_DAY, meaning_of, parse_units
from finetrial.scaling.training_runs import Runs

LAW = BESIROGLU2024
RUNS = synthetic(LAW, runs=12, noise=0.004, seed=3)


def write(path: Path, header: str, columns: list, *, more: str | None = None) -> Path:
    rows = [",".join(map(str, row)) + (f",{more}" if more else "") for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def plain_columns(runs: Runs, *, params: float = 1, tokens: float = 1, loss: float = 1) -> list:
    return [(runs.params_R / params).tolist(), (runs.tokens_R / tokens).tolist(), (runs.loss_R * loss).tolist()]


@pytest.mark.parametrize(
    ("name", "role", "unit"),
    [
        ("params_m", "params", "M"),
        ("params (M)", "params", "M"),
        ("Params, M", "params", "M"),
        ("params in millions", "params", "M"),
        ("parameter_count", "params", None),
        ("Model Size", "params", None),
        ("n_params", "params", None),
        ("numParams", "params", None),
        ("non_embedding_params", "params", None),
        ("N", "params", None),
        ("tokens_b", "tokens", "B"),
        ("Tokens (billions)", "tokens", "B"),
        ("total_tokens", "tokens", None),
        ("num_input_tokens_seen", "tokens", None),
        ("unique_tokens_b", "unique_tokens", "B"),
        ("dataset_tokens", "unique_tokens", None),
        ("total_gflops", "flops", "G"),
        ("Training FLOP", "flops", None),
        ("total_flos", "flops", None),
        ("FLOPs (1e18)", "flops", "E"),
        ("train_zflops", "flops", "Z"),
        ("petaflop_s_days", "flops", "PF-days"),
        ("compute_pfdays", "flops", "PF-days"),
        ("eval/loss", "loss", None),
        ("Validation Loss", "loss", None),
    ],
)
def test_names_that_trackers_export_are_known(name: str, role: str, unit: str | None):
    found = meaning_of(name)
    assert found is not None
    assert (found.role, found.unit) == (role, unit)


@pytest.mark.parametrize(
    "name",
    [
        "tokens_per_second",
        "loss_std",
        "tflops_per_gpu",
        "max_tokens",
        "step",
        "color",
        "perplexity",
        "params_lr",
        "",
    ],
)
def test_names_that_mean_something_else_are_left_alone(name: str):
    assert meaning_of(name) is None


def test_a_petaflop_day_is_8_64e19_flops():
    assert pytest.approx(8.64e19) == PFLOP_DAY


@pytest.mark.parametrize(
    ("header", "scales", "options"),
    [
        ("params_m,tokens_b,loss", (1e6, 1e9), {}),
        ("params (M),tokens (B),eval_loss", (1e6, 1e9), {}),
        ("params,tokens,loss", (1e6, 1e9), {"units": "params=M,tokens=B"}),
        ("params,tokens,loss", (1e9, 1e12), {"units": "params=B,tokens=1e12"}),
        ("parameter_count,total_tokens,val/loss", (1, 1), {}),
        ("size (B),D,L", (1e9, 1), {"columns": "params=size (B)"}),
    ],
)
def test_units_are_read_from_names_or_options(tmp_path, header, scales, options):
    path = write(tmp_path / "runs.csv", header, plain_columns(RUNS, params=scales[0], tokens=scales[1]))
    table = read_table(path, **options)
    assert table.runs.params_R == pytest.approx(RUNS.params_R, rel=1e-12)
    assert table.runs.tokens_R == pytest.approx(RUNS.tokens_R, rel=1e-12)
    assert table.runs.loss_R == pytest.approx(RUNS.loss_R)


def test_a_suffix_in_a_cell_takes_the_place_of_the_columns_unit(tmp_path):
    path = write(
        tmp_path / "runs.csv",
        "params_m,tokens,loss",
        [["70M", "0.4B", "410"], ["1.4B", "8B", "9e9"], [3, 2.8, 2.7]],
    )
    assert read_table(path).runs.params_R.tolist() == [70e6, 400e6, 410e6]


@pytest.mark.parametrize(
    ("scales", "fix"),
    [
        ((1e6, 1e9), "--units params=M,tokens=B"),
        ((1e6, 1), "--units params=M"),
        ((1, 1e9), "--units tokens=B"),
        ((1e9, 1e12), "--units params=B,tokens=T"),
    ],
)
def test_counts_that_cannot_be_are_asked_about_and_never_fitted(tmp_path, capsys, scales, fix):
    # the issue: sizes in millions and tokens in billions fitted silently, and the advice was 5,117 parameters
    path = write(
        tmp_path / "runs.csv", "params,tokens,loss", plain_columns(RUNS, params=scales[0], tokens=scales[1])
    )
    assert dispatch(["scale", "fit", str(path), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "in which units" in error["what"]
    assert fix in error["fix"]
    units = error["fix"].split("--units ")[1].split()[0]
    assert dispatch(["scale", "fit", str(path), "--units", units, "--json"]) == 0
    advised = json.loads(capsys.readouterr().out)["decision"]["params"]
    assert 1e8 < advised < 1e11


def test_a_suggested_unit_makes_usual_ratios_of_tokens_and_parameters(tmp_path):
    """Sizes from 70M to 23B have a middle of 1,300 in millions, which might be thousands; the tokens say not."""
    params = np.geomspace(73e6, 23e9, 9)
    runs = Runs(params, 20 * params, LAW.E + params**-0.1, np.arange(2, 11))
    path = write(tmp_path / "runs.csv", "params,tokens,loss", plain_columns(runs, params=1e6, tokens=1e9))
    with pytest.raises(UserError) as caught:
        read_table(path)
    assert "--units params=M,tokens=B" in str(caught.value)


def test_units_of_1_take_numbers_as_they_stand(tmp_path):
    path = write(tmp_path / "runs.csv", "params,tokens,loss", plain_columns(RUNS, params=1e6, tokens=1e9))
    assert read_table(path, units="params=1,tokens=1").runs.params_R.max() < 1e5


def test_a_unit_in_a_name_that_cannot_be_is_asked_about_too(tmp_path):
    path = write(
        tmp_path / "runs.csv", "params_m,tokens,loss", plain_columns(RUNS)
    )  # counts under a name in millions
    with pytest.raises(UserError, match="read in units of M") as caught:
        read_table(path)
    assert "params=1" in str(caught.value)
    assert read_table(path, units="params=1").runs.params_R == pytest.approx(RUNS.params_R)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params", "list of NAME=UNIT"),
        ("loss=M", "unknown column with a unit 'loss'"),
        ("params=Q", "unknown unit 'Q'"),
        ("params=M,params=B", "params twice"),
    ],
)
def test_bad_units_are_refused(text, said):
    with pytest.raises(UserError, match=said):
        parse_units(text)


def test_flops_are_held_against_6nd(tmp_path):
    flops = RUNS.flops_R.copy()
    flops[4] *= 3
    path = write(
        tmp_path / "runs.csv", "params,tokens,loss,total_gflops", [*plain_columns(RUNS), (flops / 1e9).tolist()]
    )
    (note,) = [note for note in read_table(path).notes if "6 N D" in note]
    assert "line 6 (3 times)" in note  # the fifth run, below the header
    agreeing = write(tmp_path / "b.csv", "params,tokens,loss,flops", [*plain_columns(RUNS), RUNS.flops_R.tolist()])
    assert read_table(agreeing).notes == ()


def test_flops_in_another_unit_are_refused_with_the_unit(tmp_path):
    path = write(
        tmp_path / "runs.csv", "params,tokens,loss,flops", [*plain_columns(RUNS), (RUNS.flops_R / 1e9).tolist()]
    )
    with pytest.raises(UserError, match="1e-09 times 6 N D") as caught:
        read_table(path)
    assert "--units flops=B" in str(caught.value)
    assert read_table(path, units="flops=B").notes == ()
    assert len(read_table(path, columns="tokens=tokens").runs) == 12  # the user chose: the FLOPs are not read


def test_flops_off_throughout_are_named_in_one_sentence(tmp_path):
    path = write(
        tmp_path / "runs.csv", "params,tokens,loss,flops", [*plain_columns(RUNS), (RUNS.flops_R / 3).tolist()]
    )
    (note,) = read_table(path).notes
    assert "0.333 times 6 N D at the middle run" in note


def test_tokens_come_from_flops_where_there_are_none(tmp_path):
    path = write(
        tmp_path / "runs.csv", "params,loss,total_pflops", [RUNS.params_R, RUNS.loss_R, RUNS.flops_R / 1e15]
    )
    assert read_table(path).runs.tokens_R == pytest.approx(RUNS.tokens_R, rel=1e-12)


def test_exact_duplicates_are_counted_once_and_named(tmp_path, capsys):
    columns = [column + column[:3] for column in plain_columns(RUNS)]
    table = read_table(write(tmp_path / "runs.csv", "params,tokens,loss", columns))
    assert len(table.runs) == 12
    assert table.runs.lines_R.tolist() == list(range(2, 14))
    (note,) = table.notes
    assert "3 rows repeat another" in note
    assert "line 14 (as line 2)" in note
    # a table pasted twice gives the intervals of the table: they used to shrink by a third
    answers = []
    for name, times in (("once", 1), ("twice", 2)):
        path = write(tmp_path / f"{name}.csv", "params,tokens,loss", [c * times for c in plain_columns(RUNS)])
        assert dispatch(["scale", "fit", str(path), "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["intervals"] == answers[1]["intervals"]
    assert any("12 rows repeat another" in line for line in answers[1]["warnings"])


@pytest.mark.filterwarnings("error")
def test_several_experiments_at_the_same_places_are_named_and_no_law_is_advised(tmp_path, capsys):
    columns = [a + b for a, b in zip(plain_columns(RUNS), plain_columns(RUNS, loss=0.85), strict=True)]
    path = write(tmp_path / "runs.csv", "params,tokens,loss,corpus", [*columns, ["c4"] * 12 + ["pile"] * 12])
    assert dispatch(["scale", "fit", str(path), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    answer = json.loads(captured.out)
    assert answer["coefficients"] is None
    assert answer["decision"] is None
    assert "losses differ by more than 3% in 12 places" in answer["reason"]
    assert '--where "corpus=c4"' in answer["fix"]
    assert dispatch(["scale", "fit", str(path), "--where", "corpus=pile", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs_used"] == 12


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [0.7, 0.88])
def test_several_experiments_at_different_places_are_named_by_their_residuals(tmp_path, capsys, factor):
    one, other = synthetic(LAW, runs=30, noise=0.004, seed=1), synthetic(LAW, runs=15, noise=0.004, seed=2)
    columns = [a + b for a, b in zip(plain_columns(one), plain_columns(other, loss=factor), strict=True)]
    path = write(tmp_path / "runs.csv", "params,tokens,loss,run", [*columns, ["x"] * 30 + ["y"] * 15])
    assert dispatch(["scale", "fit", str(path), "--bootstrap", "50"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("not identified: no law is advised for these 45 runs")
    assert "times the usual" in captured.out
    assert '"run=x"' in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80


def test_seeds_are_no_experiments(tmp_path):
    again = plain_columns(RUNS, loss=1.004)  # another seed: 0.4 % off
    columns = [a + b for a, b in zip(plain_columns(RUNS), again, strict=True)]
    path = write(tmp_path / "runs.csv", "params,tokens,loss", columns)
    assert dispatch(["scale", "fit", str(path), "--json"]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "corpus"], "--where is not COLUMN=VALUE"),
        (["--where", "corps=c4"], "Did you mean 'corpus'"),
        (["--where", "corpus=c5"], "Did you mean 'c4'"),
        (["--units", "flops=G"], "which is not read"),
        (["--units", "params=X"], "unknown unit"),
    ],
)
def test_bad_choices_of_rows_and_units_are_one_line(tmp_path, capsys, options, said):
    path = write(tmp_path / "runs.csv", "params,tokens,loss,corpus", plain_columns(RUNS), more="c4")
    assert dispatch(["scale", "fit", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_columns_that_may_both_be_meant_are_asked_about(tmp_path):
    path = write(tmp_path / "a.csv", "n_params,parameter_count,tokens,loss", [[1e8], [1e8], [1e10], [3.0]])
    with pytest.raises(UserError, match="2 columns that may hold params") as caught:
        read_table(path)
    assert 'columns params="n_params"' in str(caught.value)
    both = write(tmp_path / "b.csv", "params,tokens,train_loss,val_loss", [[1e8], [1e10], [3.0], [3.1]])
    table = read_table(both)
    assert table.runs.loss_R.tolist() == [3.1]  # the held-out loss before the training loss
    assert any("'val_loss' and not from 'train_loss'" in note for note in table.notes)


def test_perplexities_are_no_losses(tmp_path):
    path = write(tmp_path / "a.csv", "params,tokens,loss", [[1e8, 2e8], [1e10, 2e10], [20.1, 18.3]])
    with pytest.raises(UserError, match="none in nats a token"):
        read_table(path)


@pytest.mark.filterwarnings("error")
def test_degenerate_losses_are_said_in_words_that_are_true(tmp_path, capsys):
    flat = write(tmp_path / "flat.csv", "params,tokens,loss", [RUNS.params_R, RUNS.tokens_R, [3.0] * 12])
    assert dispatch(["scale", "fit", str(flat), "--json"]) == 1
    assert "do not show how parameters and tokens matter" in json.loads(capsys.readouterr().out)["reason"]
    exact = [LAW.loss(n, tokens=d) for n, d in zip(RUNS.params_R, RUNS.tokens_R, strict=True)]
    computed = write(tmp_path / "computed.csv", "params,tokens,loss", [RUNS.params_R, RUNS.tokens_R, exact])
    assert dispatch(["scale", "fit", str(computed), "--json"]) == 0
    assert any("look computed" in line for line in json.loads(capsys.readouterr().out)["warnings"])


def test_one_budget_gives_the_reason_instead_of_numbers(tmp_path, capsys):
    params = np.geomspace(1e8, 2e9, 5)
    loss = [LAW.loss(n, tokens=1e20 / 6 / n) for n in params]
    path = write(tmp_path / "runs.csv", "params,tokens,loss", [params, 1e20 / 6 / params, loss])
    saved = tmp_path / "law.json"
    assert dispatch(["scale", "fit", str(path), "--save", str(saved)]) == 1
    text = capsys.readouterr().out
    assert "not identified" in text
    assert "every run is on one budget, 1e+20 FLOPs" in " ".join(text.split())
    assert not saved.exists()
    assert dispatch(["scale", "plot", "fit", str(path), "-o", str(tmp_path / "a.svg")]) == 1
    assert "one budget" in capsys.readouterr().err


def test_pictures_of_few_runs_have_a_band(tmp_path, capsys):
    path = write(tmp_path / "runs.csv", "params,tokens,loss", plain_columns(RUNS))
    assert dispatch(["scale", "plot", "fit", str(path), "-o", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").stat().st_size > 10_000


@pytest.mark.parametrize("runs", [9, 40])
def test_runs_that_a_law_has_computed_have_no_intervals_for_they_have_no_noise(tmp_path, capsys, runs):
    exact = synthetic(LAW, runs=runs, noise=0, seed=1)
    path = write(tmp_path / "runs.csv", "params,tokens,loss", plain_columns(exact))
    assert dispatch(["scale", "fit", str(path), "--predict", "1B:20B", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["coefficients"]["alpha"] == pytest.approx(LAW.alpha, rel=1e-6)
    assert found["intervals"] is None and found["decision"]["intervals"] is None
    assert found["predictions"][0]["interval"] is None and "on the law" in found["intervals_reason"]
    assert dispatch(["scale", "fit", str(path)]) == 0
    shown = capsys.readouterr()
    assert "95 %" not in shown.out and "no intervals: the runs lie on the law" in shown.out + shown.err
    fitted = finetrial.scale.fit(path)
    assert fitted.intervals is None and fitted.best(1e21).intervals is None
