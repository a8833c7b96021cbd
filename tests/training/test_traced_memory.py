"""A training step traced without numbers holds what the real one does, and what the count from the shape says."""

import json

from typer.testing import CliRunner

from finetrial.cli.footprint import app
from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.training_memory import Training, training_memory
from finetrial.workflow.traced_peak import traced_peak

GPT2 = {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "vocab_size": 2048, "n_positions": 128}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "vocab_size": 2048,
    "tie_word_embeddings": False,
}


def test_a_traced_step_holds_what_the_count_from_the_shape_says(tmp_path):
    # the counts are within 1.2 % of what torch's allocator handed out (docs/results/footprint.md)
    cases = (
        (GPT2, Full(), "full", {}),
        (LLAMA, Lora(rank=4, targets=("q", "v")), "lora", {"rank": 4, "targets": ["q", "v"]}),
    )
    for number, (config, method, word, keys) in enumerate(cases):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(config))
        training = Training(method=method, length=96, rows=4, device="cpu", dtype="bfloat16")
        counted = training_memory(shape_from_config(config), training)
        traced = traced_peak(str(path), method=word, keys=keys, training=training)
        assert abs(traced.peak_bytes / counted.total_bytes - 1) < 0.05, (word, traced.at_peak)
        assert traced.standing_bytes < traced.peak_bytes == sum(traced.at_peak.values())


def test_a_step_is_traced_by_a_cpus_rules_alone(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GPT2))
    command = ["train", "--model", str(path), "--method", "full", "--length", "32", "--traced"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code != 0 and "--device cpu" in str(found.exception.fix)
