"""Which settings are measured: those that are scored, and others that constants are fitted on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.footprint.setting import Setting

ALL = ("all-linear",)
QV = {"rank": 8, "targets": ("q", "v")}
EVERY = {"rank": 16, "targets": ALL}
WIDE = {"dtype": "float32"}
AGAIN = {"checkpointing": True}


def _gpt2(width: int, layers: int, heads: int, **more: object) -> Setting:
    sizes = {"width": width, "layers": layers, "heads": heads, "kv_heads": heads, "inner": 4 * width}
    return Setting(model="gpt2", **{**sizes, "vocabulary": 50_257, **more})


def _phi(width: int, layers: int, heads: int, **more: object) -> Setting:
    return replace(_gpt2(width, layers, heads, **{"vocabulary": 51_200, **more}), model="phi")


def _rotary(
    model: str, width: int, layers: int, heads: int, kv: int, inner: int, vocabulary: int, **more: object
) -> Setting:
    sizes = {"width": width, "layers": layers, "heads": heads, "kv_heads": kv, "inner": inner}
    return Setting(model=model, **{**sizes, "vocabulary": vocabulary, **more})


def _llama(**more: object) -> Setting:
    return _rotary("llama", 768, 8, 12, 4, 2048, 32_000, **more)


def _qwen2(**more: object) -> Setting:
    """Qwen2-0.5B cut to 6 layers."""
    return _rotary("qwen2", 896, 6, 14, 2, 4864, 151_936, **more)


def _gemma(**more: object) -> Setting:
    return _rotary("gemma", 512, 6, 4, 1, 2048, 128_000, **more)


def scored(real: Path | None) -> list[Setting]:
    """GPT-2, Phi, Llama with grouped queries, Qwen2, Gemma, and the real model where it is at hand."""
    gpt2, phi = partial(_gpt2, 768, 12, 12), partial(_phi, 768, 8, 12)
    found = [
        gpt2(rank=4, targets=("q", "v"), length=512, rows=2, loss_share=0.2),
        gpt2(**EVERY, length=256, rows=4),
        gpt2(length=512, rows=1),
        gpt2(**WIDE, length=128, rows=4),
        gpt2(**AGAIN, length=1024, rows=1, loss_share=0.5),
        phi(**QV, length=256, rows=4),
        phi(length=512, rows=1),
        phi(**EVERY, **AGAIN, length=1024, rows=1),
        phi(**WIDE, **QV, length=256, rows=2),
        _llama(**QV, length=512, rows=4),
        _llama(**EVERY, length=1024, rows=1),
        _llama(rank=64, targets=("q", "k", "v", "o"), length=128, rows=8, loss_share=0.3),
        _llama(length=512, rows=2),
        _llama(**WIDE, length=256, rows=2),
        _llama(**AGAIN, length=1024, rows=2),
        _llama(**WIDE, **EVERY, length=512, rows=1),
        _qwen2(**QV, length=512, rows=2, loss_share=0.2),
        _qwen2(**EVERY, length=256, rows=4),
        _qwen2(length=256, rows=2),
        _qwen2(**QV, **AGAIN, length=1024, rows=1),
        _gemma(**QV, length=512, rows=2),
        _gemma(length=256, rows=2),
        _gemma(**WIDE, length=128, rows=4),
        _gemma(**EVERY, **AGAIN, length=512, rows=2),
        # many lengths, as a trial has them: the embedded starter's shape, and two larger ones
        _gpt2(192, 5, 6, vocabulary=2048, rank=4, targets=("q", "v"), length=100, rows=20, varied=True),
        _gpt2(192, 5, 6, vocabulary=2048, length=100, rows=20, varied=True),
        _rotary("llama", 512, 6, 8, 4, 1408, 32_000, **QV, length=200, rows=5, varied=True),
    ]
    if real is not None:
        model = str(real)
        found += [
            Setting(model=model, **QV, length=512, rows=2, loss_share=0.2),
            Setting(model=model, **EVERY, length=1024, rows=1),
            Setting(model=model, length=512, rows=1, loss_share=0.2),
            Setting(model=model, **AGAIN, length=1024, rows=1),
            Setting(model=model, **WIDE, **QV, length=256, rows=2),
            Setting(model=model, **QV, length=200, rows=5, loss_share=0.2, varied=True),
        ]
    return found


def fitted() -> list[Setting]:
    """Smaller and other shapes, for the constants of process memory; none of them is scored."""
    return [
        _gpt2(512, 6, 8, rank=4, targets=("q", "v"), length=256, rows=2, vocabulary=16_000),
        _gpt2(512, 8, 8, length=384, rows=1, vocabulary=16_000),
        _rotary("llama", 640, 8, 10, 5, 1792, 24_000, **QV, length=384, rows=4),
        _rotary("llama", 1024, 8, 16, 4, 2816, 24_000, length=384, rows=1),
        _rotary("qwen2", 768, 4, 12, 2, 3072, 80_000, length=256, rows=2, **WIDE),
        _rotary("gemma", 512, 4, 4, 1, 2048, 64_000, rank=8, targets=ALL, length=768, rows=2),
        _phi(640, 6, 10, length=256, rows=2),
        _rotary("llama", 640, 6, 10, 5, 1792, 24_000, **EVERY, **AGAIN, length=896, rows=1),
        _gpt2(512, 6, 8, **QV, length=896, rows=1, vocabulary=16_000),
        _gpt2(512, 8, 8, **AGAIN, length=640, rows=2, vocabulary=16_000),
        _phi(640, 6, 10, **EVERY, **AGAIN, length=768, rows=1),
        _rotary("llama", 640, 8, 10, 5, 1792, 24_000, **AGAIN, length=512, rows=2),
        _gpt2(512, 8, 8, **WIDE, **QV, length=256, rows=2, vocabulary=16_000),
        _rotary("llama", 640, 8, 10, 5, 1792, 24_000, **WIDE, **EVERY, length=384, rows=1),
        _rotary("qwen2", 768, 4, 12, 2, 3072, 80_000, **QV, length=512, rows=2, loss_share=0.2),
        _gpt2(256, 4, 4, rank=8, targets=("q", "v"), length=120, rows=16, vocabulary=8000, varied=True),
        _gpt2(320, 5, 5, length=80, rows=20, vocabulary=4000, varied=True),
        _rotary("llama", 384, 6, 6, 2, 1024, 24_000, **EVERY, length=160, rows=8, varied=True),
    ]


def small() -> list[Setting]:
    """Every architecture at 3 to 8 million parameters, seconds each: for the tape's items, not for the score."""
    sizes = {"length": 256, "rows": 2}
    gpt2 = partial(_gpt2, 256, 4, 4, vocabulary=8000, **sizes)
    phi = partial(_phi, 256, 4, 4, vocabulary=8000, **{**sizes, "length": 384})
    llama = partial(_rotary, "llama", 256, 4, 8, 2, 704, 8000, **sizes)
    qwen2 = partial(_rotary, "qwen2", 256, 4, 8, 2, 1024, 16_000, **sizes)
    gemma = partial(_rotary, "gemma", 256, 4, 4, 1, 1024, 16_000, **sizes)
    return [
        llama(**EVERY),
        llama(),
        gpt2(**WIDE),
        llama(**WIDE, **QV),
        gemma(**EVERY),
        qwen2(),
        gpt2(**EVERY, **AGAIN),
        phi(**QV),
        llama(**EVERY, **AGAIN),
        gemma(**WIDE),
        qwen2(**QV, **WIDE),
        phi(),
    ]


