"""The micro-batch, recomputation and sampling batch that memory allows, and what would make a misfit fit."""

from dataclasses import replace

import torch

from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.shapes import named_shape
from finetrial.models.evaluate import default_micro_tokens
from finetrial.planning.memory_choice import MICRO_TOKENS, SEQUENCES, MemoryChooser, TuningSetting
from finetrial.planning.token_counts import ArmTokens
from finetrial.sampling import sample

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


def test_less_memory_takes_a_smaller_pass_then_recomputation_and_at_last_a_narrow_pass():
    found = {gib: CARD.tuned(TOKENS, setting=LORA, memory_bytes=gib * GIB) for gib in (80, 40, 24, 22, 18, 17)}
    # 8,192 tokens are halved down to 2,048, below which a card is no faster for it, before anything is recomputed;
    # recomputing, the widest comes first again; narrower than that only where nothing else is left
    assert {gib: (one.checkpointing, one.micro_tokens) for gib, one in found.items()} == {
        80: (False, 8192),
        40: (False, 4096),
        24: (False, 2048),
        22: (True, 8192),
        18: (True, 2048),
        17: (True, 1024),
    }
    assert all(one.fits and one.needed_bytes <= gib * GIB for gib, one in found.items())
    for gib in (40, 24, 22, 18, 17):  # what was taken where there was more room does not fit here
        more = min(other for other in found if other > gib)
        assert found[more].needed_bytes > gib * GIB


def test_a_change_is_proposed_by_what_it_does_alone():
    given = replace(LORA, checkpointing=False)
    found = CARD.tuned(TOKENS, setting=given, memory_bytes=17 * GIB)
    assert found.fits is False
    proposed = {change.change: (change.needed_bytes, change.fits) for change in found.changes}
    alone = {
        "training.checkpointing: auto": replace(given, checkpointing="auto"),
        "training.optimizer: adamw8bit": replace(given, optimizer="adamw8bit"),
        "quantize: nf4": replace(given, quantize="nf4"),
    }
    for words, setting in alone.items():
        made = CARD.tuned(TOKENS, setting=setting, memory_bytes=17 * GIB)
        assert proposed[words] == (made.needed_bytes, made.fits), words
    assert proposed["training.checkpointing: auto"][1] and not proposed["training.optimizer: adamw8bit"][1]
    assert all(needed < found.needed_bytes for needed, _ in proposed.values()) and len(proposed) == 5


def test_full_tuning_of_8b_on_24_gib_is_refused_with_what_would_fit():
    full = replace(LORA, method=Full())
    found = CARD.tuned(TOKENS, setting=full, memory_bytes=24 * GIB)
    # 8.03e9 parameters: 2 bytes of weights, 4 of masters and 8 of moments each are 104.7 GiB before any activation
    assert found.fits is False and found.needed_bytes > 104 * GIB
    first = next(change for change in found.changes if change.fits)
    assert first.change == "method: lora, rank: 16, targets: [all-linear]"
    made = CARD.tuned(TOKENS, setting=LORA, memory_bytes=24 * GIB)  # which is that very method
    assert first.needed_bytes == made.needed_bytes and made.fits


def test_the_usual_passes_and_batches_are_those_that_the_engine_takes():
    assert {kind: default_micro_tokens(torch.device(kind)) for kind in MICRO_TOKENS} == MICRO_TOKENS
    assert {"cpu": sample._CPU_SEQUENCES, "cuda": sample._CUDA_SEQUENCES} == SEQUENCES


def test_without_a_known_memory_the_usual_setting_is_taken_and_nothing_is_claimed():
    found = CARD.tuned(TOKENS, setting=LORA, memory_bytes=None)
    assert found.fits is None and found.micro_tokens == 8192 and not found.changes


def test_a_pass_never_holds_less_than_the_longest_example():
    long = replace(TOKENS, train=(512,) * 63 + (4000,))
    found = MemoryChooser(SHAPE, kind="cpu").tuned(long, setting=LORA, memory_bytes=None)
    assert found.micro_tokens == 4000


def test_devices_share_weights_out_where_one_is_too_small_and_as_the_trial_file_says():
    seven = MemoryChooser(named_shape("llama-2-7b"), kind="cuda")
    full = replace(LORA, method=Full(), devices=8)

    def found(setting, gib):
        return seven.tuned(TOKENS, setting=setting, memory_bytes=gib * GIB)

    assert found(full, 24).fits and found(full, 24).sharded
    assert found(full, 200).fits and not found(full, 200).sharded, "one holds it all"
    assert found(replace(full, sharding="full"), 200).sharded
    assert found(replace(full, sharding="none"), 24).fits is False
    assert not found(replace(full, optimizer="adafactor"), 24).sharded, "which reads whole matrices"
    lora = found(replace(LORA, devices=8), 24)
    assert lora.fits and not lora.sharded


def test_a_model_that_is_too_large_for_one_card_is_proposed_several():
    seven = MemoryChooser(named_shape("llama-2-7b"), kind="cuda")
    found = seven.tuned(TOKENS, setting=replace(LORA, method=Full()), memory_bytes=24 * GIB)
    more = found.changes[-1]
    assert more.fits and more.change == "8 such cards that share the weights out (--devices 8)"
    made = seven.tuned(TOKENS, setting=replace(LORA, method=Full(), devices=8), memory_bytes=24 * GIB)
    assert more.needed_bytes == made.needed_bytes
    one = MemoryChooser(named_shape("llama-2-7b"), kind="cpu")
    none = one.tuned(TOKENS, setting=replace(LORA, method=Full()), memory_bytes=24 * GIB)
    assert not any("such cards" in change.change for change in none.changes)
