"""A report and the terminal say first what could overturn the verdict, and what tuning and serving cost."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from building import MEASURED, TRIAL, Answer, build_trial, tuned

from finetrial.api.findings_text import view
from finetrial.cli.main import dispatch
from finetrial.evidence.trial_findings import trial_findings
from finetrial.evidence.verdict_warnings import HEADING
from finetrial.reporting.results import read_results
from finetrial.reporting.verification import verify
from finetrial.reporting.write import write_report
from finetrial.store.layout import TrialFolder
from finetrial.store.records import FastPath, Measured, write_object

WORDS = ("amber", "birch", "coral", "delta", "ember", "frost", "grove", "heron", "ivory", "jade", "koala", "lilac")
PROMPTS = {f"p{i}": (f"Post {i} about {word}", [f"{word} {word}s"]) for i, word in enumerate(WORDS)}
SEARCHED = TRIAL.replace("full: {method: full}", "full: {method: full, learning_rate: 3e-4}").replace(
    "lora: {method: lora,", "lora: {method: lora, learning_rate: auto,"
)
PRICED = SEARCHED + "prices: {hour: 36, input_million: 1, output_million: 10}\n"


def request(arm: str, *, seconds: float, read: float, made: float, flops: float | None) -> Measured:
    """The arm's measurements with those of its requests."""
    of_tuning = MEASURED.get(arm) or dataclasses.replace(
        tuned(0, stored=0, seconds=0.0, rate=1.0), steps=0, learning_rate=None, flops_total=None, heldout_loss=2.5
    )
    return dataclasses.replace(
        of_tuning,
        request_prompt_tokens=read,
        request_generated_tokens=made,
        request_flops=flops,
        request_seconds=seconds,
    )


def measured(*, flops: bool = True) -> dict[str, Measured]:
    """Tuning FLOPs are set so that sums are round: full 4e12 with its evaluation, lora 2e12 with its search."""
    known = lambda value: value if flops else None
    full = dataclasses.replace(
        request("full", seconds=0.1, read=100, made=10, flops=known(2e9)),
        flops_total=3.5e12,
        evaluation_flops=5e11,
        evaluation_seconds=19.0,  # of 190
        curve_rows=40,
        validation_rows=200,
        fast_paths=(FastPath("packed rows", True, "float32 agrees to 6e-6"),),
    )
    lora = dataclasses.replace(
        request("lora", seconds=0.1, read=100, made=10, flops=known(2e9)),
        flops_total=1.5e12,
        search_flops=5e11,
        search_seconds=30.0,
        fast_paths=(FastPath("packed rows", False, "a block sees another"),),
    )
    return {
        "base": request("base", seconds=0.2, read=100, made=24, flops=known(3e9)),
        "prompted": request("prompted", seconds=0.3, read=400, made=12, flops=known(6e9)),
        "full": full,
        "lora": lora,
    }


def answer(arm: str, prompt_id: str, index: int) -> Answer:
    """The tuned arms are right and end; the base rambles on to the limit."""
    word = WORDS[int(prompt_id[1:])]
    if arm == "base":
        return Answer(f"{word} and on and on {index}", "length")
    if arm == "prompted":
        return Answer(f"{word} and {index}", "stop_string")
    return Answer(f"{word} {word}s")


def made(root: Path, *, trial_text: str = SEARCHED, resolved: object = None, **changes: object) -> TrialFolder:
    what = {"prompts": PROMPTS, "answer": answer, "measured": measured(), **changes}
    folder = build_trial(root, trial_text=trial_text, **what)
    if resolved is not None:
        content = json.loads(folder.manifest.read_text(encoding="utf-8")) | {"resolved": resolved}
        folder.manifest.write_text(json.dumps(content), encoding="utf-8")
    write_report(folder, findings=trial_findings(folder))
    return folder


def page(folder: TrialFolder) -> str:
    return (folder.report / "index.html").read_text(encoding="utf-8")


def terminal(folder: TrialFolder) -> str:
    return write_report(folder, findings=trial_findings(folder)).terminal


def markdown(folder: TrialFolder) -> str:
    return (folder.report / "report.md").read_text(encoding="utf-8").replace("\\", "")


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("&#39;", "'").split())


