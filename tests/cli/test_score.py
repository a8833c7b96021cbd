"""`finetrial score` says the verdict first, prints the keys it promises, and loads no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from finetrial.cli.main import dispatch
from finetrial.evidence.trial_findings import trial_findings
from finetrial.judging.events import GradeBook
from finetrial.store.grade_records import GradeEvent
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, Score, read_rows, write_rows

KEYS = {
    "metrics",
    "pairs",
    "good",
    "agreement",
    "metric_vs_people",
    "diagnostics",
    "power",
    "warnings",
    "verdict",
    "signatures",
}
WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
]


def text_of(arm: str, prompt: int, index: int) -> str:
    """The base keeps one word in two of the reference, the tuned arms more."""
    keep = {"base": 2, "lora": 5, "full": 6}[arm]
    kept = [
        w if (prompt * 5 + i * 3 + index) % 7 < keep else "other" for i, w in enumerate(reference(prompt).split())
    ]
    return " ".join(kept) + "."


def reference(prompt: int) -> str:
    """Twelve words that stand in no other prompt's reference: those of another prompt score nothing."""
    return " ".join(f"{WORDS[(prompt + 3 * i) % len(WORDS)]}{prompt}" for i in range(12))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "outputs.jsonl"
    rows = [
        {"prompt": f"Post {p}", "arm": arm, "text": text_of(arm, p, k), "reference": reference(p) + "."}
        for p in range(12)
        for arm in ("base", "lora", "full")
        for k in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = dispatch(["score", *map(str, arguments)])
    done = capsys.readouterr()
    return status, done.out, done.err


def test_the_verdict_stands_first_and_nothing_is_wider_than_80(file, capsys):
    status, out, _ = run(capsys, file)
    lines = out.splitlines()
    assert status == 0 and lines[0].startswith("full is better than ")
    assert any(line.startswith("Take full: ") or line.startswith("No arm can be") for line in lines)
    assert max(map(len, lines)) <= 80
    assert {p.name for p in file.parent.iterdir()} == {file.name}  # nothing is written beside it


def test_json_has_the_promised_keys_and_the_terminals_verdict(file, capsys):
    status, out, _ = run(capsys, file, "--json")
    found = json.loads(out)
    assert status == 0 and set(found) >= KEYS
    assert set(found["metrics"]["rouge1"]["base"]) >= {"mean", "low", "high", "n_prompts"}
    pair = {"metric", "a", "b", "difference", "low", "high", "p", "p_holm", "wins", "losses", "ties", "question"}
    assert len(found["pairs"]) == 12  # three pairs by three metrics on new prompts, and the primary's on these
    assert all(set(row) >= pair for row in found["pairs"])
    assert {row["question"] for row in found["pairs"]} == {"new", "these"}
    _, text, _ = run(capsys, file)
    assert " ".join(text.split()).startswith(found["verdict"])


def test_an_arm_of_constant_score_has_its_reason_beside_p(tmp_path, capsys):
    rows = [(f"p{i}", arm, value) for i in range(8) for arm, value in (("flat", 0.5), ("better", 0.6 + 0.02 * i))]
    path = tmp_path / "numbers.csv"
    path.write_text("prompt,arm,m\n" + "".join(f"{p},{arm},{value}\n" for p, arm, value in rows))
    status, out, _ = run(capsys, path, "--value", "m")
    text = " ".join(out.split())
    assert status == 0
    assert "no interval of flat: all 8 values are equal" in text
    assert "p: on new prompts, by the signs of differences, which needs no interval" in text
    path.write_text("prompt,arm,m\n" + "".join(f"p{i},a,0.5\np{i},b,0.9\n" for i in range(8)))
    status, out, _ = run(capsys, path, "--value", "m")
    text = " ".join(out.split())
    assert status == 0
    assert "no interval of a, b" in text and "no interval of a - b" in text
    assert "what difference they can show is not known" in text
    assert "difference of 0.000" not in text


def test_grades_and_a_scale_of_costs_are_taken_from_the_file(file, capsys):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row |= {"grade": "good" if row["arm"] != "base" else "bad", "rater": "ann"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = run(capsys, file, "--json", "--primary", "grade", "--cost", "full,lora,base")
    found = json.loads(out)
    base, full = found["good"]["base"], found["good"]["full"]
    assert (base["good"], base["of"], base["low"], full["good"], full["of"], full["high"]) == (
        0,
        36,
        0.0,
        36,
        36,
        1.0,
    )
    assert found["recommendation"]["cost_order"] == ["full", "lora", "base"]
    assert set(found["metric_vs_people"]) == {"rouge1", "rouge2", "rougeL"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--primary", "rogue1"), "Did you mean 'rouge1'"),
        (("--references", "worst"), "one of best, best_primary, mean"),
        (("--cost", "base,full"), "expected lora too"),
        (("--value", "acc"), "unknown column"),
        (("--set", "judging.margin=1"), "belong to a trial"),
        (("--margin", "-1"), "margin"),
        (("--lower", "bleu"), "one of rouge1, rouge2, rougeL"),
        (("--primary", "grade"), "no row has one"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_what_exists(file, capsys, arguments, said):
    status, out, err = run(capsys, file, *arguments)
    assert status == 2 and out == "" and said in err and err.count("\n") == 1


def test_no_torch_and_no_scipy_stats_are_loaded(file):
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'matplotlib') or name == 'scipy.stats':\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from finetrial.cli.main import dispatch\n"
        "sys.exit(dispatch(['score', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("full is better than ")


def test_200_prompts_of_3_arms_and_3_samples_take_less_than_5_seconds_of_one_core(tmp_path):
    path = tmp_path / "outputs.jsonl"
    with path.open("w") as stream:
        for p in range(200):
            for arm in ("base", "lora", "full"):
                for k in range(3):
                    words = reference(p) + " " + reference(p + 1)
                    row = {
                        "prompt": f"Post {p}: {words}",
                        "arm": arm,
                        "text": text_of(arm, p, k),
                        "reference": words,
                    }
                    stream.write(json.dumps(row) + "\n")
    start = time.process_time()
    before = children_seconds()
    done = subprocess.run([sys.executable, "-m", "finetrial.cli.main", "score", str(path)], capture_output=True)
    assert done.returncode == 0 and b"200 prompts" in done.stdout
    assert children_seconds() - before + time.process_time() - start < 5


def children_seconds() -> float:
    """Processor seconds of finished child processes: what a busy machine does not stretch."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


TRIAL = """
trial: tickets
model: ./nowhere
data: {source: tickets.jsonl, prompt: post, completion: summary}
arms:
  base: {}
  lora: {method: lora}
  full: {method: full}
sampling: {prompts: 12, per_prompt: 3}
judging: {primary: rouge1, metrics: [rouge1, rougeL], grade_prompts: 2, criterion: "True of the post."}
"""


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    """A trial that was sampled and not scored."""
    folder = TrialFolder(tmp_path / "trial")
    folder.root.mkdir()
    folder.trial.write_text(TRIAL, encoding="utf-8")
    for arm in ("base", "lora", "full"):
        rows = [
            Sample(
                id=f"{arm}/p{p}/{k}",
                prompt_id=f"p{p}",
                group=None,
                arm=arm,
                index=k,
                prompt=f"Post {p}",
                text=text_of(arm, p, k),
                token_ids=None,
                references=(reference(p) + ".",),
                end_reason="end_token",
                logprob=None,
                tokens=9,
                seconds=None,
                seed=k,
                source=f"Post {p}",
            )
            for p in range(12)
            for k in range(3)
        ]
        write_rows(folder.samples(arm), rows)
    return folder


def test_a_trial_is_scored_once_and_what_it_was_judged_by_is_kept(folder, capsys):
    status, out, err = run(capsys, folder.root, "--json")
    assert status == 0 and "copying from the training text is not checked" in err
    assert len(list(read_rows(folder.scores, Score))) == 2 * 108
    assert json.loads(folder.judging.read_text())["primary"] == "rouge1"
    assert folder.diagnostics.exists() and folder.items.exists()
    written = folder.scores.stat().st_mtime_ns
    _, again, err = run(capsys, folder.root, "--json")
    assert folder.scores.stat().st_mtime_ns == written and again == out and err == ""


def test_judging_otherwise_is_tried_exploratory_and_not_written(folder, capsys):
    run(capsys, folder.root)
    before = folder.scores.read_bytes()
    _, out, err = run(capsys, folder.root, "--primary", "rougeL", "--json")
    found = json.loads(out)
    assert found["exploratory"] == ["judging.primary was rouge1 when the first samples were seen and is rougeL now"]
    assert all(row["p_holm"] is None for row in found["pairs"]) and "better" in found["verdict"]
    changed = [row["text"] for row in found["verdict_warnings"] if row["kind"] == "judging_changed"]
    assert changed == [f"Exploratory: {found['exploratory'][0]}."]
    assert folder.scores.read_bytes() == before and "tried, not written" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("grade_prompts: 2", "grade_prompts: 2, margin: 0.2", "judging.margin was 0.02"),
        ("True of the post.", "Shorter than the post.", "judging.criterion was changed"),
        ("primary: rouge1", "primary: rougeL", "judging.primary was rouge1"),
        ("per_prompt: 3", "per_prompt: 3, temperature: 0.3", "sampling.temperature was auto"),
        ("per_prompt: 3", 'per_prompt: 3, stop: ["END"]', "sampling.stop was auto"),
        ("base: {}", 'base: {stop: ["END"]}', "arms.base.stop was not given"),
    ],
)
def test_whatever_is_changed_once_there_are_samples_to_see_is_exploratory_alike(folder, capsys, old, new, said):
    run(capsys, folder.root)
    assert old in TRIAL and trial_findings(folder).exploratory == ()
    folder.trial.write_text(TRIAL.replace(old, new), encoding="utf-8")
    run(capsys, folder.root)
    found = trial_findings(folder)
    assert len(found.exploratory) == 1 and found.exploratory[0].startswith(said)
    assert not any(pair.confirmatory for pair in found.pairs)
    assert [w.kind for w in found.verdict_warnings].count("judging_changed") == 1


def test_a_metric_of_ones_own_whose_file_is_changed_then_is_exploratory_too(folder, capsys):
    own = folder.root / "own.py"
    own.write_text("def score(text, references): return len(text) / 100")
    folder.trial.write_text(TRIAL.replace("primary: rouge1", "primary: own.py:score"), encoding="utf-8")
    run(capsys, folder.root)
    assert trial_findings(folder).exploratory == ()
    own.write_text("def score(text, references): return len(text) / 50")
    run(capsys, folder.root)
    assert trial_findings(folder).exploratory == (
        "the file of the metric own.py:score was changed after the first samples were seen",
    )


def test_a_note_that_an_older_version_wrote_says_nothing_of_the_sampling(folder, capsys):
    run(capsys, folder.root)
    held = json.loads(folder.judging.read_text())
    folder.judging.write_text(json.dumps({key: held[key] for key in ("primary", "margin", "criterion")}))
    folder.trial.write_text(TRIAL.replace("per_prompt: 3", "per_prompt: 3, temperature: 0.3"))
    assert "temperature" in folder.trial.read_text()
    assert trial_findings(folder).exploratory == ()


def test_grades_count_once_they_are_locked_and_not_before(folder, capsys):
    run(capsys, folder.root)
    book = GradeBook(folder.grades)
    book.join("ann")
    for n, item in enumerate(read_rows(folder.items, Item)):
        event = {"kind": "grade", "mode": "single", "rater": "ann", "item_id": item.item_id, "occurrence": 1}
        event |= {"value": "bad" if "other other" in item.text else "good", "reasons": (), "note": None}
        event |= {"undoes": None, "left": None, "position": n, "shown_ms": 1.0, "client_at": None, "at": None}
        book.append(GradeEvent(uid=f"u{n}", text_hash="t", rubric_hash="r", version="v", source="page", **event))
    assert json.loads(run(capsys, folder.root, "--json")[1])["good"] == {}
    book.lock()
    book.close()
    found = json.loads(run(capsys, folder.root, "--json")[1])
    assert {arm: row["of"] for arm, row in found["good"].items()} == {"base": 6, "lora": 6, "full": 6}
    assert found["good"]["base"]["good"] < found["good"]["full"]["good"]


def test_repeated_training_runs_of_a_trial_answer_the_third_question(folder, capsys):
    rows = list(read_rows(folder.samples("lora"), Sample))
    first = [replace(row, run=0) for row in rows]
    second = [replace(r, id=r.id.replace("lora/", "lora@1/"), text=f"other {r.text}", run=1) for r in rows]
    write_rows(folder.samples("lora"), [*first, *second])
    found = json.loads(run(capsys, folder.root, "--json")[1])
    again = [row for row in found["pairs"] if row["question"] == "retrained"]
    assert [(row["a"], row["b"]) for row in again] == [("base", "lora"), ("base", "full"), ("lora", "full")]
    assert again[0]["p"] is not None
    assert not any("samples" in warning for warning in found["warnings"])  # two runs are no uneven table


def test_a_trial_without_samples_says_what_to_run(folder, capsys):
    for arm in ("base", "lora", "full"):
        folder.samples(arm).unlink()
    status, _, err = run(capsys, folder.root)
    assert status == 2 and "has been sampled yet" in err and "finetrial run" in err


def test_the_users_own_metric_is_found_beside_the_trial(folder, capsys):
    (folder.root / "rubric.py").write_text("def words(text, references):\n    return len(text.split())\n")
    _, out, _ = run(capsys, folder.root, "--json", "--metric", "rubric.py:words", "--metric", "rouge1")
    assert json.loads(out)["metrics"]["rubric.py:words"]["base"]["mean"] == 12.0
