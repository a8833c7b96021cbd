"""What float32 sums in another order choose otherwise was noted as a near-tie, and little else is."""

import copy
from dataclasses import replace

import pytest
import torch
from test_engine import NUCLEUS, model_of, tasks
from tiny_tokenizers import byte_level

from finetrial.sampling.near_ties import LOGIT_NOISE
from finetrial.sampling.nucleus import choose
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way

SETTINGS = (
    {"temperature": 1.0, "top_p": 0.95},
    {"temperature": 0.7, "top_p": 1.0},
    {"temperature": 1.3, "top_p": 0.9, "min_p": 0.2},
    {"temperature": 1.0, "top_p": 0.9, "top_k": 700},
    {"temperature": 0.8, "top_p": 0.5, "top_k": 3, "min_p": 0.1},
    {"temperature": 0.0, "top_p": 1.0},
)
ROWS = 700


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize(("spread", "most"), [(0.5, 0.1), (4.0, 0.01)])
def test_noise_of_the_size_of_rounding_changes_near_ties_alone(setting, spread, most):
    """The noise is larger than rounding's, for the sake of some changes; the mass of a nucleus moves less."""
    generator = torch.Generator().manual_seed(4)
    logits = spread * torch.randn(ROWS, 1200, generator=generator)
    uniform = torch.rand(ROWS, generator=generator)
    noise = (torch.rand(ROWS, 1200, generator=generator) - 0.5) * LOGIT_NOISE * logits.abs().amax(1, keepdim=True)
    for shortlist in (True, False):
        found = choose(logits, uniform_B=uniform, shortlist=shortlist, ties=True, **setting)
        moved = choose(logits + noise, uniform_B=uniform, shortlist=shortlist, **setting)
        changed = found.token_B != moved.token_B
        assert not (changed & ~found.near_B).any()
        assert found.near_B.float().mean() < most
        plain = choose(logits, uniform_B=uniform, shortlist=shortlist, **setting)
        assert plain.near_B is None and torch.equal(plain.token_B, found.token_B)


def test_noise_does_change_choices_and_most_of_what_is_noted_would_not_have_changed():
    """Without the first the test above could not fail."""
    generator = torch.Generator().manual_seed(5)
    logits, uniform = torch.randn(4000, 1200, generator=generator), torch.rand(4000, generator=generator)
    noise = (torch.rand(4000, 1200, generator=generator) - 0.5) * LOGIT_NOISE * logits.abs().amax(1, keepdim=True)
    how = {"uniform_B": uniform, "temperature": 1.0, "top_p": 0.95}
    found, moved = choose(logits, ties=True, **how), choose(logits + noise, **how)
    assert 2 <= int((found.token_B != moved.token_B).sum()) < int(found.near_B.sum())


def first_difference(one, other):
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)


@pytest.mark.parametrize("way", [Way.SHARED, Way.BATCHED, Way.ALONE])
def test_a_sample_that_rounding_changes_has_its_first_other_token_among_its_near_ties(way):
    """The head's weights are moved by what float32 cannot tell, as another batch moves them."""
    model, tokenizer = model_of("llama"), byte_level()
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        weight = moved.get_output_embeddings().weight
        weight.mul_(1 + 6e-6 * (torch.rand(weight.shape, generator=generator) - 0.5))
    many = [replace(task, prompt_id=f"{task.prompt_id}.{i}") for task in tasks() for i in range(3)]
    many = many[:2] if way is Way.ALONE else many
    how = {"decoding": replace(NUCLEUS, per_prompt=8, top_p=1.0), "arm": "a", "way": way}
    found, other = ({s.id: s for s in sample_arm(m, tokenizer, many, **how)} for m in (model, moved))
    assert len(found) == 8 * len(many)
    noted = sum(len(s.near_ties) for s in found.values()) / sum(s.tokens for s in found.values())
    assert noted < 0.02
    changed = 0
    for name, sample in found.items():
        place = first_difference(sample.token_ids, other[name].token_ids)
        if place is not None:
            changed += 1
            assert place in sample.near_ties
    assert changed or way is Way.ALONE, "rounding changed nothing, and this test says nothing"


def test_near_ties_are_looked_for_at_float32_alone():
    model, tokenizer = model_of("gpt2"), byte_level()
    wide = list(sample_arm(model, tokenizer, tasks(), decoding=NUCLEUS, arm="a"))
    half = list(sample_arm(model.bfloat16(), tokenizer, tasks(), decoding=NUCLEUS, arm="a"))
    assert {s.near_ties is None for s in wide} == {False} and {s.near_ties for s in half} == {None}
