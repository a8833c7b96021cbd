"""The count of FLOPs is what torch itself counts, product by product, on real models of every architecture."""

from __future__ import annotations

import pytest
from real_models import real_model, tiny, torch

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Matrices, lora_parameters
from finetrial.footprint.beside import Lora
from finetrial.footprint.flops import forward_flops, sampling_flops, step_flops
from finetrial.footprint.parameters import multiplied_parameters
from finetrial.footprint.shapes import ARCHITECTURES, named_shape, shape_from_config

peft = pytest.importorskip("peft")
flop_counter = pytest.importorskip("torch.utils.flop_counter")

MODULES = {
    "bloom": ["query_key_value"],
    "codegen": ["qkv_proj"],
    "falcon": ["query_key_value"],
    "gpt2": ["c_attn"],
    "gpt_bigcode": ["c_attn"],
    "gpt_neox": ["query_key_value"],
    "mpt": ["Wqkv"],
    "persimmon": ["query_key_value"],
    "phi3": ["qkv_proj"],
}
BATCH, TOKENS, LOSS = 2, 9, 5


def counted_by_torch(model, *, backward: bool = True) -> int:
    """FLOPs of torch's matrix products in a forward and a backward pass, with loss on the last LOSS tokens.

    Attention is transformers' eager one, which computes all pairs. The product that makes the rotary angles (one
    multiplication a frequency and position, no weights) is no part of our count and is subtracted.
    """
    ids = torch.arange(BATCH * TOKENS).reshape(BATCH, TOKENS) % 90 + 3
    counter = flop_counter.FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(backward):
        logits = model(input_ids=ids, logits_to_keep=LOSS, use_cache=False).logits
        if backward:
            logits.float().logsumexp(-1).sum().backward()
    rotary = [sum(c.values()) for name, c in counter.get_flop_counts().items() if name.endswith("rotary_emb")]
    return counter.get_total_flops() - sum(rotary)


def eager(kind: str, **more):
    more = {"experts_implementation": "eager"} | more if kind in ("mixtral", "qwen2_moe", "qwen3_moe") else more
    model = real_model(tiny(kind), device="cpu", attn_implementation="eager", **more)
    return model.train()


def counted_here(kind: str, method, *, checkpointing: bool = False):
    shape = shape_from_config(tiny(kind))
    return step_flops(
        shape,
        method=method,
        lengths=[TOKENS] * BATCH,
        loss_tokens=BATCH * LOSS,
        checkpointing=checkpointing,
        causal=False,
    )


def with_lora(kind: str, modules: list[str], layers: list[int] | None = None):
    config = peft.LoraConfig(r=3, target_modules=modules, layers_to_transform=layers)
    return peft.get_peft_model(eager(kind), config)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_full_tuning_costs_what_torch_counts(kind):
    assert counted_here(kind, Full()).total == counted_by_torch(eager(kind))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_forward_pass_costs_what_torch_counts(kind):
    shape = shape_from_config(tiny(kind))
    here = forward_flops(shape, lengths=[TOKENS] * BATCH, head_tokens=BATCH * LOSS, causal=False)
    assert here.total == here.forward == counted_by_torch(eager(kind), backward=False)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_lora_costs_what_torch_counts(kind):
    modules = MODULES.get(kind, ["q_proj", "v_proj"])
    here = counted_here(kind, Lora(rank=3, targets=tuple(modules)))
    assert here.total == counted_by_torch(with_lora(kind, modules))


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        ("llama", ["v_proj"]),  # no gradient of the probabilities, of q or of k in the lowest layer
        ("llama", ["k_proj"]),
        ("llama", ["o_proj"]),  # nothing of the lowest attention
        ("llama", ["down_proj"]),
        ("llama", ["gate_proj", "k_proj"]),
        ("phi", ["fc1"]),  # attention and MLP side by side: the lowest attention is not reached
        ("phi", ["v_proj"]),  # nor the lowest MLP
        ("gpt2", ["mlp.c_proj"]),
        ("qwen2_moe", ["q_proj", "k_proj"]),
    ],
)
@pytest.mark.parametrize("layers", [None, [1, 2], [1]])
def test_nothing_is_counted_below_the_lowest_adapter(kind, modules, layers):
    method = Lora(rank=3, targets=tuple(modules), layers=tuple(layers) if layers else None)
    assert counted_here(kind, method).total == counted_by_torch(with_lora(kind, modules, layers))


