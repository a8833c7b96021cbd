"""The GGUF file of a real model: what it is, what it becomes, and that this is what transformers makes of it."""

import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetrial.models.gguf_base import base_format
from finetrial.models.loading import load_model, load_tokenizer

PARAMETERS = 134_515_008  # 49152 x 576 + 30 layers of 3,540,096 + the last norm's 576


def test_the_file_is_dequantised_to_the_numbers_that_its_blocks_stand_for(real_model):
    from gguf import GGUFReader, dequantize

    model = load_model(str(real_model))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS
    assert base_format(str(real_model)) == "GGUF Q4_1, dequantised"
    tensors = {tensor.name: tensor for tensor in GGUFReader(real_model).tensors}
    seen = 0
    for name, theirs in (("token_embd", "embed_tokens"), ("blk.7.ffn_down", "layers.7.mlp.down_proj")):
        tensor = tensors[f"{name}.weight"]
        expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(model.get_parameter(f"model.{theirs}.weight"), expected)
        seen += 1
    assert seen == 2


def test_its_copy_in_hugging_face_layout_gives_the_same_logits(real_model, real_model_folder):
    ids = AutoTokenizer.from_pretrained(real_model_folder)(
        "The capital of France is", return_tensors="pt"
    ).input_ids
    stock = AutoModelForCausalLM.from_pretrained(real_model_folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = load_model(str(real_model))(ids).logits
        assert torch.equal(logits, stock(ids).logits)
    assert load_tokenizer(str(real_model)).decode(logits[0, -1].argmax()) == " Paris", "these weights are trained"


def test_its_shape_is_counted_from_the_header_without_torch(real_model):
    blocked = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
    run = "from finetrial.cli.main import dispatch; sys.exit(dispatch(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", blocked + run, "footprint", "shape", str(real_model), "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shape = json.loads(done.stdout)
    assert shape["params"] == PARAMETERS and shape["tied_head"]
    assert (shape["layers"], shape["width"], shape["heads"], shape["kv_heads"]) == (30, 576, 9, 3)
