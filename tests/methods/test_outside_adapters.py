"""Adapters that peft made elsewhere: every kind answers as peft's own model does, or is refused in a sentence."""

import json
import shutil

import pytest
import torch
from arm_loading import pair
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    CPTConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    MultitaskPromptTuningConfig,
    OFTConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from tiny_models import make_examples, save_model
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM

from finetrial.errors import UserError
from finetrial.models.adapter_base import is_another_base, why_base_unknown
from finetrial.models.evaluate import mean_loss
from finetrial.models.loading import load_adapted, load_tokenizer
from finetrial.models.merging import load_adapter
from finetrial.models.own_forward import context_left
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.way_probe import choose_way
from finetrial.trial.resolve import Decoding

TWO = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
PROMPT = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
MERGED = {
    "lora": LoraConfig(**TWO, r=4),
    "dora": LoraConfig(**TWO, r=4, use_dora=True),
    "lora with the head": LoraConfig(**TWO, r=4, modules_to_save=["lm_head"]),
    "adalora": AdaLoraConfig(**TWO, total_step=10),
    "ia3": IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "vera": VeraConfig(**TWO, r=8),
    "loha": LoHaConfig(**TWO, r=4),
    "oft": OFTConfig(**TWO, oft_block_size=4),
    "boft": BOFTConfig(**TWO, boft_block_size=4),
}
LEARNED = {
    "prompt tuning": PromptTuningConfig(**PROMPT),
    "p-tuning": PromptEncoderConfig(**PROMPT, encoder_hidden_size=16),
    "prefix tuning": PrefixTuningConfig(**PROMPT),
    "cpt": CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=[1, 2, 3], cpt_mask=[1, 1, 1], cpt_tokens_type_mask=[1, 2, 3]
    ),
}
IDS = torch.arange(1, 12)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    return save_model("llama", tmp_path_factory.mktemp("field") / "X")


def write(config, base, folder, *, noise=0.2):
    """An adapter with something in it, as peft alone saves it; returns peft's own logits."""
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for param in model.parameters():
            if param.requires_grad:
                param.add_(torch.randn(param.shape), alpha=noise)
    model.save_pretrained(folder)
    return stock_logits(base, folder)


@torch.no_grad()
def stock_logits(base, folder, ids=IDS):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
    return model(input_ids=ids[None]).logits[0, -len(ids) :]


def rename_base(folder, name):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": name}))


@pytest.mark.parametrize("kind", MERGED)
def test_what_can_be_merged_answers_as_peft_does(kind, base, tmp_path):
    expected = write(MERGED[kind], base, tmp_path / "a")
    model, unmerged = pair(load_adapter(base, adapter=tmp_path / "a", foreign=True))
    assert unmerged is None and not isinstance(model, PeftModel)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS[None]).logits[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", LEARNED)
def test_a_learned_prompt_is_sampled_through_peft_and_its_losses_are_peft_s(kind, base, tmp_path):
    write(LEARNED[kind], base, tmp_path / "a")
    model, unmerged = pair(load_adapter(base, adapter=tmp_path / "a", foreign=True))
    assert "is a learned prompt" in unmerged
    tokens = 3 if kind == "cpt" else 5
    assert context_left(model) == 64 - tokens
    tokenizer = load_tokenizer(base)
    way = choose_way(model, tokenizer)
    assert way.way is not Way.BATCHED and "learned prompt" in way.reason
    prompts = [PromptTask(str(n), None, "", tuple(range(1, n + 1)), (), "") for n in (4, 9)]
    decoding = Decoding(per_prompt=2, max_new_tokens=5, temperature=1.0, top_p=1.0)
    samples = list(sample_arm(model, tokenizer, prompts, decoding=decoding, arm="a", way=way.way))
    assert len(samples) == 4
    for sample in samples:
        prompt = int(sample.prompt_id)
        ids = torch.tensor([*range(1, prompt + 1), *sample.token_ids])
        logprobs = stock_logits(base, tmp_path / "a", ids).log_softmax(-1)[prompt - 1 : -1]
        expected = logprobs.gather(1, torch.tensor(sample.token_ids)[:, None]).sum()
        assert sample.logprob == pytest.approx(float(expected), abs=1e-3)
    example = make_examples(1)[0]
    ids, trained = torch.tensor(example.token_ids), torch.tensor(example.trained[1:])
    logprobs = stock_logits(base, tmp_path / "a", ids).log_softmax(-1)[:-1][trained]
    expected = -logprobs.gather(1, ids[1:][trained][:, None]).mean()
    assert mean_loss(model, [example]) == pytest.approx(float(expected), rel=1e-5)
    assert abs(float(expected) - plain_loss(base, example)) > 4e-4  # the prompt acts


@torch.no_grad()
def plain_loss(base, example):
    return mean_loss(AutoModelForCausalLM.from_pretrained(base).eval(), [example])


def test_a_prompt_for_several_tasks_is_refused(base, tmp_path):
    folder = tmp_path / "a"
    torch.manual_seed(0)
    config = MultitaskPromptTuningConfig(**PROMPT, num_tasks=2)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    with pytest.raises(UserError, match="told a task with every prompt"):
        load_adapted(base, adapter=folder, device="meta", foreign=True)


def test_a_base_is_known_by_what_it_holds_and_not_by_its_name(base, tmp_path):
    copy = tmp_path / "elsewhere" / "Y"
    shutil.copytree(base, copy)
    assert why_base_unknown(base, str(copy)) is None
    other = save_model("llama", tmp_path / "Z", seed=5)
    assert is_another_base(base, other) and not is_another_base(base, str(copy))
    rounded = AutoModelForCausalLM.from_pretrained(base).bfloat16()
    rounded.save_pretrained(tmp_path / "rounded")
    assert why_base_unknown(base, str(tmp_path / "rounded")) is None  # the same numbers, rounded
    with torch.no_grad():
        rounded.get_input_embeddings().weight[0, 0] += 1
    rounded.save_pretrained(tmp_path / "moved")
    assert is_another_base(base, str(tmp_path / "moved"))
    assert not is_another_base("meta-llama/X", base)
    assert "cannot be known here" in why_base_unknown("meta-llama/X", base)
    assert why_base_unknown("meta-llama/X", "Meta-Llama/x") is None
    assert "does not name" in why_base_unknown("", base)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"_name_or_path": "meta-llama/X"}))
    assert why_base_unknown("meta-llama/X", str(copy)) is None


