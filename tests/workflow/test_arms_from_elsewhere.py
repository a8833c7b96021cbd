"""Arms whose answers come from a file or a server, and arms as they are deployed, beside arms that are run here."""

import json
import re
from collections import Counter

import pytest
import torch
from judge_server import JudgeServer
from tiny_trials import TRIAL, Lines, make_base

from finetrial.cli.main import dispatch
from finetrial.errors import FinetrialError
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.subset import sampled_examples
from finetrial.trial.trial_file import load_trial, parse_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial


def samples_of(folder, arm):
    return list(read_rows(folder.samples(arm), Sample))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny trial, run: base and lora here; a file, a hosted model, and lora merged and served."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("elsewhere")
    make_base(base)
    folder, given = TrialFolder(base / "run"), Counter()

    def answer(asked, body):
        if body["model"] == "hosted":
            return f"said of {len(asked)} END of it"
        mine = [s.text for s in samples_of(folder, "lora") if s.prompt == asked]
        given[asked] += 1
        return mine[(given[asked] - 1) % len(mine)]

    server = JudgeServer(answer, [429, "half", "nonsense"], headers={"Retry-After": "0"})
    endpoint = {"url": server.url, "backoff_seconds": 0.01, "timeout_seconds": 5, "concurrency": 1}
    prices = {"input_million": 1000.0, "output_million": 5000.0}
    arms = {
        "base": {},
        "lora": {"method": "lora", "rank": 2, "targets": ["q", "v"], "learning_rate": 1e-2},
        "mine": {"outputs": "mine.jsonl"},
        "hosted": {"endpoint": {**endpoint, "model": "hosted", "prices": prices}, "stop": ["END"]},
        "merged": {"of": "lora", "as": "merged", "margin": 0.5},
        "served": {"of": "lora", "as": "endpoint", "endpoint": {**endpoint, "model": "lora"}},
    }
    start, end = TRIAL.index("arms:"), TRIAL.index("training:")
    text = TRIAL[:start] + f"arms: {json.dumps(arms)}\n" + TRIAL[end:]
    (base / "tiny.yaml").write_text(text)
    loaded = load_trial(base / "tiny.yaml")
    asked = sampled_examples(read_splits(loaded).heldout, sampling=loaded.trial.sampling)
    by_id = [
        {"prompt_id": e.id, "prompt": "otherwise worded", "text": f"mine {n}"} for n, e in enumerate(asked[:3])
    ]
    by_text = [{"prompt": e.prompt.upper(), "text": t} for e in asked[3:5] for t in ("one", "two", "three")]
    (base / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*by_id, *by_text]))
    lines = Lines()
    done = run_trial(TrialContext(loaded, folder, listener=lines))
    assert done.failures == {}
    yield base, folder, server, lines.take(), asked, done
    server.close()


def test_a_file_is_joined_by_id_and_by_text_and_what_it_lacks_is_named_everywhere(prepared):
    _, folder, _, lines, asked, done = prepared
    mine = {(s.prompt_id, s.index): s.text for s in samples_of(folder, "mine")}
    assert mine == {(e.id, 0): f"mine {n}" for n, e in enumerate(asked[:3])} | {
        (e.id, i): text for e in asked[3:5] for i, text in enumerate(("one", "two"))
    }
    assert all(s.references and s.source for s in samples_of(folder, "mine"))
    missing = asked[5].id
    assert read_object(folder.measured("mine"), Measured).unanswered == (missing,)
    assert f"mine: warning: 1 prompts have no answer: {missing}" in lines
    assert any("3 prompts have fewer answers there" in line for line in lines)
    assert any("2 prompts have more answers there: the first 2 count" in line for line in lines)
    assert ("unanswered", ("mine",)) in [(w.kind, w.arms) for w in done.findings.verdict_warnings]
    assert missing in (folder.root / "report" / "report.md").read_text()


