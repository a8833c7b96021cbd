"""A trial in Python: from rows in memory to the verdict, from its folder alone, and as the manifest records it."""

import html
import json
import os
import sys
import types
import urllib.request

import IPython
import IPython.display
import ipywidgets
import pandas
import pytest
import torch
from tiny_trials import Lines, make_base

import finetrial
from finetrial.api.progress import NotebookProgress, watched
from finetrial.cli.main import dispatch
from finetrial.evidence.findings_json import findings_object
from finetrial.store.folder_lock import folder_lock
from finetrial.store.records import Sample, read_rows

DATA = {"template": "{prompt}\nTL;DR:", "max_tokens": 64, "validation": 8, "heldout": 10}
ARMS = {
    "base": None,
    "prompted": {"shots": 1},
    "lora": {"method": "lora", "rank": 2, "targets": ["q", "v"], "learning_rate": 1e-2},
}
SETTINGS = {
    "training": {"epochs": 1, "batch_tokens": 256, "precision": "float32", "evaluations": 2},
    "sampling": {"prompts": 6, "per_prompt": 2, "max_new_tokens": 6},
    "judging": {"grade_prompts": 2},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("python")
    make_base(folder)
    return folder


@pytest.fixture(scope="module")
def rows(base):
    return [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]


def declared(base, rows, *, name="tiny", **changed):
    given = {"model": base / "model", "data": DATA | {"source": rows}, "arms": ARMS, "folder": base / "run" / name}
    return finetrial.Trial(**(given | SETTINGS | {"name": name} | changed))


@pytest.fixture(scope="module")
def run(base, rows):
    trial = declared(base, rows)
    return trial, trial.run(progress=False)


def test_rows_in_memory_stand_in_the_folder_and_the_run_is_recomputable_from_the_folder_alone(run, rows, tmp_path):
    trial, result = run
    kept = (trial.folder.root / "data" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == rows
    assert "source: data/rows.jsonl" in trial.folder.trial.read_text()  # from the folder, wherever it stands
    moved = tmp_path / "elsewhere"
    trial.folder.root.rename(moved)
    try:
        lines = Lines()
        again = finetrial.Trial.load(moved).run(progress=lines)
        assert [line for line in lines.lines if "already" in line] == [
            "lora: tuned already",
            "base: sampled already",
            "prompted: sampled already",
            "lora: sampled already",
        ]
        assert finetrial.Trial.load(moved).verify().holds
        assert again.verdict == result.verdict
    finally:
        moved.rename(trial.folder.root)


def test_a_data_frame_is_the_rows_that_it_holds(base, rows, tmp_path):
    frame = pandas.DataFrame(rows)
    frame["weight"] = [None, *range(1, len(rows))]  # which pandas turns into NaN and floats
    trial = declared(base, frame, folder=tmp_path / "frame")
    assert trial.check().report.text.rows == {"train": 62, "validation": 8, "heldout": 10}
    first, second = (json.loads(line) for line in (tmp_path / "frame/data/rows.jsonl").read_text().splitlines()[:2])
    assert first == rows[0] | {"weight": None} and second == rows[1] | {"weight": 1.0}


def test_splits_in_memory_are_kept_apart(base, rows, tmp_path):
    data = {key: DATA[key] for key in ("template", "max_tokens")}
    data["source"] = {"train": rows[20:], "validation": rows[10:20], "heldout": rows[:10]}
    trial = declared(base, rows, data=data, folder=tmp_path / "splits")
    assert trial.check().report.text.rows == {"train": 60, "validation": 10, "heldout": 10}
    assert sorted(path.name for path in (tmp_path / "splits/data").iterdir()) == [
        "heldout.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    named = {"train": rows[20:], "dev": rows[10:20], "test": rows[:10]}  # as others name them
    plain = finetrial.Trial(model=base / "model", data=named, arms={"base": {}}, folder=tmp_path / "plain")
    assert plain.check().report.text.rows == {"train": 60, "validation": 10, "heldout": 10}


def test_changed_rows_are_another_data_set_and_none_is_exchanged_under_a_run(base, rows, tmp_path):
    folder = tmp_path / "run"
    declared(base, rows, folder=folder).check()
    changed = declared(base, rows[:40], folder=folder)
    with folder_lock(folder), pytest.raises(finetrial.UserError, match="another run is at work"):
        changed.check()
    assert len((folder / "data/rows.jsonl").read_text().splitlines()) == len(rows)
    assert changed.check().report.text.rows["train"] == 22


def test_the_result_gives_the_records_as_tables(run):
    trial, result = run
    samples = {arm: list(read_rows(trial.folder.samples(arm), Sample)) for arm in ARMS}
    assert result.findings.primary == result.primary == "rouge1"
    assert list(result.means.query("metric == 'rouge1'")["arm"]) == list(ARMS)
    interval = result.findings.intervals["rouge1"]["lora"]
    row = result.means.query("metric == 'rouge1' and arm == 'lora'").iloc[0]
    assert (row["mean"], row["low"], row["high"]) == (interval.mean, interval.low, interval.high)
    assert len(result.pairs) == len(result.findings.pairs) > 0
    assert len(result.scores) == 3 * sum(map(len, samples.values()))  # rouge1, rouge2, rougeL
    assert set(result.scores["arm"]) == set(ARMS)
    costs = result.costs.set_index("arm")
    assert costs.loc["lora", "trained_parameters"] == 512  # 2 layers x (q, v) x rank 2 x (32 + 32)
    assert costs.loc["base", "tuning_flops"] == 0 < costs.loc["lora", "tuning_flops"]
    assert costs.columns.is_unique and str(costs.loc["lora", "method"]) == "lora"
    assert list(result.losses["arm"].unique()) == ["lora"] and result.losses["train_loss"].notna().any()


def test_texts_that_await_blind_grades_are_in_no_table(run):
    _, result = run
    prompts = {row.prompt_id for row in result.sample_rows}
    assert len(prompts) == 6 and len(result.set_aside) == 2  # judging.grade_prompts
    assert set(result.samples["prompt_id"]) == prompts - result.set_aside


def test_tables_are_plain_rows_where_pandas_is_absent(run, monkeypatch):
    _, result = run
    frame = result.pairs
    monkeypatch.setitem(sys.modules, "pandas", None)
    plain = result.pairs
    assert isinstance(plain, list) and list(plain[0]) == list(frame.columns)
    assert [row["a"] for row in plain] == list(frame["a"])


def test_a_notebook_shows_the_verdict_with_figures_and_no_markup_from_a_model(run):
    _, result = run
    page = result._repr_html_()
    assert html.escape(result.verdict) in page
    assert page.count("data:image/svg+xml;base64,") == len(result.figures) == 3
    assert result.figures["losses"]._repr_svg_().lstrip().startswith("<")
    arms = [{"prompt": f"p{i}", "arm": "<b>", "text": "x", "reference": "x"} for i in range(4)]
    shown = finetrial.score(arms)._repr_html_()
    assert "&lt;b&gt;" in shown and "<b>" not in shown


def test_the_command_line_and_python_say_the_same(run, capsys):
    trial, result = run
    assert dispatch(["score", str(trial.folder.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(findings_object(result.findings)))
    assert dispatch(["score", str(trial.folder.root)]) == 0
    assert capsys.readouterr().out == f"{result}\n"
    assert dispatch(["check", str(trial.folder.root)]) == 0
    assert capsys.readouterr().out.rstrip() == str(finetrial.Trial.load(trial.folder.root).check())


def test_a_check_in_python_shows_the_data_and_lists_what_run_would_refuse(base, rows, tmp_path):
    arms = ARMS | {"mine": {"adapter": str(tmp_path / "gone")}, "many": {"shots": 500}}
    found = declared(base, rows, folder=tmp_path / "run", arms=arms).check()
    assert [error.what.split(":")[0] for error in found.mistakes] == ["arms.mine", "arms.many"]
    assert isinstance(found.error, finetrial.UserError) and "as training sees it" in str(found)
    assert str(found).endswith(str(found.error)) and "2 to mend" in repr(found)
    assert declared(base, rows, folder=tmp_path / "run").check().error is None


def test_a_trial_cleans_what_changed_settings_displaced(base, rows, tmp_path):
    folder, few = tmp_path / "run", {"base": {}}
    declared(base, rows, folder=folder, arms=few).run(progress=False)
    changed = declared(base, rows, folder=folder, arms=few, sampling=SETTINGS["sampling"] | {"seed": 7})
    changed.run(progress=False)
    done = changed.clean()
    assert done.removed == ("sample/base",) and done.removed_bytes > 0 and changed.clean().removed_bytes == 0


def test_the_manifest_records_the_python_call_and_the_call_makes_the_same_trial(run):
    trial, _ = run
    manifest = json.loads(trial.folder.manifest.read_text())
    assert manifest["interface"] == "Python" and manifest["command"].startswith("finetrial.Trial")
    before = trial.folder.trial.read_text()
    here = os.getcwd()
    os.chdir(trial.folder.root)  # from where the rows' file is named
    try:
        finetrial.Trial.load(".", overrides={"report.title": "T: 1"}).run(arms=["base"], progress=False)
        changed = json.loads(trial.folder.manifest.read_text())["command"]
        assert changed == ("finetrial.Trial.load('.', overrides=['report.title=\"T: 1\"']).run(arms=['base'])")
        assert "title: 'T: 1'" in trial.folder.trial.read_text()
        call = trial._made_by
        assert "rows.jsonl" in call and "the quick" not in call
        eval(call, {"finetrial": finetrial}).run(progress=False)
        assert json.loads(trial.folder.manifest.read_text())["command"] == f"{call}.run()"
    finally:
        os.chdir(here)
    assert trial.folder.trial.read_text() == before


def test_the_manifest_records_the_command_line(base, run, monkeypatch, capsys):
    trial, _ = run
    arguments = ["run", str(trial.folder.root), "--arm", "base"]
    monkeypatch.setattr(sys, "argv", ["finetrial", *arguments])
    assert dispatch(arguments) == 0
    manifest = json.loads(trial.folder.manifest.read_text())
    assert manifest["interface"] == "command line"
    assert manifest["command"] == f"finetrial run {trial.folder.root} --arm base"


def test_errors_are_the_command_lines_own(base, rows, tmp_path, capsys):
    with pytest.raises(finetrial.UserError) as raised:
        declared(base, rows, sampling={"promts": 3})
    assert str(raised.value).startswith("Trial(...): unknown key 'sampling.promts'")
    assert raised.value.fix == "Did you mean 'prompts'?"
    (tmp_path / "t.yaml").write_text("trial: t\nmodel: gpt2\ndata: {source: gone.jsonl}\narms: {base: {}}\n")
    with pytest.raises(finetrial.UserError) as raised:
        finetrial.Trial.load(tmp_path / "t.yaml").check()
    assert dispatch(["check", str(tmp_path / "t.yaml"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == raised.value.as_dict()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "holds no rows"),
        (["a text"], "row 1 is not a mapping"),
        ([{"prompt": "a", "completion": {1, 2}}], "row 1 cannot be written as JSON"),
        ([{"prompt": "a", "completion": "\ud800"}], "row 1 cannot be written as JSON"),
        ([{"prompt": "a", "completion": float("inf")}], "row 1 cannot be written as JSON"),
    ],
)
def test_rows_that_no_file_can_hold_are_refused_with_their_number(base, tmp_path, data, said):
    with pytest.raises(finetrial.UserError, match=said):
        finetrial.Trial(model=base / "model", data=data, arms={"base": {}}, folder=tmp_path / "run")


def test_an_arm_that_fails_is_named_and_the_others_have_a_result(base, rows, tmp_path):
    arms = {"base": None, "broken": {"adapter": str(tmp_path / "no-adapter")}}
    result = declared(base, rows, name="partly", arms=arms, folder=tmp_path / "run").run(progress=False)
    assert list(result.failures) == ["broken"] and isinstance(result.failures["broken"], finetrial.FinetrialError)
    assert set(result.scores["arm"]) == {"base"}


def test_another_judging_is_tried_and_not_written(run):
    trial, _ = run
    before = trial.folder.scores.read_bytes()
    tried = finetrial.Trial.load(trial.folder.root, overrides={"judging.primary": "rougeL"}).score()
    assert tried.primary == "rougeL" and any("not written" in note for note in tried.notes)
    assert trial.folder.scores.read_bytes() == before
    assert finetrial.Trial.load(trial.folder.root).score().notes == ()


def test_results_are_compared_on_the_prompts_that_both_answered(run):
    _, result = run
    with pytest.raises(finetrial.UserError, match="two of the results are of trials with one name"):
        finetrial.compare([result, result])
    found = finetrial.compare({"first": result, "second": result}, primary="rouge1")
    assert {row.arm for row in found.sample_rows} == {
        f"{name}/{arm}" for name in ("first", "second") for arm in ARMS
    }
    assert len({row.source for row in found.sample_rows}) == 4  # of six, two await blind grades
    same = {(pair.a, pair.b): pair for pair in found.findings.pairs if pair.metric == "rouge1"}
    pair = same["first/lora", "second/lora"]
    assert pair.difference == 0 and pair.ties == 4


def test_the_page_is_served_beside_python_until_it_is_stopped(run):
    trial, _ = run
    page = trial.grade(open_browser=False)
    try:
        with urllib.request.urlopen(page.url) as answer:
            assert answer.status == 200 and b"<html" in answer.read().lower()
        assert page.url in page._repr_html_()
    finally:
        page.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(page.url, timeout=2)
    with pytest.raises(finetrial.UserError, match="nobody has graded anything"):
        trial.unblind()


def test_nothing_to_grade_is_said_where_it_was_asked(base, rows, tmp_path):
    with pytest.raises(finetrial.UserError, match="nothing to grade"):
        declared(base, rows, folder=tmp_path / "run").grade(open_browser=False)


@pytest.fixture
def kernel(monkeypatch):
    """A shell with a kernel, as a notebook has one; what is displayed is kept."""
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", shown.append)
    return shown


def test_progress_in_a_notebook_is_one_bar_of_ipywidgets(kernel):
    with watched(True) as listener:
        assert isinstance(listener, NotebookProgress)
        listener.step("tune lora", done=3, total=4, detail="loss 1.2", seconds_left=9.0)
        (widget,) = kernel
        bar, beside = widget.children
        assert isinstance(bar, ipywidgets.FloatProgress) and widget.layout.visibility == "visible"
        assert (bar.value, bar.max, bar.description) == (3, 4, "tune lora")
        assert beside.value == "about 9 s left  loss 1.2"
        listener.step("sample lora", done=1, total=2)  # a smaller range than the value that stands
        assert (bar.value, bar.max, bar.description, beside.value) == (1, 2, "sample lora", "")
    assert widget.layout.visibility == "hidden"


def test_progress_in_a_notebook_without_widgets_is_lines_and_can_be_turned_off(kernel, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with watched(True) as listener:
        listener.line("lora: tuned")
        listener.step("tune lora", done=1, total=4)
    assert capsys.readouterr().out == "lora: tuned\n" and not kernel
    with watched(False) as listener:
        listener.line("lora: tuned")
    assert capsys.readouterr() == ("", "")


def test_a_trial_keeps_its_folder_where_python_changes_its_own(base, rows, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trial = declared(base, rows, folder=None)
    monkeypatch.chdir(tmp_path / "there")
    trial.check()
    assert (tmp_path / "here/runs/tiny/data/rows.jsonl").exists() and not list((tmp_path / "there").iterdir())