def test_an_adapter_on_the_head_alone_reaches_no_layer():
    here = counted_here("llama", Lora(rank=3, targets=("lm_head",)))
    assert here.total == counted_by_torch(with_lora("llama", ["lm_head"]))
    assert all(part.total == part.forward for part in here.parts if part.layer is not None)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3_text", "phi"])
def test_tuning_whole_matrices_costs_what_torch_counts(kind):
    modules = ("c_attn",) if kind == "gpt2" else ("q_proj", "v_proj")
    model = eager(kind)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(tuple(f"{module}.weight" for module in modules)))
    assert counted_here(kind, Matrices(targets=modules)).total == counted_by_torch(model)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "phi", "mixtral"])
@pytest.mark.parametrize("layers", [None, [1, 2]])
def test_checkpointing_runs_forward_again_in_every_layer_that_backward_reaches(kind, layers):
    """Early stopping, which spares a layer's last product the second time, is off: a whole forward is counted."""
    modules = MODULES.get(kind, ["q_proj", "v_proj"])
    model = with_lora(kind, modules, layers)
    model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.base_model.model.disable_input_require_grads()  # else transformers wants the embedding's gradient too
    with torch.utils.checkpoint.set_checkpoint_early_stop(False):
        there = counted_by_torch(model)
    method = Lora(rank=3, targets=tuple(modules), layers=tuple(layers) if layers else None)
    here = counted_here(kind, method, checkpointing=True)
    assert here.total == there
    if layers is None:  # the layers' forward pass again, not the head's
        assert here.recompute == here.forward - here.by_part()["head"] // 2


def test_the_rules_of_thumb_hold_on_gpt2():
    """6N for full tuning; 4N + 6N_lora above the lowest adapted layer, for adapters; 2N more for checkpointing."""
    shape = named_shape("gpt2")
    n, tokens = multiplied_parameters(shape), 512
    lengths = {"lengths": [1] * tokens, "loss_tokens": tokens}  # blocks of one token: one pair each

    def without_scores(step):
        return step.total - step.by_part()["scores"]

    assert without_scores(step_flops(shape, method=Full(), **lengths)) == 6 * n * tokens
    # q and v of the lowest layer spare the gradient of their input: of c_attn 2 x 3 d^2, of the adapters 2 x 2 r d.
    lora = step_flops(shape, method=Lora(rank=4, targets=("q", "v")), **lengths)
    n_lora = lora_parameters(shape, rank=4, targets=["q", "v"]).total
    spared = 2 * 3 * 768**2 + 2 * 2 * 4 * 768
    assert without_scores(lora) == (4 * n + 6 * n_lora - spared) * tokens
    again = step_flops(shape, method=Full(), checkpointing=True, **lengths)
    assert again.total - step_flops(shape, method=Full(), **lengths).total == again.recompute
    # 2N of the layers and the scores' own forward pass, 4 d for each token's one pair in each of 12 layers.
    assert again.recompute == (2 * (n - 768 * 50_257) + 12 * 4 * 768) * tokens


def test_attention_is_12_l_s_d_a_token_and_half_when_causal():
    """Every pair of a block: forward 4 s d a token and layer, backward 8."""
    shape = named_shape("gpt2")
    dense = step_flops(shape, method=Full(), lengths=[1000], loss_tokens=0, causal=False)
    assert dense.by_part()["scores"] == 12 * 12 * 1000 * 768 * 1000
    causal = step_flops(shape, method=Full(), lengths=[1000], loss_tokens=0)
    assert causal.by_part()["scores"] * 2 == dense.by_part()["scores"] * 1001 // 1000


