"""Any metric goes from the trial file to the report and back through verify, and the best mean is the right one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from building import TRIAL, Answer, build_trial, curve

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.trial_findings import read_samples, trial_findings
from finetrial.reporting.verification import Verification, verify
from finetrial.reporting.write import write_report
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Score, as_object, read_rows, write_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.score_step import score_trial

PROMPTS = {f"p{i}": (f"post {i}", [f"the summary of post {i}"]) for i in range(12)}


def answer(arm: str, prompt_id: str, index: int) -> Answer:
    """The base shouts and rambles, LoRA whispers what is right."""
    right = f"the summary of post {prompt_id[1:]}"
    if arm == "base":
        return Answer(f"{right} {'AND MORE ' * (3 + index)}".upper())
    return Answer({"prompted": f"The Summary {index}", "full": f"{right} X", "lora": right}[arm])


def judged(root: Path, judging: str) -> TrialFolder:
    text = re.sub(r"judging: .*", f"judging: {judging}", TRIAL)
    return build_trial(root, prompts=PROMPTS, answer=answer, trial_text=text)


def report(folder: TrialFolder) -> tuple[dict, Verification]:
    loaded = load_trial(folder.root)
    manifest = Manifest(folder.manifest)
    score_trial(folder, loaded.trial, manifest=manifest, base=loaded.base, training=lambda: None)
    write_report(folder, findings=trial_findings(folder))
    return json.loads((folder.report / "results.json").read_text(encoding="utf-8")), verify(folder)


def best(results: dict, metric: str) -> set[str]:
    return {arm for arm, cell in results["metrics"][metric].items() if cell["best"]}


def test_no_arm_is_best_by_its_length_and_the_note_says_how_each_metric_is_read(tmp_path):
    folder = judged(tmp_path / "t", "{primary: rouge1, metrics: [rouge1, length_ratio], grade_prompts: 0}")
    results, found = report(folder)
    means = {arm: cell["mean"] for arm, cell in results["metrics"]["length_ratio"].items()}
    assert max(means, key=means.get) == "base" and means["base"] > 2 and means["lora"] == 1
    assert best(results, "length_ratio") == set() and best(results, "rouge1") == {"lora"}
    page = (folder.report / "report.md").read_text(encoding="utf-8")
    assert "ROUGE-1 from 0 to 1, higher is better; Length ratio neither higher nor lower is better." in page
    assert found.holds and found.given == 0


def test_where_all_metrics_are_read_alike_it_is_said_once(tmp_path):
    folder = judged(tmp_path / "t", "{primary: rouge1, metrics: [rouge1, f1], grade_prompts: 0}")
    report(folder)
    page = (folder.report / "report.md").read_text(encoding="utf-8")
    assert "each the mean of its samples; from 0 to 1, higher is better. " in page


@pytest.fixture
def capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with one metric, of which lower is better."""
    site = tmp_path / "site"
    info = site / "shouting-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "toy_capitals.py").write_text(
        "from finetrial.metrics.metric import Direction, SampleMetric, each\n"
        "share = lambda o, s: sum(c.isupper() for c in o.text) / len(o.text) if o.text else None\n"
        "METRIC = SampleMetric(name='capitals', title='Capitals', bounds=(0.0, 1.0), direction=Direction.LOWER,\n"
        "    compute=each(share))\n",
        encoding="utf-8",
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[finetrial.metrics]\ncapitals = toy_capitals:METRIC\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(site))


