"""Models in GGUF files: dequantised once, exported, refused in one line where they cannot be read."""

import json

import pytest
import torch
from tiny_gguf import write_gguf
from tiny_models import make_examples, save_model
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from finetrial.cli.export import app
from finetrial.errors import UserError
from finetrial.methods.lora.lora_method import Lora
from finetrial.models import gguf_base
from finetrial.models.gguf_base import as_folder, base_format
from finetrial.models.loading import load_adapted, load_config, load_model, load_tokenizer
from finetrial.store.gguf import read_gguf
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask

IDS = torch.arange(1, 20)[None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETRIAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def original(tmp_path):
    return save_model("llama", tmp_path / "original")


@pytest.fixture
def file(original, tmp_path):
    return write_gguf(original, tmp_path / "tiny.gguf")


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_a_gguf_file_gives_the_logits_of_the_model_it_was_made_from(file, original):
    stock = AutoModelForCausalLM.from_pretrained(original).eval()
    assert torch.equal(logits(load_model(file)), logits(stock))
    assert load_config(file).hidden_size == stock.config.hidden_size
    text = "The quick brown fox, line two"
    assert load_tokenizer(file)(text).input_ids == byte_level()(text).input_ids
    assert base_format(file) == "GGUF F32", "nothing was dequantised"


def test_a_gguf_file_is_read_once_until_it_changes(file, original, tmp_path):
    folder = as_folder(file)
    before = (gguf_base.Path(folder) / "model.safetensors").stat().st_mtime_ns
    assert as_folder(file) == folder
    assert (gguf_base.Path(folder) / "model.safetensors").stat().st_mtime_ns == before
    write_gguf(save_model("llama", tmp_path / "other", seed=1), file)
    assert as_folder(file) != folder
    assert not torch.equal(logits(load_model(file)), logits(load_model(folder)))


def test_an_adapter_names_the_file_it_was_tuned_on_and_loads_on_it(file, tmp_path):
    task = TuneTask(
        model=file,
        train=make_examples(6),
        folder=tmp_path / "lora",
        method=Lora(rank=2, targets=("q", "v"), alpha=4.0),
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    tune(task)
    named = json.loads((task.folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == file
    adapted = load_adapted(file, adapter=task.folder, foreign=True)
    assert not torch.equal(logits(adapted), logits(load_model(file)))
    with pytest.raises(UserError, match="another base"):
        load_adapted(save_model("llama", tmp_path / "stranger", seed=5), adapter=task.folder, foreign=True)


def test_an_exported_file_loads_in_transformers_with_the_same_bits(file, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, [file, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["base_format"] == "GGUF F32"
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    stock = AutoModelForCausalLM.from_pretrained(out).eval()
    assert stock.dtype == torch.float32 and torch.equal(logits(stock), logits(load_model(file)))


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_short_is_one_error(file, share):
    with open(file, "rb+") as stream:
        stream.truncate(int(share * stream.seek(0, 2)))
    with pytest.raises(UserError, match="cut short"):
        load_model(file)


def test_what_is_no_gguf_is_one_error(tmp_path):
    page = tmp_path / "page.gguf"
    page.write_text("<html>not found</html>")
    for load in (load_model, load_tokenizer, load_config, read_gguf):
        with pytest.raises(UserError, match="is not a GGUF file"):
            load(type(page)(page) if load is read_gguf else str(page))
    with pytest.raises(UserError, match="there is no model file"):
        load_model(str(tmp_path / "pgae.gguf"))
    with pytest.raises(UserError, match="holds GGUF files"):
        load_model(str(tmp_path))


def test_an_architecture_that_transformers_cannot_read_is_one_error(original, tmp_path):
    strange = write_gguf(original, tmp_path / "strange.gguf", architecture="bitnet")
    with pytest.raises(UserError, match="cannot be read by transformers") as caught:
        load_model(strange)
    assert "bitnet" in str(caught.value)
    assert not any((tmp_path / "cache").rglob("*")) or not any((tmp_path / "cache" / "gguf").iterdir())
