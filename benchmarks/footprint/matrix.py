"""Which settings are measured: those that are scored, and others that constants are fitted on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.footprint.setting import Setting

ALL = ("all-linear",)


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
    return _rotary("llama", 1024, 12, 16, 4, 2816, 32_000, **more)


def _qwen2(**more: object) -> Setting:
    """Qwen2-0.5B cut to 12 layers."""
    return _rotary("qwen2", 896, 12, 14, 2, 4864, 151_936, **more)


def _gemma(**more: object) -> Setting:
    return _rotary("gemma", 640, 10, 4, 1, 2048, 128_000, **more)


def scored(real: Path | None) -> list[Setting]:
    """GPT-2, Phi, Llama with grouped queries, Qwen2, Gemma, and the real model where it is at hand."""
    qv = {"rank": 8, "targets": ("q", "v")}
    every = {"rank": 16, "targets": ALL}
    wide = {"dtype": "float32"}
    again = {"checkpointing": True}
    found = [
        _gpt2(768, 12, 12, rank=4, targets=("q", "v"), length=512, rows=4, loss_share=0.2),
        _gpt2(768, 12, 12, **every, length=256, rows=4),
        _gpt2(768, 12, 12, length=512, rows=2),
        _gpt2(768, 12, 12, **wide, length=128, rows=4),
        _gpt2(768, 12, 12, **again, length=1024, rows=2, loss_share=0.5),
        _phi(768, 10, 12, **qv, length=256, rows=4),
        _phi(768, 10, 12, length=512, rows=2),
        _phi(768, 10, 12, **every, **again, length=1024, rows=1),
        _phi(768, 10, 12, **wide, **qv, length=512, rows=2),
        _llama(**qv, length=512, rows=4),
        _llama(**every, length=1024, rows=1),
        _llama(rank=64, targets=("q", "k", "v", "o"), length=128, rows=8, loss_share=0.3),
        _llama(length=512, rows=2),
        _llama(**wide, length=256, rows=2),
        _llama(**again, length=1024, rows=2),
        _llama(**wide, **every, length=512, rows=2),
        _qwen2(**qv, length=512, rows=2, loss_share=0.2),
        _qwen2(**every, length=256, rows=4),
        _qwen2(length=512, rows=2),
        _qwen2(**qv, **again, length=1024, rows=2),
        _gemma(**qv, length=512, rows=2),
        _gemma(length=256, rows=4),
        _gemma(**wide, length=128, rows=4),
        _gemma(**every, **again, length=512, rows=2),
    ]
    if real is not None:
        model = str(real)
        found += [
            Setting(model=model, **qv, length=512, rows=4, loss_share=0.2),
            Setting(model=model, **every, length=1024, rows=2),
            Setting(model=model, length=512, rows=2, loss_share=0.2),
            Setting(model=model, **again, length=1024, rows=2),
            Setting(model=model, **wide, **qv, length=256, rows=4),
        ]
    return found


def fitted() -> list[Setting]:
    """Smaller and other shapes, for the constants of process memory; none of them is scored."""
    found = [
        _gpt2(512, 6, 8, rank=4, targets=("q", "v"), length=256, rows=2, vocabulary=16_000),
        _gpt2(512, 8, 8, length=384, rows=2, vocabulary=16_000),
        _rotary("llama", 768, 8, 12, 3, 2048, 24_000, rank=8, targets=("q", "v"), length=384, rows=4),
        _rotary("llama", 1280, 10, 20, 5, 3456, 24_000, length=384, rows=2),
        _rotary("qwen2", 768, 8, 12, 2, 3072, 80_000, length=256, rows=2, dtype="float32"),
        _rotary("gemma", 512, 8, 4, 1, 2048, 64_000, rank=8, targets=ALL, length=768, rows=2),
        _phi(1024, 12, 16, length=256, rows=4),
    ]
    return [replace(setting, scored=False) for setting in found]


def small() -> list[Setting]:
    """Every architecture at 3 to 8 million parameters, seconds each: for the tape's items, not for the score."""
    sizes = {"length": 256, "rows": 2}
    every, qv = {"rank": 16, "targets": ALL}, {"rank": 8, "targets": ("q", "v")}
    wide, again = {"dtype": "float32"}, {"checkpointing": True}
    gpt2 = partial(_gpt2, 256, 4, 4, vocabulary=8000, **sizes)
    phi = partial(_phi, 256, 4, 4, vocabulary=8000, **{**sizes, "length": 384})
    llama = partial(_rotary, "llama", 256, 4, 8, 2, 704, 8000, **sizes)
    qwen2 = partial(_rotary, "qwen2", 256, 4, 8, 2, 1024, 16_000, **sizes)
    gemma = partial(_rotary, "gemma", 256, 4, 4, 1, 1024, 16_000, **sizes)
    found = [
        llama(**every),
        llama(),
        gpt2(**wide),
        llama(**wide, **qv),
        gemma(**every),
        qwen2(),
        gpt2(**every, **again),
        phi(**qv),
        llama(**every, **again),
        gemma(**wide),
        qwen2(**qv, **wide),
        phi(),
    ]
    return [replace(setting, scored=False) for setting in found]


def quick() -> list[Setting]:
    """Two tiny ones, a minute in all."""
    tiny = {"vocabulary": 2048, "length": 128}
    return [
        _gpt2(128, 2, 4, rank=4, targets=("q", "v"), **tiny),
        _rotary("llama", 128, 2, 4, 2, 352, tiny["vocabulary"], length=128),
    ]