def test_an_adapter_for_a_hub_id_stands_on_a_folder_that_it_fits(base, tmp_path):
    expected = write(MERGED["lora"], base, tmp_path / "a")
    rename_base(tmp_path / "a", "meta-llama/X")
    model, unmerged = pair(load_adapter(base, adapter=tmp_path / "a", foreign=True))
    assert unmerged is None
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=IDS[None]).logits[0], expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_other_shapes_is_refused_with_both_names(base, tmp_path):
    write(MERGED["lora"], base, tmp_path / "a")
    rename_base(tmp_path / "a", "meta-llama/X")
    file = tmp_path / "a" / "adapter_model.safetensors"
    save_file({k: torch.cat([v, v], dim=1) if "lora_A" in k else v for k, v in load_file(file).items()}, file)
    with pytest.raises(UserError) as caught:
        load_adapted(base, adapter=tmp_path / "a", device="meta", foreign=True)
    said = str(caught.value)
    assert "meta-llama/X" in said and base in said and "other shapes" in said and "copying a param" not in said


def test_a_vocabulary_that_was_resized_without_its_tokenizer_is_one_sentence(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base)
    rows = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 2)
    config = LoraConfig(**TWO, r=4, modules_to_save=["embed_tokens", "lm_head"])
    get_peft_model(model, config).save_pretrained(tmp_path / "a")
    with pytest.raises(UserError) as caught:
        load_adapter(base, adapter=tmp_path / "a", foreign=True)
    said = str(caught.value)
    assert f"{rows + 2:,} tokens" in said and f"{rows:,} tokens" in said and "state_dict" not in said
    byte_level(special=("<one>", "<two>")).save_pretrained(tmp_path / "a")
    merged, unmerged = pair(load_adapter(base, adapter=tmp_path / "a", foreign=True))
    assert unmerged is None and merged.get_input_embeddings().weight.shape[0] == rows + 2


def test_an_adapter_that_merging_rounds_away_is_sampled_beside_the_weights(base, tmp_path):
    """The head's weights lie between 1 and 2, where bfloat16 moves in steps of 1/128: a delta of 0.003 on each is
    lost in the sum, and over 32 inputs of one sign it moves every logit by 0.1."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                param.zero_()  # no layer adds anything: the head reads the embedding
        model.get_input_embeddings().weight.uniform_(0.9, 1.1)
        head = model.get_output_embeddings().weight
        head.copy_((torch.empty_like(head).uniform_(1.05, 1.95) * torch.randn_like(head).sign()).bfloat16())
    coarse = str(tmp_path / "coarse")
    model.save_pretrained(coarse)
    byte_level().save_pretrained(coarse)
    adapted = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], r=1, lora_alpha=1)
    )
    with torch.no_grad():
        for name, param in adapted.named_parameters():
            if "lora_A" in name:
                param.fill_(1.0)
            if "lora_B" in name:
                param.fill_(0.003)
    adapted.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    rename_base(tmp_path / "a", coarse)
    source = {"adapter": tmp_path / "a", "foreign": True}
    assert load_adapter(coarse, **source).unmerged is None  # at float32 nothing is lost
    narrow, unmerged = pair(load_adapter(coarse, dtype=torch.bfloat16, **source))
    assert "times as far from float32 logits" in unmerged
    assert any("lora" in name for name, _ in narrow.named_modules())
    write(LoraConfig(**TWO, r=4), base, tmp_path / "b")
    usual = load_adapter(base, adapter=tmp_path / "b", foreign=True, dtype=torch.bfloat16)
    assert usual.unmerged is None  # a delta that shows in the weights is merged
