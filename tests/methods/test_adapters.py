"""Adapters: exactly the targets, fused slices, saved for stock peft, new token rows."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from arm_loading import load_arm
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from tiny_models import FAMILIES, make_examples, save_model
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetrial.errors import UserError
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.structure import Rows
from finetrial.footprint.targets import resolve_targets
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.model_targets import targeted_modules
from finetrial.methods.torch_half import trained
from finetrial.models.evaluate import mean_loss
from finetrial.models.loading import load_adapted, load_model, load_tokenizer
from finetrial.models.special_tokens import prepare_rows
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask

TRAIN = make_examples(30)
IDS = torch.arange(1, 25)[None]


def tuned(tmp_path, family, *, targets=("q", "v"), name="arm", **lora):
    base = tmp_path / "base"
    if not base.exists():
        save_model(family, base)
    setting = Lora(rank=3, targets=targets, alpha=12.0, **lora)
    task = TuneTask(
        model=str(base),
        train=TRAIN,
        folder=tmp_path / name,
        method=setting,
        batch_tokens=200,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    tune(task)
    return task


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("gpt2", {"transformer.h.{}.attn.c_attn": (Rows(0, 32), Rows(64, 96))}),
        (
            "phi",
            {
                "model.layers.{}.self_attn.q_proj": (Rows(0, 32),),
                "model.layers.{}.self_attn.v_proj": (Rows(0, 32),),
            },
        ),
        (
            "llama",  # four heads of 8 for queries, two for values
            {
                "model.layers.{}.self_attn.q_proj": (Rows(0, 32),),
                "model.layers.{}.self_attn.v_proj": (Rows(0, 16),),
            },
        ),
    ],
)
def test_q_and_v_mean_exactly_those_projections(family, expected, tmp_path):
    model = FAMILIES[family][0](FAMILIES[family][1])
    found = {a.name: a.blocks for a in targeted_modules(model, targets=("q", "v"))}
    assert found == {name.format(i): blocks for i in range(2) for name, blocks in expected.items()}


def test_o_is_the_attention_s_output_and_not_the_mlp_s():
    cls, config = FAMILIES["gpt2"]
    assert [a.name for a in targeted_modules(cls(config), targets=("o",))] == [
        "transformer.h.0.attn.c_proj",
        "transformer.h.1.attn.c_proj",
    ]


def test_a_module_s_own_name_is_a_target():
    cls, config = FAMILIES["gpt2"]
    found = targeted_modules(cls(config), targets=("c_attn", "mlp.c_proj"))
    assert [(a.name, a.blocks) for a in found[:2]] == [
        ("transformer.h.0.attn.c_attn", (Rows(0, 96),)),
        ("transformer.h.0.mlp.c_proj", (Rows(0, 32),)),
    ]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_all_linear_means_what_peft_and_footprint_mean_by_it(family):
    cls, config = FAMILIES[family]
    found = targeted_modules(cls(config), targets=("all-linear",))
    model = get_peft_model(cls(config), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear"))
    adapted = {n.removeprefix("base_model.model.") for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    assert {a.name for a in found} == adapted and all(a.whole for a in found)
    shape = shape_from_config(config.to_dict())
    targets = resolve_targets(shape, targets=("all-linear",))
    assert {name for t in targets for name in t.modules} == adapted


@pytest.mark.parametrize("targets", [("q", "w"), ("gate",)])
def test_an_unknown_target_lists_what_there_is(targets):
    cls, config = FAMILIES["gpt2"]
    with pytest.raises(UserError, match=r"gpt2 has no target.*some of q, k, v, o.*c_attn"):
        targeted_modules(cls(config), targets=targets)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_one_fused_adapter_equals_separate_ones_on_q_and_v(rank_stabilised):
    # Beside the slices' definition: y_q = x W_q + s B_q A_q x and y_v alike, written out by hand.
    cls, config = FAMILIES["gpt2"]
    torch.manual_seed(0)
    model = cls(config).eval()
    plain = model.transformer.h[0].attn.c_attn
    setting = Lora(rank=3, targets=("q", "v"), alpha=12.0, rank_stabilised=rank_stabilised)
    adapters = half_of(setting).attach(model, method=setting, fresh=(), seed=0, dtype=torch.float32)
    layer = model.transformer.h[0].attn.c_attn
    place = next(i for i, p in enumerate(trained(adapters.model)) if p is layer.lora_B["default"].weight)
    with torch.no_grad():
        layer.lora_B["default"].weight.copy_(torch.randn(96, 6) * adapters.masks[place])
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(5, 32)
    scale = 12.0 / 3**0.5 if rank_stabilised else 12.0 / 3
    expected = plain(x)
    expected[:, :32] += scale * (x @ a[:3].t() @ b[:32, :3].t())
    expected[:, 64:] += scale * (x @ a[3:].t() @ b[64:, 3:].t())
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("dora", [False, True])
def test_the_key_slice_is_bitwise_unchanged_after_stock_peft_merges(dora, tmp_path):
    task = tuned(tmp_path, "gpt2", dora=dora)
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    before = [block.attn.c_attn.weight.detach().clone() for block in base.transformer.h]
    merged = PeftModel.from_pretrained(base, task.folder).merge_and_unload()
    for block, old in zip(merged.transformer.h, before, strict=True):
        new = block.attn.c_attn.weight
        assert torch.equal(new[:, 32:64], old[:, 32:64])
        assert not torch.equal(new[:, :32], old[:, :32])
        assert not torch.equal(new[:, 64:], old[:, 64:])


def test_the_exported_config_is_plain_peft(tmp_path):
    task = tuned(tmp_path, "gpt2", targets=("q", "v", "o"))
    config = json.loads((task.folder / "adapter_config.json").read_text())
    # c_attn and c_proj are as frequent; c_attn carries two adapters of rank 3, its scaling stays 12 / 3
    assert sorted(config["target_modules"]) == ["attn.c_attn", "attn.c_proj"]
    ranks = {config["r"], *config["rank_pattern"].values()}
    alphas = {config["lora_alpha"], *config["alpha_pattern"].values()}
    assert ranks == {3, 6} and alphas == {12, 24}
    assert config["base_model_name_or_path"] == task.model
    stored = load_file(task.folder / "adapter_model.safetensors")
    b = stored["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    assert b.shape == (96, 6)
    assert torch.count_nonzero(b[:32, :3]) == 96 and torch.count_nonzero(b[64:, 3:]) == 96
    assert torch.count_nonzero(b) == 192


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_logits_equal_unmerged_ones_and_stock_peft_s(family, tmp_path):
    task = tuned(tmp_path, family)
    unmerged = logits(load_adapted(task.model, adapter=task.folder))
    merged = logits(load_arm(task.model, folder=task.folder))
    stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(task.model), task.folder).eval()
    torch.testing.assert_close(merged, unmerged, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits(stock), unmerged, atol=2e-4, rtol=1e-4)
    assert (unmerged - logits(load_model(task.model))).abs().max() > 0.05


@pytest.mark.parametrize("changes", [{"dora": True}, {"rank_stabilised": True}, {"dropout": 0.3}])
def test_variants_train_and_reload(changes, tmp_path):
    task = tuned(tmp_path, "llama", **changes)
    ours = load_arm(task.model, folder=task.folder)
    stock = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(task.model), task.folder).eval()
    torch.testing.assert_close(logits(ours), logits(stock), atol=2e-4, rtol=1e-4)
    assert mean_loss(ours, TRAIN) < mean_loss(load_model(task.model), TRAIN) - 0.05


# -- special tokens


def with_marker(family, tmp_path, *, lora):
    base = save_model(family, tmp_path / "base")
    tokenizer = load_tokenizer(base, special_tokens=("<complete>", "<|im_end|>"))
    new = tokenizer.convert_tokens_to_ids("<complete>")
    marked = [
        type(e)(e.example_id, (*e.token_ids[:3], new, *e.token_ids[3:]), (*e.trained[:3], True, *e.trained[3:]))
        for e in TRAIN
    ]
    task = TuneTask(
        model=base,
        train=marked,
        validation=marked[:4],
        folder=tmp_path / "arm",
        method=Lora(rank=3, targets=("q", "v"), alpha=12.0) if lora else Full(),
        special_tokens=("<complete>", "<|im_end|>"),
        batch_tokens=200,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    return task, new, tune(task)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_new_tokens_survive_saving_and_reloading(family, lora, tmp_path):
    task, new, measured = with_marker(family, tmp_path, lora=lora)
    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    assert tokenizer.convert_tokens_to_ids("<complete>") == new
    assert tokenizer("a<complete>b")["input_ids"].count(new) == 1
    model = load_arm(task.model, folder=task.folder)
    assert mean_loss(model, task.validation) == pytest.approx(measured.validation_loss, rel=1e-4)
    # one new row; <|im_end|> was the base's already
    assert measured.trained_special_rows == (1 if lora else 0)


def test_lora_trains_the_new_rows_and_no_others(tmp_path):
    task, new, _ = with_marker("llama", tmp_path, lora=True)
    base = load_model(task.model)
    tuned_model = load_arm(task.model, folder=task.folder)
    old = base.get_input_embeddings().weight
    known = len(load_tokenizer(task.model))
    for module in (tuned_model.get_input_embeddings(), tuned_model.get_output_embeddings()):
        before = old if module is tuned_model.get_input_embeddings() else base.get_output_embeddings().weight
        others = [i for i in range(before.shape[0]) if i != new]
        assert torch.equal(module.weight[others], before[others])
        start = before[:known].mean(dim=0)
        assert 0 < (module.weight[new] - start).norm() < 0.9 * start.norm() + 1


def test_stock_peft_loads_new_rows_on_a_resized_base(tmp_path):
    task, _, _ = with_marker("qwen2", tmp_path, lora=True)
    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    base = AutoModelForCausalLM.from_pretrained(task.model)
    if len(tokenizer) > base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(len(tokenizer))
    stock = PeftModel.from_pretrained(base, task.folder).eval()
    ids = torch.tensor(task.train[0].token_ids)[None]
    ours = load_arm(task.model, folder=task.folder)
    torch.testing.assert_close(logits(stock, ids), logits(ours, ids), atol=2e-4, rtol=1e-4)


def test_new_rows_start_at_the_mean_of_the_known_ones(tmp_path):
    model = load_model(save_model("gpt2", tmp_path / "base"))
    mean = model.get_input_embeddings().weight[:350].mean(dim=0)
    prepare_rows(model, tokens=403, fresh=(401, 402), known=350)
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == 403 == model.config.vocab_size
    torch.testing.assert_close(weight[401], mean)
    torch.testing.assert_close(weight[402], mean)
    assert model.get_output_embeddings().weight is weight


# -- external arms


def test_an_adapter_for_another_base_is_refused_with_both_names(tmp_path):
    task = tuned(tmp_path, "gpt2")
    other = save_model("gpt2", tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="another base") as caught:
        load_arm(other, adapter=task.folder)
    assert task.model in str(caught.value) and other in str(caught.value)


def test_an_adapter_that_does_not_fit_is_refused_with_both_names(tmp_path):
    task = tuned(tmp_path, "gpt2")
    other = save_model("llama", tmp_path / "other")
    config = task.folder / "adapter_config.json"
    config.write_text(config.read_text().replace(task.model, other))
    with pytest.raises(UserError, match="does not fit") as caught:
        load_arm(other, adapter=task.folder)
    assert other in str(caught.value)


def test_a_base_that_moved_is_still_the_adapter_s(tmp_path):
    task = tuned(tmp_path, "gpt2")
    expected = logits(load_arm(task.model, folder=task.folder))
    moved = tmp_path / "elsewhere" / "base"
    shutil.copytree(task.model, moved)
    shutil.rmtree(task.model)
    torch.testing.assert_close(logits(load_arm(str(moved), adapter=task.folder)), expected)


def test_folders_without_weights_or_with_pickles_are_clear_errors(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    state = load_file(weights)
    weights.unlink()
    with pytest.raises(UserError, match="without weights"):
        load_model(base)
    torch.save(state, tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pickles.*pytorch_model.bin"):
        load_model(base)
    with pytest.raises(UserError, match="holds no model"):
        load_model(str(tmp_path))
    with pytest.raises(UserError, match="no model folder"):
        load_model(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="no adapter folder"):
        load_arm(base, adapter=tmp_path / "absent")
    with pytest.raises(UserError, match="holds no adapter"):
        load_arm(base, adapter=tmp_path)


def test_a_model_that_brings_code_is_not_run_unasked(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    content = json.loads(config.read_text()) | {"auto_map": {"AutoModelForCausalLM": "own.Model"}}
    config.write_text(json.dumps(content))
    with pytest.raises(UserError, match="trust_remote_code"):
        load_model(base)


def test_a_tokenizer_s_known_tokens_are_not_added_twice(tmp_path):
    byte_level().save_pretrained(tmp_path)
    before = len(load_tokenizer(str(tmp_path)))
    assert len(load_tokenizer(str(tmp_path), special_tokens=("<|im_end|>",))) == before
    assert len(load_tokenizer(str(tmp_path), special_tokens=("<new>", "<|im_end|>"))) == before + 1


def test_padding_is_never_made_so_a_pad_that_is_the_end_token_unteaches_nothing(tmp_path):
    # The end token is the pad token in the tiny tokenizer; a trained end token must count.
    base = save_model("gpt2", tmp_path / "base")
    tokenizer = load_tokenizer(base)
    end = tokenizer.eos_token_id
    assert end == tokenizer.pad_token_id
    ending = [type(e)(e.example_id, (*e.token_ids[:-1], end), e.trained) for e in TRAIN]
    task = TuneTask(
        model=base,
        train=ending,
        folder=tmp_path / "arm",
        epochs=8.0,
        batch_tokens=200,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    tune(task)

    def end_loss(model):
        found = []
        for e in ending:
            out = logits(model, torch.tensor(e.token_ids[:-1])[None])[0, -1]
            found.append(float(F.cross_entropy(out, torch.tensor(end))))
        return sum(found) / len(found)

    assert end_loss(load_model(str(task.folder))) < end_loss(load_model(base)) - 1.0