def quick() -> list[Setting]:
    """Two tiny ones, a minute in all."""
    tiny = {"vocabulary": 2048, "length": 128}
    return [
        _gpt2(128, 2, 4, rank=4, targets=("q", "v"), **tiny),
        _rotary("llama", 128, 2, 4, 2, 352, tiny["vocabulary"], length=128),
    ]


def on_a_card() -> list[Setting]:
    """What a card's quarter of an hour allows, the most telling first; every one some seconds."""
    llama_1b = partial(_rotary, "llama", 2048, 16, 32, 8, 8192, 50_304)
    gpt2_medium = partial(_gpt2, 1024, 24, 16, vocabulary=50_304)
    qwen2 = partial(_rotary, "qwen2", 896, 24, 14, 2, 4864, 151_936)
    phi = partial(_phi, 1536, 12, 24)
    gemma = partial(_rotary, "gemma", 1024, 12, 4, 1, 8192, 128_000)
    smol = partial(_rotary, "llama", 576, 30, 9, 3, 1536, 49_152)
    return [
        llama_1b(**EVERY, length=1024, rows=8),
        gpt2_medium(length=512, rows=16),
        llama_1b(length=512, rows=16),
        qwen2(**QV, length=512, rows=16, loss_share=0.2),
        smol(length=256, rows=64),
        gemma(**EVERY, length=512, rows=16),
        phi(**QV, length=512, rows=16),
        llama_1b(**QV, **AGAIN, length=2048, rows=8),
        gpt2_medium(**WIDE, **QV, length=256, rows=16),
        qwen2(**AGAIN, length=1024, rows=8),
        smol(rank=64, targets=("q", "k", "v", "o"), length=128, rows=64),
        gemma(length=256, rows=16),
    ]


def rehearsed() -> list[Setting]:
    """The card's list at sizes that a CPU takes in seconds, and one that must fail."""
    tiny = {"length": 64, "rows": 2}
    return [
        _rotary("llama", 128, 2, 4, 2, 352, 2048, **EVERY, **tiny),
        _gpt2(128, 2, 4, vocabulary=2048, **tiny),
        _gpt2(129, 2, 4, vocabulary=2048, **tiny),
        _rotary("gemma", 128, 2, 4, 1, 352, 2048, **AGAIN, **tiny),
    ]
