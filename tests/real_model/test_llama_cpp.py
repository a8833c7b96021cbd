"""The real model as a GGUF file: llama.cpp's converter writes it, llama.cpp runs it, and it is compared."""

import json
import os

import pytest

from finetrial.cli.main import dispatch
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.listener import Silent
from finetrial.workflow.run import run_trial

PLACES = ("France", "Italy", "Norway", "Spain", "Greece", "Poland", "Egypt", "Japan")


@pytest.mark.long
def test_a_tuned_arm_and_its_gguf_file_give_nearly_the_same_greedy_answers(real_model_folder, tmp_path):
    pytest.importorskip("llama_cpp")
    if "FINETRIAL_LLAMA_CPP" not in os.environ:
        pytest.skip("FINETRIAL_LLAMA_CPP names no folder with llama.cpp's converter")
    rows = [{"prompt": f"What is the capital of {p}?", "completion": f"A city of {p}.", "id": p} for p in PLACES]
    more = [{"prompt": f"Speak of {n} apples.", "completion": f"{n} of them.", "id": f"t{n}"} for n in range(8)]
    for name, part in (("heldout", rows), ("train", more[:6]), ("validation", more[6:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    trial = {
        "trial": "deployed",
        "model": str(real_model_folder),
        "data": {"source": {name: f"{name}.jsonl" for name in ("train", "validation", "heldout")}},
        "arms": {
            "lora": {"method": "lora", "rank": 4, "targets": ["q", "v"]},
            "small": {"of": "lora", "as": "gguf", "file": "lora.gguf", "margin": 0.2},
        },
        "training": {"epochs": 4, "batch_tokens": 64, "precision": "float32"},
        "sampling": {"prompts": 8, "max_new_tokens": 24, "temperature": 0.0},
        "judging": {"grade_prompts": 0},
    }
    (tmp_path / "deployed.yaml").write_text(json.dumps(trial))
    folder = TrialFolder(tmp_path / "run")
    assert dispatch(["tune", str(tmp_path / "deployed.yaml"), "--out", str(folder.root)]) == 0
    assert dispatch(["export", str(folder.root), "lora", "--as", "gguf", "--out", str(tmp_path / "lora.gguf")]) == 0
    done = run_trial(TrialContext(load_trial(tmp_path / "deployed.yaml"), folder, listener=Silent()))
    assert done.failures == {}
    (form,) = done.findings.deployed
    samples = list(read_rows(folder.samples("small"), Sample))
    assert len(samples) == 8 and all(sample.text.strip() for sample in samples)
    measured = read_object(folder.measured("small"), Measured)
    assert measured.request_prompt_tokens > 10 and measured.request_seconds > 0
    # float32 numbers in both: answers part where two tokens are about as likely, and greedy decoding goes on.
    # On 2026-11-27 the base in bfloat16 and its file in float32 gave 7 of 8 answers alike.
    assert form.identical >= 5 and form.compared == 8
    assert form.outcome in ("equivalent", "open")
    print(f"{form.identical} of {form.compared} answers alike, {form.outcome}: {form.low:+.2f} to {form.high:+.2f}")