def test_a_server_is_asked_the_same_prompts_once_each_and_its_tokens_and_price_are_measured(prepared):
    _, folder, server, lines, asked, _ = prepared
    samples = samples_of(folder, "hosted")
    assert len(samples) == 12 and {s.prompt_id for s in samples} == {e.id for e in asked}
    bodies = [body for _, body in server.seen if body["model"] == "hosted"]
    assert len(bodies) == 12 + 3, "three faults, each asked again"
    assert {body["messages"][-1]["content"] for body in bodies} == {f"{e.prompt}\nTL;DR:" for e in asked}
    assert all(body["max_tokens"] == 6 and body["stop"] == ["END"] and body["top_p"] == 0.95 for body in bodies)
    assert len({body["seed"] for body in bodies}) == 12, "two samples of a prompt are two draws"
    assert {s.text for s in samples} == {f"said of {len(s.prompt)} " for s in samples}
    assert {s.end_reason for s in samples} == {"stop_string"}
    measured = read_object(folder.measured("hosted"), Measured)
    assert (measured.request_prompt_tokens, measured.request_generated_tokens) == (100, 10)
    assert measured.request_money == pytest.approx((100 * 1000 + 10 * 5000) / 1e6)
    assert any(line.startswith("hosted: 0.15 a request") for line in lines)
    rows = read_answers(folder.served("hosted"))
    assert sum(row.attempts for row in rows) == 15 and all(row.raw_hash for row in rows if row.raw is not None)
    assert "served/hosted.jsonl" in json.loads(folder.manifest.read_text())["steps"]["sample:hosted"]["outputs"]


def test_an_answered_question_is_never_paid_twice_whatever_is_changed_and_changed_back(prepared):
    base, folder, server, *_ = prepared
    count = len(server.seen)
    fewer = load_trial(base / "tiny.yaml", overrides=["sampling.prompts=4"])
    other = TrialFolder(base / "other")
    other.served("hosted").parent.mkdir(parents=True)
    other.served("hosted").write_bytes(folder.served("hosted").read_bytes() + b'{"torn')
    run_trial(TrialContext(fewer, other, listener=Lines(), only=["hosted"]))
    assert len(server.seen) == count and len(samples_of(other, "hosted")) == 8
    run_trial(TrialContext(load_trial(base / "tiny.yaml"), other, listener=Lines(), only=["hosted"]))
    assert len(server.seen) == count and len(samples_of(other, "hosted")) == 12
    assert samples_of(other, "hosted") == samples_of(folder, "hosted")


def test_a_budget_and_a_dead_server_stop_the_arm_alone_with_what_came_kept(prepared):
    base, _, server, *_ = prepared
    content = load_trial(base / "tiny.yaml").trial.model_dump(mode="json", exclude_unset=True)
    endpoint = content["arms"]["hosted"]["endpoint"] | {"model": "hosted", "budget": {"requests": 5}}
    content["arms"] = {"mine": {"outputs": "mine.jsonl"}, "hosted": {"endpoint": endpoint}}
    (base / "budget.yaml").write_text(json.dumps(content))
    folder, count = TrialFolder(base / "budget"), len(server.seen)
    done = run_trial(TrialContext(load_trial(base / "budget.yaml"), folder, listener=Lines()))
    assert re.search("5 of 12 answers have come.*budget is spent", str(done.failures["hosted"]))
    assert len(server.seen) == count + 5 and len(samples_of(folder, "mine")) == 7
    content["arms"]["hosted"]["endpoint"] |= {"budget": {"requests": 100}}
    (base / "budget.yaml").write_text(json.dumps(content))
    server.faults[:] = [503] * 1000
    done = run_trial(TrialContext(load_trial(base / "budget.yaml"), folder, listener=Lines()))
    assert "HTTP 503" in str(done.failures["hosted"]) and len(server.seen) == count + 5 + 3 * 5
    server.faults.clear()
    assert run_trial(TrialContext(load_trial(base / "budget.yaml"), folder, listener=Lines())).failures == {}
    assert len(server.seen) == count + 5 + 15 + 7, "only the seven that were missing"


def test_the_deployed_forms_are_tested_for_equivalence_and_stand_in_no_other_comparison(prepared):
    _, folder, _, _, _, done = prepared
    forms = {form.arm: form for form in done.findings.deployed}
    assert set(forms) == {"merged", "served"} and {form.of for form in forms.values()} == {"lora"}
    lora, merged = samples_of(folder, "lora"), samples_of(folder, "merged")
    assert [s.text for s in merged] == [s.text for s in lora], "merged in float32, the same random numbers"
    assert (folder.arm("merged") / "merged" / "model.safetensors").exists()
    # six prompts without any difference: at most 1 - .05^(1/6) = .393 of all prompts may differ, by 1 at most
    assert forms["merged"].high == pytest.approx(1 - 0.05 ** (1 / 6)) == -forms["merged"].low
    assert forms["merged"].outcome == "equivalent" and forms["merged"].identical == 12
    assert forms["served"].identical == 12 and forms["served"].margin == 0.02 and forms["served"].outcome == "open"
    named = {arm for pair in done.findings.pairs for arm in pair.arms}
    assert named == {"base", "lora", "mine", "hosted"}
    assert done.findings.recommendation is None or "merged" not in done.findings.recommendation.cost_order
    report = (folder.root / "report" / "report.md").read_text()
    assert "as it is deployed" in report and "is equivalent by" in report
    assert dispatch(["verify", str(folder.root)]) == 0


