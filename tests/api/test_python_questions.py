"""Questions without a model: `import finetrial`, scoring rows, scaling laws and footprints."""

import json
import math
import os
import subprocess
import sys
from importlib import resources

import pandas
import pytest

import finetrial
from finetrial.cli.main import dispatch

BLOCKED = ("torch", "transformers", "peft", "tokenizers", "safetensors", "datasets", "accelerate")


def python(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_else_and_takes_under_30_ms():
    program = """
import sys, time
before, began = set(sys.modules), time.perf_counter()
import finetrial
seconds = time.perf_counter() - began
print(seconds, *sorted(set(sys.modules) - before))
"""
    tries = [python(program).split() for _ in range(5)]
    assert all(modules == ["finetrial"] for _, *modules in tries)
    assert min(float(seconds) for seconds, *_ in tries) < 0.030


def test_every_name_is_found_and_none_of_them_loads_torch():
    program = f"""
import sys
import finetrial
for name in finetrial.__all__:
    getattr(finetrial, name)
from finetrial.footprint import __all__ as names
for name in names:
    assert callable(getattr(finetrial.footprint, name)), name
print(*(name for name in {BLOCKED!r} if name in sys.modules))
"""
    assert python(program).split() == []
    assert set(finetrial.__all__) <= set(dir(finetrial))
    with pytest.raises(AttributeError, match="no attribute 'Trail'"):
        _ = finetrial.Trail


def test_what_needs_no_model_works_without_torch_and_pandas(tmp_path):
    rows = [
        {"prompt": f"p{i}", "arm": arm, "text": f"{arm} says {i} is so", "reference": f"b says {i} is so"}
        for i in range(8)
        for arm in ("a", "b")
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    program = f"""
import json, sys
for name in {(*BLOCKED, "pandas")!r}:
    sys.modules[name] = None
import finetrial
found = finetrial.score(json.load(open({str(tmp_path / "rows.json")!r})))
print(found.means[0]["arm"], finetrial.scale.optimal(3e24).best.params > 1e9)
print(finetrial.footprint.rank("gpt2", targets=["q"], budget="1MiB").rank)
rows = [dict(prompt=str(i), completion="b") for i in range(40)]
trial = finetrial.Trial(model="starter", data=rows, arms=dict(base={{}}), folder={str(tmp_path / "run")!r})
print(trial.check().tokens_missing.fix)
try:
    trial.run()
except finetrial.MissingPackage as error:
    print(error.fix)
"""
    # 1 MiB of bf16 adapters on 12 queries of 768 x 768: 2^20 / (2 x 12 x 1536) = 28.4
    assert python(program).split("\n")[:4] == [
        "a True",
        "28",
        "pip install 'finetrial[tune]'",
        "pip install 'finetrial[tune]'",
    ]


def test_the_package_says_that_it_is_typed():
    assert (resources.files("finetrial") / "py.typed").is_file()


def outputs(n=12):
    return [
        {"prompt": f"p{i}", "arm": arm, "text": text, "reference": f"the answer {i}"}
        for i in range(n)
        for arm, text in (("right", f"the answer {i}"), ("wrong", f"no idea {i}"))
    ]


def test_rows_a_frame_and_a_file_are_scored_alike(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in outputs()))
    by_rows, by_frame = finetrial.score(outputs()), finetrial.score(pandas.DataFrame(outputs()))
    by_file = finetrial.score(path)
    assert by_rows.findings == by_frame.findings == by_file.findings
    assert by_rows.verdict.startswith("right is better than wrong") and by_rows.recommendation.arm == "right"
    assert dispatch(["score", str(path)]) == 0
    assert capsys.readouterr().out == f"{by_rows}\n"
    means = by_rows.means.set_index(["metric", "arm"])["mean"]
    # "the answer 3" against itself is 1; "no idea 3" shares one word of three with it: F1 = 1/3
    assert means["rouge1", "right"] == 1 and math.isclose(means["rouge1", "wrong"], 1 / 3)
    assert list(by_rows.samples["arm"].unique()) == ["right", "wrong"]


def test_a_row_that_is_wrong_is_named_by_its_number():
    with pytest.raises(finetrial.UserError, match="row 2 has no arm"):
        finetrial.score([outputs()[0], {"prompt": "p", "text": "t"}])
    with pytest.raises(finetrial.UserError, match="neither rows nor a file"):
        finetrial.score(3)
    with pytest.raises(finetrial.UserError, match="unknown rule"):
        finetrial.score(outputs(), references="worst")


def test_results_of_files_are_compared_and_must_share_a_prompt_and_a_metric():
    first = finetrial.score(outputs())
    other = finetrial.score([row | {"prompt": f"another {row['prompt']}"} for row in outputs()])
    with pytest.raises(finetrial.UserError, match="share no prompt"):
        finetrial.compare({"first": first, "other": other})
    with pytest.raises(finetrial.UserError, match="judged by different metrics"):
        finetrial.compare({"first": first, "second": finetrial.score(outputs(), primary="rougeL")})
    with pytest.raises(finetrial.UserError, match="nothing to compare"):
        finetrial.compare({"first": first})
    graded = finetrial.score([row | {"grade": "good"} for row in outputs()], primary="grade")
    with pytest.raises(finetrial.UserError, match="grades are not carried"):
        finetrial.compare({"first": graded, "second": graded})
    wide = finetrial.score(outputs(), margin=0.5)
    both = finetrial.compare({"old": wide, "new": wide}, cost=["old/wrong", "new/wrong", "old/right", "new/right"])
    assert both.recommendation.margin == 0.5
    found = finetrial.compare({"old": first, "new": first})
    assert {row.arm for row in found.sample_rows} == {"old/right", "old/wrong", "new/right", "new/wrong"}


@pytest.mark.parametrize(
    ("command", "ask", "read"),
    [
        ("loss --params 67B --tokens 4.1T", lambda s: s.loss("67B", "4.1T").loss, "loss"),
        ("loss --params gpt3-175b --tokens 300B", lambda s: s.loss("gpt3-175b", 300e9).loss, "loss"),
        ("optimal --flops 3e24", lambda s: s.optimal("3e24").best.params, "params"),
        (
            "tokens --params 67B --improve 1% --from-tokens 4.1T --unique-tokens 4.1T --repeat halving",
            lambda s: (
                (
                    s.tokens("67B", improve="1%", from_tokens="4.1T", unique_tokens="4.1T", repeat="halving")
                ).epochs_total
            ),
            "epochs_total",
        ),
        (
            "epochs --params 1B --unique-tokens 1B --flops 1e20",
            lambda s: s.epochs(1e9, unique_tokens="1B", flops=1e20).epochs_total,
            "epochs_total",
        ),
    ],
    ids=["loss", "loss of a model", "optimal", "tokens", "epochs"],
)
def test_scaling_questions_have_the_command_lines_answers(command, ask, read, capsys):
    assert dispatch(["scale", *command.split(), "--json"]) == 0
    assert ask(finetrial.scale) == pytest.approx(json.loads(capsys.readouterr().out)[read], rel=1e-12)


def test_a_loss_below_the_floor_is_unreachable_with_its_reason_and_two_aims_are_refused():
    found = finetrial.scale.tokens("1B", loss=1.0)
    assert found.reason == "the target is not above the floor of this size" and found.floor > 1.0
    with pytest.raises(finetrial.UserError, match="one aim"):
        finetrial.scale.tokens("1B", loss=2.0, flops=1e20)


def runs():
    law = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
    return [
        {
            "params": n,
            "tokens": d,
            "loss": law["E"] + law["A"] / n ** law["alpha"] + law["B"] / d ** law["beta"],
        }
        for n in (1e7, 3e7, 1e8, 3e8)
        for d in (1e9, 3e9, 1e10)
    ]


def test_a_law_is_fitted_to_rows_and_used_like_a_named_one():
    found = finetrial.scale.fit(runs())
    assert found.coefficients["alpha"] == pytest.approx(0.34, rel=1e-3)  # the law that made the rows
    assert finetrial.scale.fit(pandas.DataFrame(runs())).coefficients == found.coefficients
    predicted = found.predict("1B", "20B").predicted
    assert finetrial.scale.loss("1B", "20B", law=found.law).loss == pytest.approx(predicted)
    assert found.best(1e21).params * found.best(1e21).tokens * 6 == pytest.approx(1e21)


def test_runs_that_support_no_law_are_refused_with_the_reason():
    two_sets = [row | {"loss": row["loss"] + shift, "corpus": shift} for shift in (0.0, 0.5) for row in runs()]
    with pytest.raises(finetrial.FinetrialError) as raised:
        finetrial.scale.fit(two_sets)
    assert isinstance(raised.value, finetrial.AnswerIsNo) and "corpus" in raised.value.fix
    with pytest.raises(finetrial.UserError, match="fewer runs than coefficients"):
        finetrial.scale.fit(runs()[:3])


def test_footprint_questions_have_the_command_lines_answers(capsys):
    storage = "footprint storage --model gpt3-175b --method lora --rank 4 --targets q,v --json"
    assert dispatch(storage.split()) == 0
    stored = json.loads(capsys.readouterr().out)
    mine = finetrial.footprint.storage("gpt3-175b", method="lora:4:q,v", dtype="bf16")
    # 96 layers x (q, v) x rank 4 x (12288 + 12288) = 18,874,368
    assert mine.params_stored == stored["params_stored"] == 18_874_368
    ranks = "footprint rank --model gpt3-175b --same-as lora:4:q,v --targets q --json"
    assert dispatch(ranks.split()) == 0
    ranked = json.loads(capsys.readouterr().out)["rank"]
    assert finetrial.footprint.rank("gpt3-175b", same_as="lora:4:q,v", targets=["q"]).rank == ranked == 8
    asked = "footprint train --model llama-3-8b --rank 16 --targets all-linear --length 2048 --memory 24GB --json"
    status = dispatch(asked.split())
    needed = json.loads(capsys.readouterr().out)
    found = finetrial.footprint.train("llama-3-8b", method="lora:16:all-linear", length=2048, memory="24GB")
    assert found.plan.needed_bytes == needed["needed_bytes"] and found.fits is (status == 0)
    rows = finetrial.footprint.compare("gpt2", ["full", "matrices:q,v", "lora:1,2:q"])
    assert list(rows) == ["full", "matrices:q,v", "lora:1:q", "lora:2:q"]
    assert rows["lora:2:q"].params_stored == 2 * rows["lora:1:q"].params_stored


def test_a_shape_is_taken_where_a_name_is(tmp_path):
    config = {"model_type": "gpt2", "n_positions": 128, "vocab_size": 400, "n_embd": 8, "n_layer": 1, "n_head": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = finetrial.load_shape(tmp_path)
    assert finetrial.footprint.shape(config).width == shape.width == 8
    assert (
        finetrial.footprint.storage(shape, dtype="fp32").bytes_total
        == finetrial.footprint.storage(config, dtype="fp32").bytes_total
    )
    with pytest.raises(finetrial.UserError, match="no model is known by the name"):
        finetrial.footprint.shape("gpt9")