def test_the_first_lines_of_every_form_are_what_could_overturn_the_verdict(tmp_path, capsys):
    folder = made(tmp_path / "t", trial_text=TRIAL)  # no learning rate was given or searched
    results = read_results(folder)
    assert [w["kind"] for w in results["verdict_warnings"]] == ["cut_unevenly", "never_ended", "untuned_rate"]
    cut, never, untuned = (w["text"] for w in results["verdict_warnings"])
    assert "(base 100 %; prompted, full and lora 0 %)" in cut
    assert list(results).index("verdict_warnings") < list(results).index("answer")

    html, text = page(folder), markdown(folder)
    shown = text_of(html)
    for said in (cut, never, untuned):
        assert shown.index(HEADING) < shown.index(said) < shown.index(results["answer"])
        assert text.index(HEADING) < text.index(said) < text.index(results["answer"])
    head = html[html.index("<h1>") : html.index('<p class="answer">')]
    assert '<div class="note mark first" role="note">' in head and head.count("<li>") == 3

    capsys.readouterr()
    for command in (["report", str(folder.root)], ["score", str(folder.root)]):
        assert dispatch(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{HEADING}:" and max(map(len, lines)) <= 80 + len(str(tmp_path))
        before = " ".join(" ".join(lines[1:14]).replace("  - ", " ").split())
        assert all(said in before for said in (cut, never, untuned))
    assert dispatch(["score", str(folder.root), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert next(iter(content)) == "verdict_warnings" and len(content["verdict_warnings"]) == 3


def test_a_trial_without_anything_to_warn_of_begins_with_its_verdict(tmp_path):
    ends = lambda arm, prompt_id, index: dataclasses.replace(answer(arm, prompt_id, index), end_reason="end_token")
    folder = made(tmp_path / "t", answer=ends)
    assert "verdict_warnings" not in read_results(folder)
    assert HEADING not in page(folder) + markdown(folder) + terminal(folder)


def test_an_arm_from_elsewhere_may_have_seen_the_held_out_rows(tmp_path):
    trial = SEARCHED.replace("  lora:", "  mine: {model: ./mine}\n  lora:")
    folder = made(tmp_path / "t", trial_text=trial)
    (warning,) = [w for w in read_results(folder)["verdict_warnings"] if w["kind"] == "may_have_seen_heldout"]
    assert warning["arms"] == ["mine"] and markdown(folder).count(warning["text"]) == 1


def test_where_every_arm_is_at_the_floor_none_is_recommended_anywhere(tmp_path, capsys):
    # Every arm answers every prompt with one and the same prompt's reference: right once in twelve. Other prompts'
    # references share no word with a prompt's own: the floor is 0, and 1/12 has an interval that begins below 0.02.
    same = lambda arm, prompt_id, index: Answer("amber ambers", "end_token")
    folder = made(tmp_path / "t", trial_text=TRIAL, answer=same)
    results = read_results(folder)
    assert results["floor"]["value"] == 0.0 and results["floor"]["n_answers"] == 12 * 11
    assert results["floor"]["at"] == ["base", "prompted", "full", "lora"] and results["floor"]["above"] == []
    assert results["recommendation"]["arm"] is None and results["recommendation"]["outcome"] == "floor"
    assert results["verdict_warnings"][0]["kind"] == "at_floor"
    for text in (text_of(page(folder)), markdown(folder), " ".join(terminal(folder).split())):
        assert "No arm does this task, and none is recommended" in text and "Take base" not in text
    assert verify(folder).holds
    # the floor is recomputed: a report that claims another one does not verify
    file = folder.report / "results.json"
    file.write_text(file.read_text().replace('"value": 0.0,\n    "margin"', '"value": 0.5,\n    "margin"'))
    assert [row.what for row in verify(folder).mismatches] == ["results.json: floor.value"]


def test_the_serving_table_shows_tokens_flops_totals_and_when_tuning_has_paid_for_itself(tmp_path):
    folder = made(tmp_path / "t")
    results = read_results(folder)
    # 1,000 requests: base 3e12, prompted 6e12, lora 1.5e12 + 0.5e12 + 2e12, full 3.5e12 + 0.5e12 + 2e12
    assert results["costs"]["totals"] == pytest.approx({"base": 3e12, "prompted": 6e12, "full": 6e12, "lora": 4e12})
    # a request saves 4e9: lora's 2e12 are paid for after 500, full's 4e12 after 1,000
    found = {row["arm"]: row["requests"] for row in results["costs"]["break_even"]}
    assert found == {"full": 1000, "lora": 500}
    said = "Breaks even with prompted: full after 1,000 requests, lora after 500 requests."
    assert said in " ".join(terminal(folder).split())
    assert said in " ".join(view(trial_findings(folder)).split())
    rows = re.findall(
        r"^\| (\w+) \| (\d.*?) \|$", markdown(folder).split("### What a request takes")[1], re.MULTILINE
    )
    cells = {arm: [cell.strip() for cell in row.split("|")] for arm, row in rows[:4]}
    assert cells["prompted"] == ["400.0", "12.0", "6 × 10⁹", "0.3 s", "6 × 10¹²", "–"]
    assert cells["lora"] == ["100.0", "10.0", "2 × 10⁹", "0.1 s", "4 × 10¹²", "500 requests (against prompted)"]
    assert "Tuning and 1,000 requests, FLOPs" in markdown(folder)
    assert "Breaks even after" in page(folder) and "500 requests" in page(folder)
    assert "tuning plus 1,000 requests, in FLOPs" in results["recommendation"]["text"]
    assert results["recommendation"]["cost_order"] == ["base", "lora", "prompted", "full"]
    tuning = text_of(page(folder))
    assert "search 30 s" in tuning and "search 5 × 10¹¹" in tuning and "evaluation 19 s (10 %)" in tuning
    assert "While tuning it read 40 of 200 validation examples, at the end all of them." in tuning
    latex = (folder.report / "tables.tex").read_text(encoding="utf-8")
    assert r"\label{tab:serving}" in latex and r"6 $\times$ $10^{9}$" in latex


def test_prices_put_the_table_and_the_order_in_money(tmp_path):
    folder = made(tmp_path / "t", trial_text=PRICED)
    results = read_results(folder)
    # prompted: (400 x 1 + 12 x 10) / 1e6 = 0.00052 a request; lora: 95 s and 30 s at 0.01 a second, and 0.0002
    assert results["costs"]["unit"] == "money"
    assert results["costs"]["totals"]["prompted"] == pytest.approx(0.52)
    assert results["costs"]["totals"]["lora"] == pytest.approx(1.25 + 0.2)
    assert "Cost of 1,000 requests" in page(folder) and "| 0.52 |" in markdown(folder)
    assert results["asked"]["Prices"].startswith("an hour of the machine 36, a million prompt tokens 1")
    # 1.25 / (0.00052 - 0.0002) = 3,906.25
    assert next(r["requests"] for r in results["costs"]["break_even"] if r["arm"] == "lora") == 3907


def test_a_folder_of_an_older_version_is_read_ordered_and_reported(tmp_path):
    """Its measured.json knows nothing of requests, searches, evaluations and fast paths."""
    folder = made(tmp_path / "t", trial_text=TRIAL)
    new = {field.name for field in dataclasses.fields(Measured)}
    new = {name for name in new if name.split("_")[0] in ("search", "evaluation", "request", "fast")}
    assert len(new) >= 9
    for arm in ("base", "prompted", "full", "lora"):
        path = folder.measured(arm)
        content = json.loads(path.read_text(encoding="utf-8"))
        old = {key: value for key, value in content.items() if key not in new}
        assert len(old) == len(content) - len(new)
        path.write_text(json.dumps(old), encoding="utf-8")
    write_report(folder, findings=trial_findings(folder))
    results = read_results(folder)
    assert results["recommendation"]["cost_order"] == ["base", "prompted", "lora", "full"]
    assert results["costs"]["basis"] == "method" and results["costs"]["break_even"] == []
    # what the samples themselves say is shown all the same: 24 tokens each of the base's, cut, and 3 of the others
    assert results["costs"]["arms"]["base"]["request_generated_tokens"] == 24
    assert "Cheaper means by method" in page(folder)
    assert verify(folder).holds


def test_time_serves_where_an_older_folder_has_no_flops_of_a_request(tmp_path):
    timed = {arm: dataclasses.replace(row, request_seconds=None) for arm, row in measured(flops=False).items()}
    # 36 samples in 3.6 s: 0.1 s each
    timed = {arm: dataclasses.replace(row, sample_seconds=3.6) for arm, row in timed.items()}
    results = read_results(made(tmp_path / "t", measured=timed))
    assert results["costs"]["basis"] == "tuning plus 1,000 requests, in seconds"
    assert results["costs"]["totals"]["base"] == pytest.approx(100.0)


def test_what_auto_chose_and_the_fast_paths_stand_in_the_report(tmp_path):
    row = {
        "chat": False,
        "stop": ["\n"],
        "separator": None,
        "max_new_tokens": 24,
        "temperature": 0.0,
        "per_prompt": 3,
        "auto": ["chat", "stop", "max_new_tokens"],
    }
    resolved = {arm: dict(row) for arm in ("base", "prompted", "full", "lora")}
    resolved["lora"]["stop"] = []
    folder = made(tmp_path / "t", resolved=resolved)
    results = read_results(folder)
    assert (
        'stop at "\\n" (from the data): base, prompted and full; no stop string (from the data): lora'
        in (results["asked"]["Sampling"])
    )
    assert results["asked"]["Shown as"] == "running text (from the data)"
    assert "Resolved" not in results["recompute"]
    assert results["recompute"]["Fast paths, full"] == "on: packed rows"
    assert results["recompute"]["Fast paths, lora"] == "off: packed rows (a block sees another)"


def test_requests_and_prices_change_the_report_and_no_score(tmp_path):
    folder = made(tmp_path / "t")
    scores = folder.scores.read_bytes()
    folder.trial.write_text(folder.trial.read_text().replace("grade_prompts: 3", "requests: 200, grade_prompts: 3"))
    write_report(folder, findings=trial_findings(folder))
    results = read_results(folder)
    # 200 requests: prompted 1.2e12, lora 2.4e12
    assert results["recommendation"]["cost_order"][:2] == ["base", "prompted"]
    assert "tuning plus 200 requests" in results["costs"]["basis"] and folder.scores.read_bytes() == scores
    write_object(folder.measured("base"), measured()["base"])