def test_an_arm_that_no_file_or_server_could_answer_is_refused_with_what_is_wrong():
    head = "trial: t\nmodel: gpt2\ndata: {source: x.jsonl}\narms:\n  lora: {method: lora}\n"
    wrong = {
        "{outputs: a.jsonl, shots: 3}": "takes no `shots`",
        "{of: lora}": "as",
        "{of: lora, as: gguf}": "needs `file`",
        "{of: lora, as: merged, file: a.gguf}": "belong together",
        "{of: other, as: merged}": "there is no arm 'other'",
        "{of: lora, as: merged, template: '{prompt}'}": "takes no `template`",
        "{endpoint: {url: ftp://h, model: m}}": "must be an address",
        "{endpoint: {url: http://h/v1, model: m, budget: {money: 1}}}": "needs `prices",
        "{endpoint: {url: http://h/v1, model: m}, precision: float32}": "its server decides",
    }
    for arm, said in wrong.items():
        with pytest.raises(FinetrialError, match="(?s).*" + said.replace("{", r"\{")):
            parse_trial(head + f"  other_arm: {arm}\n", origin="trial.yaml")
    kept = parse_trial(head + "  d: {of: lora, as: gguf, file: a.gguf}\n", origin="trial.yaml")
    again = kept.model_dump(mode="json", exclude_unset=True)["arms"]["d"]
    assert again == {"of": "lora", "as": "gguf", "file": "a.gguf"}


def test_an_arm_is_exported_for_ollama_and_as_its_adapter(prepared, tmp_path, capsys):
    _, folder, *_ = prepared
    assert dispatch(["export", str(folder.root), "lora", "--as", "ollama", "--out", str(tmp_path / "o")]) == 0
    assert "ollama create lora" in capsys.readouterr().out
    said = (tmp_path / "o" / "Modelfile").read_text()
    assert said.startswith('FROM .\nTEMPLATE """{{ .Prompt }}\nTL;DR:"""\nPARAMETER temperature 0.8\n')
    assert "PARAMETER num_predict 6\n" in said and "PARAMETER top_k 0\n" in said and 'PARAMETER stop "' in said
    assert (tmp_path / "o" / "model.safetensors").exists() and (tmp_path / "o" / "tokenizer.json").exists()
    assert dispatch(["export", str(folder.root), "lora", "--as", "adapter", "--out", str(tmp_path / "a")]) == 0
    weights = "adapter_model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (folder.arm("lora") / weights).read_bytes()
    assert not (tmp_path / "a" / "model.safetensors").exists()
    refused = (("base", "adapter", "has no adapter"), ("mine", "model", "no model of this trial's own"))
    for arm, form, said in refused:
        assert dispatch(["export", str(folder.root), arm, "--as", form, "--out", str(tmp_path / "x")]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_gguf_file_is_written_by_llama_cpps_converter_or_not_at_all(prepared, tmp_path, monkeypatch, capsys):
    _, folder, *_ = prepared
    command = ["export", str(folder.root), "lora", "--as", "gguf", "--out", str(tmp_path / "lora.gguf")]
    monkeypatch.delenv("FINETRIAL_LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dispatch(command) == 2 and "converter is not at hand" in capsys.readouterr().err
    monkeypatch.setenv("FINETRIAL_LLAMA_CPP", str(tmp_path))
    assert dispatch(command) == 2 and "holds no convert_hf_to_gguf.py" in capsys.readouterr().err
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("raise SystemExit('this architecture is not known')\n")
    assert dispatch(command) == 2 and "this architecture is not known" in capsys.readouterr().err
    # what the converter is handed is a whole merged model, and the type of its numbers
    script.write_text("import pathlib, sys\nroot, _, out, _, kind = sys.argv[1:]\n"
                      "names = sorted(p.name for p in pathlib.Path(root).iterdir())\n"
                      "pathlib.Path(out).write_text(kind + ' ' + ' '.join(names))\n")  # fmt: skip
    assert dispatch(command) == 0
    said = (tmp_path / "lora.gguf").read_text()
    assert said.startswith("f32 config.json generation_config.json model.safetensors")
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["convert_hf_to_gguf.py", "lora.gguf"], "nothing is left over"
    assert dispatch(command) == 2 and "a new .gguf file" in capsys.readouterr().err