def test_packed_blocks_do_not_see_each_other():
    shape = named_shape("gpt2")
    packed = step_flops(shape, method=Full(), lengths=[100, 300], loss_tokens=0)
    apart = [step_flops(shape, method=Full(), lengths=[n], loss_tokens=0) for n in (100, 300)]
    assert packed.total == sum(step.total for step in apart)
    assert packed.total < step_flops(shape, method=Full(), lengths=[400], loss_tokens=0).total


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text", "gemma2"])
def test_a_window_leaves_the_pairs_that_transformers_mask_leaves(kind):
    """Gemma: some layers look at all tokens, some at a window. The masks are those transformers builds."""
    config = tiny(kind, sliding_window=4, num_hidden_layers=7)
    shape = shape_from_config(config)
    windows = {layer.window for layer in shape.layers}
    assert windows == ({4} if kind == "mistral" else {4, None})
    scores = forward_flops(shape, lengths=[TOKENS], head_tokens=0).parts
    by_layer = [part.forward // (4 * shape.heads * shape.head_size) for part in scores if part.part == "scores"]
    model = real_model(config, device="cpu", attn_implementation="eager").eval()
    with torch.no_grad():
        seen = model(input_ids=torch.arange(TOKENS)[None] + 3, output_attentions=True).attentions
    assert by_layer == [int((attention[0, 0] > 0).sum()) for attention in seen]


def test_the_head_runs_on_the_tokens_with_loss_alone():
    shape = named_shape("gpt2")
    few, many = (step_flops(shape, method=Full(), lengths=[512], loss_tokens=n) for n in (40, 512))
    assert many.total - few.total == 6 * 768 * 50_257 * (512 - 40)


def test_parts_and_layers_add_up_to_the_total():
    for name in ("gpt2", "qwen3-30b-a3b", "gemma-3-4b"):
        step = step_flops(
            named_shape(name),
            method=Lora(rank=4, targets=("q", "v")),
            lengths=[512, 64],
            loss_tokens=99,
            checkpointing=True,
        )
        assert sum(step.by_part().values()) == step.total == step.forward + step.recompute + step.backward
        assert sum(step.by_layer()) + step.by_part()["head"] == step.total
        assert step.flops_per_token == step.total / 576


def test_useful_work_on_gpt2_is_what_references_say():
    """About 0.37 GFLOP a token for LoRA and 0.56 for full: 48 SciTLDR abstracts of 10,999 tokens in all, 1,321 of
    them with loss, each seeing itself alone (their mean length stands for every one)."""
    setting = {"lengths": [229] * 47 + [236], "loss_tokens": 1321}
    full = step_flops(named_shape("gpt2"), method=Full(), **setting)
    lora = step_flops(named_shape("gpt2"), method=Lora(rank=4, targets=("q", "v")), **setting)
    assert full.tokens == 10_999
    assert full.flops_per_token == pytest.approx(0.56e9, rel=0.03)
    assert lora.flops_per_token == pytest.approx(0.37e9, rel=0.03)


def test_sampling_costs_what_reading_the_same_tokens_costs():
    """Without a cache every token would be read in one pass; with it each is read once: the same products."""
    shape = named_shape("gpt2")
    sampled = sampling_flops(shape, prompt_tokens=20, sample_tokens=[8])
    read = forward_flops(shape, lengths=[27], head_tokens=8)  # the 8th token is never read; 8 heads choose 8 tokens
    assert sampled.total == read.total
    shared = sampling_flops(shape, prompt_tokens=20, sample_tokens=[8, 8, 3])
    alone = [sampling_flops(shape, prompt_tokens=20, sample_tokens=[n]).total for n in (8, 8, 3)]
    prompt = forward_flops(shape, lengths=[20], head_tokens=1).total
    assert shared.total == sum(alone) - 2 * prompt


@pytest.mark.parametrize(
    "arguments",
    [
        {"lengths": [], "loss_tokens": 0},
        {"lengths": [5, 0], "loss_tokens": 0},
        {"lengths": [5], "loss_tokens": 6},
        {"lengths": [5], "loss_tokens": -1},
    ],
)
def test_invalid_steps_are_refused(arguments):
    with pytest.raises(UserError):
        step_flops(named_shape("gpt2"), method=Full(), **arguments)
