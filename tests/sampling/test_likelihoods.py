"""The likelihood of any text is that of the model's own forward pass on it alone, however texts are batched."""

import pytest
import torch
from test_engine import CONFIGS, model_of
from transformers import AutoModelForCausalLM, Gemma2Config, MambaConfig

from finetrial.models.evaluate import mean_loss, measuring, nats_of
from finetrial.trial.examples import Encoded

_CAPPED = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 300,
    "max_position_embeddings": 128,
}
OTHERS = {
    "gemma2 with capped logits": lambda: Gemma2Config(final_logit_softcapping=2.0, **_CAPPED),
    "mamba": lambda: MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8),
}


def texts():
    """Two prompts with answers of one length and of others, a text whole, and one that carries nothing."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for number, (prompt, answer) in enumerate(((9, 4), (12, 4), (3, 11), (1, 20), (6, 0))):
        ids = torch.randint(300, (prompt + answer,), generator=generator).tolist()
        made.append(Encoded(str(number), tuple(ids), (False,) * prompt + (True,) * answer))
    return made


@pytest.mark.parametrize("name", [*CONFIGS, *OTHERS])
@pytest.mark.parametrize("micro_tokens", [16, 2048])
def test_each_text_has_its_own_likelihood(name, micro_tokens):
    torch.manual_seed(0)
    model = model_of(name) if name in CONFIGS else AutoModelForCausalLM.from_config(OTHERS[name]()).eval()
    found = nats_of(model, texts(), micro_tokens=micro_tokens)
    assert len(found) == 5 and found[4] == 0.0
    for text, nats in zip(texts()[:4], found[:4], strict=True):
        ids = torch.tensor(text.token_ids)
        with torch.no_grad():
            logprobs = model(ids[None]).logits[0].double().log_softmax(-1)[:-1]
        expected = -logprobs.gather(1, ids[1:, None])[torch.tensor(text.trained[1:])].sum()
        assert nats == pytest.approx(float(expected), rel=1e-5)
    tokens = sum(text.trained_tokens for text in texts())
    assert mean_loss(model, texts(), micro_tokens=micro_tokens) == pytest.approx(sum(found) / tokens, rel=1e-6)


def test_the_forms_that_are_tried_are_all_there_are():
    """Packed with a plain head, packed with a head of its own, and one text at a time."""
    seen = set()
    for make in (CONFIGS["llama"], *OTHERS.values()):
        torch.manual_seed(0)
        with measuring(AutoModelForCausalLM.from_config(make()).eval()) as loss_model:
            seen.add((loss_model.packed, loss_model.fused))
    assert (True, True) in seen and {packed for packed, _ in seen} == {True, False}
    assert {fused for _, fused in seen} == {True, False}
