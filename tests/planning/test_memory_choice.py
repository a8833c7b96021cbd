"""The micro-batch, recomputation and sampling batch that memory allows, and what would make a misfit fit."""

from dataclasses import replace

import pytest

from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.shapes import named_shape
from finetrial.planning.memory_choice import MemoryChooser, TuningSetting
from finetrial.planning.token_counts import ArmTokens

GIB = 1 << 30
TOKENS = ArmTokens(
    train=(512,) * 64,
    train_loss=64 * 128,
    validation=(512,) * 8,
    validation_loss=8 * 128,
    prompts=(384,) * 16,
    answers=(128,) * 16,
    max_new_tokens=128,
    per_prompt=3,
)
LORA = TuningSetting(method=Lora(rank=16, targets=("all-linear",)), dtype="bfloat16", batch_tokens=8192)
SHAPE = named_shape("llama-3-8b")
CARD = MemoryChooser(SHAPE, kind="cuda")


def test_with_room_to_spare_nothing_is_recomputed_and_the_step_is_one_pass():
    found = CARD.tuned(TOKENS, setting=LORA, memory_bytes=140 * GIB)
    assert (found.fits, found.checkpointing, found.micro_tokens, found.sequences) == (True, False, 8192, 48)


def test_less_memory_takes_a_smaller_pass_then_recomputation_and_stays_within_it():
    seen = []
    for gib in (80, 40, 24, 20):
        found = CARD.tuned(TOKENS, setting=LORA, memory_bytes=gib * GIB)
        assert found.fits and found.needed_bytes <= gib * GIB
        seen.append((bool(found.checkpointing), found.micro_tokens))
    assert seen[-1][0], "the least memory is only enough with recomputation"
    assert seen[0] == (False, 8192) or seen[0][1] < 8192
    assert len(set(seen)) > 1


def test_recomputation_that_the_trial_file_forbids_is_proposed():
    found = CARD.tuned(TOKENS, setting=replace(LORA, checkpointing=False), memory_bytes=17 * GIB)
    allowed = CARD.tuned(TOKENS, setting=LORA, memory_bytes=17 * GIB)
    if found.fits:
        pytest.skip("fits without recomputation on this count")
    changes = [change.change for change in found.changes]
    assert "training.checkpointing: auto" in changes
    assert found.needed_bytes > allowed.needed_bytes


def test_full_tuning_of_8b_on_24_gib_is_refused_with_what_would_fit():
    found = CARD.tuned(TOKENS, setting=replace(LORA, method=Full()), memory_bytes=24 * GIB)
    assert found.fits is False and found.needed_bytes > 100 * GIB
    fitting = [change for change in found.changes if change.fits]
    assert fitting and fitting[0].change.startswith("method: lora")
    assert all(change.needed_bytes <= 24 * GIB for change in fitting)


def test_without_a_known_memory_the_usual_setting_is_taken_and_nothing_is_claimed():
    found = CARD.tuned(TOKENS, setting=LORA, memory_bytes=None)
    assert found.fits is None and found.micro_tokens == 8192 and not found.changes


def test_a_pass_never_holds_less_than_the_longest_example():
    long = replace(TOKENS, train=(512,) * 63 + (4000,))
    found = MemoryChooser(SHAPE, kind="cpu").tuned(long, setting=LORA, memory_bytes=None)
    assert found.micro_tokens == 4000
