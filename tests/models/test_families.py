"""No causal-LM class of transformers is a traceback or silently wrong: right, slower and right, or refused."""

import pytest
import torch
from small_tasks import make_task
from transformers import AutoModelForCausalLM, FalconConfig, FalconForCausalLM, OPTConfig, OPTForCausalLM

from benchmarks.families.small_configs import model_types
from benchmarks.families.walk import save_small, walk_class
from finetrial.errors import UserError
from finetrial.methods.full.full_method import Full
from finetrial.models.loading import load_model, load_tokenizer
from finetrial.models.own_forward import check_usable
from finetrial.training.arm_setup import prepare, set_mode

# one for each thing that may be otherwise, with whether its rows are packed and whether it is sampled in batches
KINDS = {
    "llama": (True, True),
    "openai-gpt": (False, False),  # its output has no cache
    "gpt_neo": (True, True),  # positions of its own, local attention
    "opt": (True, True),  # positions that begin at 2; its layers drop of their own accord
    "roberta": (False, False),  # positions that depend on the tokens
    "bart": (False, False),  # a decoder whose own cache fails
    "mamba": (False, False),  # a running state
    "qwen3_5_text": (False, False),  # linear attention beside attention
    "rwkv": (False, False),  # a state of its own kind
    "qwen2_moe": (True, True),  # experts and router logits
    "dory": (True, False),  # a head with a scale
    "gemma2": (False, True),  # caps on scores and logits
}
REFUSED = {"xlnet": "is to predict", "xmod": "told a language", "prophetnet": "tokens that follow"}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_every_kind_goes_the_whole_way(kind, tmp_path):
    row = walk_class(kind, tmp_path)
    assert row.verdict == "right", row.reason
    packed, batched = KINDS[kind]
    assert row.packed == packed, row.not_packed
    assert ("one sequence" not in row.way) == batched, row.way_reason
    assert set(row.losses) == {"full", "lora"}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_causal_model_is_refused_before_anything_is_tuned(kind, tmp_path):
    row = walk_class(kind, tmp_path)
    assert row.verdict == "refused" and REFUSED[kind] in row.reason
    assert not row.reason.startswith("late")


@pytest.mark.long
@pytest.mark.parametrize("kind", model_types())
def test_every_class_is_right_or_refused_in_time(kind, tmp_path):
    row = walk_class(kind, tmp_path)
    assert row.verdict != "wrong", row.reason
    assert not (row.reason or "").startswith("late"), row.reason


def test_a_model_that_sees_what_it_is_to_predict_is_refused_by_what_it_does(tmp_path):
    """XLNet, whose configuration is known; here as if nobody knew it."""
    save_small("xlnet", tmp_path)
    with pytest.raises(UserError, match="change what it predicts before them"):
        check_usable(AutoModelForCausalLM.from_pretrained(tmp_path).eval())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_layer_that_drops_of_its_own_accord_does_not_in_training(checkpointing, tmp_path):
    """OPT's layers ask whether they are in training mode, not a dropout module."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "ffn_dim": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = OPTConfig(vocab_size=300, max_position_embeddings=64, word_embed_proj_dim=32, dropout=0.5, **size)
    OPTForCausalLM(config).save_pretrained(tmp_path / "base")
    save_small("llama", tmp_path / "llama")
    load_tokenizer(str(tmp_path / "llama")).save_pretrained(tmp_path / "base")
    task = make_task(tmp_path / "arm", model=str(tmp_path / "base"), method=Full(), checkpointing=checkpointing)
    setup = prepare(task, dtype=torch.float32, device=torch.device("cpu"))
    ids = torch.arange(1, 20)[None]
    own = load_model(str(tmp_path / "base"))(input_ids=ids).logits
    set_mode(setup.model, training=True, model_dropout=False)
    torch.testing.assert_close(setup.model(input_ids=ids, use_cache=False).logits, own)
    set_mode(setup.model, training=True, model_dropout=True)
    assert checkpointing or (setup.model(input_ids=ids, use_cache=False).logits - own).abs().max() > 0.1


@torch.no_grad()
def test_falcon_s_alibi_counts_once_by_sdpa_and_twice_by_eager_attention(monkeypatch):
    """In transformers 5.24 the mask holds the bias already, and eager attention adds it again; we take sdpa."""
    config = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True}
    torch.manual_seed(0)
    ours = FalconForCausalLM(FalconConfig(**config, attn_implementation="sdpa")).eval()
    eager = FalconForCausalLM(FalconConfig(**config, attn_implementation="eager")).eval()
    for module in ours.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.mul_(8)
    eager.load_state_dict(ours.state_dict())
    ids = torch.arange(1, 30)[None]
    expected = ours(input_ids=ids).logits
    assert (eager(input_ids=ids).logits - expected).abs().max() > 1e-3
    attention = type(eager.transformer.h[0].self_attention)
    own = attention.forward

    def once(self, *args, alibi=None, **rest):
        return own(self, *args, alibi=torch.zeros_like(alibi), **rest)

    monkeypatch.setattr(attention, "forward", once)
    torch.testing.assert_close(eager(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
