"""IA3, VeRA and configurations of peft given as they are: trained, counted, reloaded, merged or said not to be."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from small_tasks import TRAIN, make_task, points
from tiny_models import FAMILIES, save_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from finetrial.errors import UserError
from finetrial.footprint.adapters import additions, trained_parameters
from finetrial.footprint.shapes import shape_from_config
from finetrial.methods.from_peft.counting_torch import count_modules
from finetrial.methods.from_peft.from_peft_method import FromPeft
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.ia3.ia3_method import IA3
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.torch_half import Where
from finetrial.methods.vera.vera_method import Vera
from finetrial.models.evaluate import mean_loss
from finetrial.models.export_folder import export_tuned
from finetrial.models.loading import load_model
from finetrial.training.loop import tune, tune_with
from finetrial.training.shared_base import SharedBase

RATES = {"ia3": 3e-2, "vera": 3e-2, "peft": 1e-2}
METHODS = [IA3(), IA3(targets=("q", "v")), Vera(rank=4), Vera(rank=4, targets=("q", "v", "down"))]
LILY = FromPeft(config={"peft_type": "LILY", "r": 4, "target_modules": ["q_proj", "v_proj"]})


def tuned(tmp_path, family, method, **changes):
    base = tmp_path / "base"
    if not base.exists():
        save_model(family, base)
    rate = changes.pop("learning_rate", RATES.get(method.name, 1e-2))
    task = make_task(tmp_path / "arm", model=str(base), method=method, learning_rate=rate, **changes)
    return task, tune(task)


def loaded(task, dtype=torch.float32):
    return half_of(task.method).load(task.method, Where(base=task.model, dtype=dtype), folder=task.folder)


def stock(task):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(task.model), task.folder).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.describe({}))
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_it_learns_counts_as_on_paper_and_merged_equals_stock_peft(family, method, tmp_path):
    task, measured = tuned(tmp_path, family, method)
    losses = [p.validation_loss for p in points(task.folder) if p.validation_loss is not None]
    assert losses[-1] < losses[0] - 0.005
    shape = shape_from_config(FAMILIES[family][1].to_dict())
    assert measured.trained_parameters == trained_parameters(shape, method=method.counted())
    found = loaded(task)
    assert found.unmerged is None and not any("base_layer" in name for name, _ in found.model.named_modules())
    ids = torch.arange(1, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(found.model(ids).logits, stock(task)(ids).logits, atol=2e-4, rtol=1e-4)
    assert mean_loss(found.model, task.validation) == pytest.approx(measured.validation_loss, rel=1e-4)


@pytest.mark.parametrize("method", [IA3(targets=("q", "v")), Vera(rank=4)], ids=lambda m: m.name)
def test_the_key_columns_of_a_fused_matrix_keep_every_bit(method, tmp_path):
    task, _ = tuned(tmp_path, "gpt2", method)
    for before, after in zip(load_model(task.model).transformer.h, loaded(task).model.transformer.h, strict=True):
        old, new = before.attn.c_attn.weight, after.attn.c_attn.weight
        assert torch.equal(new[:, 32:64], old[:, 32:64]) and not torch.equal(new[:, :32], old[:, :32])


def test_veras_projections_are_stored_only_where_that_is_asked(tmp_path):
    for name, saved in (("without", False), ("with", True)):
        (tmp_path / name).mkdir()
        task, _ = tuned(tmp_path / name, "llama", Vera(rank=4, save_projection=saved), epochs=0.1)
        names = load_file(task.folder / "adapter_model.safetensors").keys()
        assert any("vera_A" in key for key in names) == saved


@pytest.mark.parametrize("method", [IA3(), Vera(rank=4)], ids=lambda m: m.name)
def test_a_bfloat16_arm_is_sampled_as_it_was_trained(method, tmp_path):
    task, measured = tuned(tmp_path, "llama", method, precision="bfloat16")
    # The merged weights are rounded to bfloat16 once more: 2^-9 of a weight, far less of a loss.
    assert mean_loss(loaded(task, torch.bfloat16).model, task.validation) == pytest.approx(
        measured.validation_loss, rel=2e-3
    )


def test_a_shared_base_is_left_as_it_was(tmp_path):
    base = save_model("llama", tmp_path / "base")
    shared = SharedBase()
    tasks = {
        method.name: make_task(tmp_path / method.name, model=base, method=method, epochs=0.3)
        for method in (IA3(), Vera(rank=4), Lora(rank=2))
    }
    for task in tasks.values():
        tune_with(task, shared.prepare)
    assert shared.loads == 1
    for name, task in tasks.items():
        alone = make_task(tmp_path / f"{name}-alone", model=base, method=task.method, epochs=0.3)
        tune(alone)
        file = "adapter_model.safetensors"
        assert (alone.folder / file).read_bytes() == (task.folder / file).read_bytes(), name


# -- counting from the modules


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (Lora(rank=3, targets=("q", "v")), {"peft_type": "LORA", "r": 3}),
        (IA3(targets=("q", "v")), {"peft_type": "IA3", "feedforward_modules": []}),
        (Vera(rank=3, targets=("q", "v")), {"peft_type": "VERA", "r": 3}),
    ],
    ids=["lora", "ia3", "vera"],
)
def test_what_is_counted_from_peft_s_modules_is_what_the_method_counts_on_paper(method, config):
    cls, settings = FAMILIES["llama"]
    own = FromPeft(config=config | {"target_modules": ["q_proj", "v_proj"]})
    model = cls(settings)
    half_of(own).attach(model, method=own, fresh=(), seed=0, dtype=torch.float32)
    shape = shape_from_config(settings.to_dict())
    found = {
        (linear.path, addition.trained, addition.products[0].forward, addition.products[0].to_input)
        for linear, _, addition in additions(shape, count_modules(model, words="it"))
    }
    expected = {
        (linear.path, addition.trained, addition.products[0].forward, addition.products[0].to_input)
        for linear, _, addition in additions(shape, method.counted())
    }
    assert found == expected and len(found) == 2


def test_a_scaled_input_asks_for_the_matrix_s_gradient(tmp_path):
    cls, settings = FAMILIES["llama"]
    shape = shape_from_config(settings.to_dict())
    own = FromPeft(
        config={"peft_type": "IA3", "target_modules": ["down_proj"], "feedforward_modules": ["down_proj"]}
    )
    model = cls(settings)
    half_of(own).attach(model, method=own, fresh=(), seed=0, dtype=torch.float32)
    for method in (IA3(targets=("down",)).counted(), count_modules(model, words="it")):
        scaled = [addition.scales_input for _, _, addition in additions(shape, method)]
        assert scaled == [True, True]  # one a layer


def test_loha_s_products_of_a_row_are_those_that_torch_counts(tmp_path):
    cls, settings = FAMILIES["llama"]
    own = FromPeft(config={"peft_type": "LOHA", "r": 2, "target_modules": ["q_proj"]})
    model = cls(settings)
    half_of(own).attach(model, method=own, fresh=(), seed=0, dtype=torch.float32)
    counted = count_modules(model, words="it")
    (addition,) = counted.found.values()
    layer = model.model.layers[0].self_attn.q_proj
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 512, 32))
    # 512 tokens through the matrix itself, and what LoHa adds
    assert counter.get_total_flops() == pytest.approx(2 * 512 * (32 * 32 + addition.products[0].forward), rel=1e-3)


# -- a configuration as it is


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "LOHA", "r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]},
        {"peft_type": "OFT", "oft_block_size": 4, "target_modules": ["q_proj", "v_proj"]},
        {"peft_type": "LN_TUNING", "target_modules": ["input_layernorm"]},
    ],
    ids=lambda c: c["peft_type"],
)
def test_what_peft_can_merge_is_merged(config, tmp_path):
    task, measured = tuned(tmp_path, "llama", FromPeft(config=config))
    found = loaded(task)
    assert found.unmerged is None
    assert mean_loss(found.model, task.validation) == pytest.approx(measured.validation_loss, rel=1e-4)
    stored = load_file(task.folder / "adapter_model.safetensors")
    assert measured.trained_parameters == sum(tensor.numel() for tensor in stored.values())


def test_what_cannot_be_merged_is_sampled_as_it_is_and_exported_as_the_adapter(tmp_path):
    task, measured = tuned(tmp_path, "llama", LILY)
    found = loaded(task)
    assert found.unmerged == "peft's LILY cannot be merged into the weights"
    # Lily mixes what stands in one row, so that examples packed together would see each other: they are not packed.
    (packed,) = [path for path in measured.fast_paths if path.name == "packed rows"]
    assert not packed.on
    assert mean_loss(found.model, task.validation) == pytest.approx(measured.validation_loss, rel=1e-4)
    assert measured.flops_total is not None and found.beside is not None
    where = Where(base=task.model, dtype=torch.float32)
    written = export_tuned(LILY, where, folder=task.folder, out=tmp_path / "out")
    assert written.unmerged == found.unmerged and not (tmp_path / "out" / "config.json").exists()
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(task.model), tmp_path / "out").eval()
    assert mean_loss(again.get_base_model(), TRAIN) == pytest.approx(mean_loss(found.model, TRAIN), rel=1e-6)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"peft_type": "LOHHA"}, "unknown peft_type.*Did you mean 'LOHA'"),
        ({"peft_type": "LOHA", "rank": 4}, "does not take this configuration of LOHA.*rank"),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "learns a prompt and sits in none"),
        ({"peft_type": "LOHA", "target_modules": ["nothing"]}, "cannot put LOHA on this model.*nothing"),
    ],
)
def test_what_peft_does_not_have_is_said_before_anything_is_loaded(config, complaint):
    method = FromPeft(config=config)
    with pytest.raises(UserError, match=complaint):
        half_of(method).check(method, FAMILIES["llama"][1])


@pytest.mark.parametrize("method", [IA3(), Vera(rank=4), LILY], ids=lambda m: m.name)
def test_new_tokens_are_refused_with_what_can_train_them(method):
    cls, settings = FAMILIES["llama"]
    with pytest.raises(UserError, match=r"cannot train the rows of new tokens.*lora or full"):
        half_of(method).attach(cls(settings), method=method, fresh=(3,), seed=0, dtype=torch.float32)


def test_every_method_states_a_learning_rate_and_describes_itself():
    rates = {m.name: m.default_learning_rate(2048) for m in (Full(), Lora(), IA3(), Vera(), LILY)}
    assert rates["full"] < rates["lora"] == rates["peft"] < rates["ia3"] < rates["vera"]
    assert LILY.describe({}) == "PEFT's LILY, r 4, target_modules q_proj v_proj"
    assert Vera(rank=4).describe({}) == "VeRA, rank 4 on q and v"