def test_a_packages_metric_decides_from_the_trial_file_to_verify(tmp_path, capitals, capsys):
    folder = judged(tmp_path / "t", "{primary: capitals, metrics: [rouge1], grade_prompts: 0}")
    results, found = report(folder)
    # whispered samples have no capital, the base's nothing else
    assert results["metrics"]["capitals"]["lora"]["mean"] == 0 and best(results, "capitals") == {"lora"}
    assert results["answer"].startswith("lora is better than ") and "in Capitals" in results["answer"]
    assert results["signatures"]["capitals"].endswith("v:shouting 1.2")
    page = (folder.report / "index.html").read_text(encoding="utf-8")
    assert "Capitals from 0 to 1, lower is better" in page
    assert found.holds and (found.scores, found.given) == (2 * 4 * 36, 0)
    capsys.readouterr()
    assert dispatch(["score", str(folder.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["primary"] == "capitals"


def with_given(folder: TrialFolder) -> list[Score]:
    """Numbers from elsewhere for every sample, added to scores.jsonl as they came."""
    samples = read_samples(folder, arms=("base", "prompted", "full", "lora"))
    rows = [Score(s.id, "likelihood", float(len(s.text)), "some model") for s in samples]
    with folder.scores.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(as_object(row)) + "\n" for row in rows)
    return rows


def test_scores_from_elsewhere_are_analysed_and_counted_as_given(tmp_path, capsys):
    folder = judged(tmp_path / "t", "{primary: rouge1, metrics: [rouge1], grade_prompts: 0}")
    report(folder)
    given = with_given(folder)
    write_report(folder, findings=trial_findings(folder))
    found = verify(folder)
    assert found.holds and (found.scores, found.given) == (4 * 36, 4 * 36) == (len(given), len(given))
    results = json.loads((folder.report / "results.json").read_text(encoding="utf-8"))
    assert (
        set(results["metrics"]) == {"rouge1", "likelihood"} and results["signatures"]["likelihood"] == "some model"
    )
    assert dispatch(["verify", str(folder.root)]) == 0
    assert "Given, not recomputed: 144 scores." in capsys.readouterr().out


def test_scoring_again_keeps_the_scores_from_elsewhere_and_refuses_them_for_other_samples(tmp_path):
    folder = judged(tmp_path / "t", "{primary: rouge1, metrics: [rouge1], grade_prompts: 0}")
    report(folder)
    given = with_given(folder)
    results, found = report(folder)
    assert found.holds and found.given == len(given) and "likelihood" in results["metrics"]
    assert [s for s in read_rows(folder.scores, Score) if s.metric == "likelihood"] == given
    rows = read_samples(folder, arms=("lora",))
    write_rows(folder.samples("lora"), rows[:-1])
    with pytest.raises(UserError, match=r"scores from elsewhere \(likelihood\) of samples that were sampled anew"):
        report(folder)


def test_a_computed_score_that_was_tampered_with_is_found_beside_given_ones(tmp_path):
    folder = judged(tmp_path / "t", "{primary: rouge1, metrics: [rouge1], grade_prompts: 0}")
    report(folder)
    with_given(folder)
    lines = folder.scores.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[0] = json.dumps({**json.loads(lines[0]), "value": 0.123}) + "\n"
    folder.scores.write_text("".join(lines), encoding="utf-8")
    write_report(folder, findings=trial_findings(folder))
    what = [row.what for row in verify(folder).mismatches]
    assert what[0] == "scores.jsonl, as the step score wrote it" and what[1].startswith("scores.jsonl: rouge1 of ")


def yes_or_no(arm: str, prompt_id: str, index: int) -> Answer:
    """The base says yes to everything, the prompted arm rambles, full is right, LoRA nearly always."""
    right = "yes" if int(prompt_id[1:]) % 3 else "no"
    if arm == "base":
        return Answer("yes ")
    if arm == "prompted":
        return Answer(f"well, {right} {index}")
    return Answer("no" if arm == "lora" and prompt_id == "p1" else right)


def test_a_metric_of_whole_arms_decides_from_the_trial_file_to_verify(tmp_path, capsys):
    prompts = {f"p{i}": (f"question {i}", ["yes" if i % 3 else "no"]) for i in range(24)}
    judging = "judging: {primary: macro_f1, metrics: [macro_f1, exact], grade_prompts: 0}"
    text = re.sub(r"judging: .*", judging, TRIAL)
    folder = build_trial(tmp_path / "t", prompts=prompts, answer=yes_or_no, trial_text=text)
    results, found = report(folder)
    cells = results["metrics"]["macro_f1"]
    # 16 prompts are yes and 8 no. Base: yes 32 / 40, no 0. LoRA: yes 30 / 31, no 16 / 17.
    assert {arm: cell["mean"] for arm, cell in cells.items()} == pytest.approx(
        {"base": 0.4, "prompted": 0.0, "full": 1.0, "lora": (30 / 31 + 16 / 17) / 2}
    )
    assert best(results, "macro_f1") == {"full"} and results["metric"] == "macro_f1"
    assert cells["base"]["low"] < 0.4 < cells["base"]["high"]
    assert results["answer"].startswith("full is better than ") and "in Macro-F1" in results["answer"]
    (pair,) = [p for p in results["pairs"] if (p["a"], p["b"], p["metric"]) == ("base", "full", "macro_f1")]
    assert pair["difference"] == pytest.approx(-0.6) and pair["wins"] is None
    # All texts differ ("yes " is not "yes"), the answers of 8: all on one side or the other, 2 of 2^8 swaps
    assert pair["p"] == pytest.approx(2 / 2**8, abs=0.006) and pair["smallest_p"] == 1 / 2000
    # the base says the same in each of its three samples of a prompt: these are three samples
    assert results["details"]["macro_f1"]["base"] == {
        "labels": ["no", "yes"],
        "counts": [[0, 24], [0, 48]],
        "other": [0, 0],
    }
    assert results["signatures"]["macro_f1"].startswith("macro_f1|tok:nfc")
    page = (folder.report / "report.md").read_text(encoding="utf-8")
    assert "Macro-F1 of all an arm's samples at once, from 0 to 1, higher is better" in page
    assert "swaps of the two arms’ samples within prompts" in page
    # every label named right or as yes, which the base always says; the prompted arm rambles and names none
    assert "## Which labels are confused" in page
    assert re.search(r"\| no \| +0 \| +24 \| +0 \|", page) and re.search(r"\| no \| +0 \| +0 \| +24 \|", page)
    # nothing of it stands in scores.jsonl: verify computes it anew from the samples
    assert {s.metric for s in read_rows(folder.scores, Score)} == {"exact"}
    assert found.holds and found.scores == 4 * 72
    capsys.readouterr()
    assert dispatch(["score", str(folder.root)]) == 0
    out = capsys.readouterr().out
    assert "full is better than " in out
    # every arm's matrix in the terminal: the base calls all 48 + 24 samples yes
    assert re.search(r"base\nTrue label +no +yes +other\nno +0 +24 +0\nyes +0 +48 +0\n", out)


def test_an_arm_whose_tuning_has_only_begun_is_drawn_where_it_stands(tmp_path):
    # interrupted after the first look at the validation data: no training loss yet
    curves = {"full": curve(start=3, end=1)[:1], "lora": curve(start=3, end=1)}
    prompts = {f"p{i}": (f"question {i}", ["yes"]) for i in range(4)}
    folder = build_trial(tmp_path / "t", prompts=prompts, answer=answer, curves=curves)
    assert curves["full"][0].train_loss is None and report(folder)[1].holds


def test_a_matrix_too_wide_for_a_page_is_told_in_a_line(tmp_path):
    prompts = {f"p{i}": (f"question {i}", [f"label {i}"]) for i in range(13)}
    text = re.sub(r"judging: .*", "judging: {primary: macro_f1, metrics: [macro_f1], grade_prompts: 0}", TRIAL)

    def said(arm: str, prompt_id: str, index: int) -> Answer:
        return Answer("label 7" if arm == "base" and prompt_id < "p11" else f"label {prompt_id[1:]} {'.' * index}")

    folder = build_trial(tmp_path / "t", prompts=prompts, answer=said, trial_text=text)
    results, found = report(folder)
    page = (folder.report / "report.md").read_text(encoding="utf-8")
    # p0, p1 and p10 sort before p11
    assert "13 labels" in page and "label 0 as label 7, 3; label 1 as label 7, 3; label 10 as label 7, 3" in page
    assert len(results["details"]["macro_f1"]["base"]["counts"]) == 13 and "| label 7 |" not in page and found.holds


def test_a_toy_metric_of_whole_arms_comes_from_a_package(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "variety-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "toy_variety.py").write_text(
        "from finetrial.metrics.metric import ArmMetric\n"
        "def share(outputs, settings):\n"
        "    words = [w for o in outputs for w in o.text.split()]\n"
        "    return len(set(words)) / len(words) if words else None\n"
        "METRIC = ArmMetric(name='variety', title='Distinct words', bounds=(0.0, 1.0), compute=share)\n",
        encoding="utf-8",
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: variety\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[finetrial.metrics]\nvariety = toy_variety:METRIC\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    folder = judged(tmp_path / "t", "{primary: variety, metrics: [rouge1], grade_prompts: 0}")
    results, found = report(folder)
    # 12 prompts of three equal samples of five words, four of them always the same
    cell = results["metrics"]["variety"]["lora"]
    assert cell["mean"] == pytest.approx(16 / 180) and (cell["n_samples"], cell["n_prompts"]) == (36, 12)
    assert trial_findings(folder).intervals["variety"]["lora"].mean == cell["mean"]
    assert results["signatures"]["variety"].endswith("v:variety 0.1") and found.holds
