"""Which model, method and row is trained in one measurement?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FamilyName = Literal["gpt2", "phi", "llama", "qwen2", "gemma"]
MICRO_BATCHES = 2  # of a step


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One configuration. A micro-batch is `rows` examples of `length` tokens, packed; a step is two of them."""

    model: str  # a family's name, or a folder with a real model
    width: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    inner: int = 0
    vocabulary: int = 0
    rank: int | None = None  # None: full tuning
    targets: tuple[str, ...] = ()
    length: int = 256
    rows: int = 2
    loss_share: float = 1.0  # of the tokens that carry loss
    checkpointing: bool = False
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    # True: many steps of examples of other lengths each, as a trial has them; memory has to serve them all
    varied: bool = False

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.rsplit("/", 1)[-1] + (f" {self.width} x {self.layers}" if self.width else "")

    @property
    def method(self) -> str:
        return "full" if self.rank is None else f"LoRA r{self.rank} {','.join(self.targets)}"

    @property
    def row(self) -> str:
        """The micro-batch."""
        share = "" if self.loss_share == 1 else f", loss on {self.loss_share:.0%}"
        words = f"about {self.rows} x {self.length}, varied" if self.varied else f"{self.rows} x {self.length}"
        return words + share + (", recomputed" if self.checkpointing else "")

    @property
    def words(self) -> str:
        return f"{self.name}, {self.method}, {self.row}, {self.dtype}"

    def config(self) -> dict[str, Any]:
        """The Hugging Face configuration of a model at random weights."""
        common = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        if self.model == "gpt2":
            return {
                "model_type": "gpt2",
                "n_embd": self.width,
                "n_layer": self.layers,
                "n_head": self.heads,
                "n_inner": self.inner,
                "vocab_size": self.vocabulary,
                "n_positions": 2048,
                "resid_pdrop": 0.0,
                "embd_pdrop": 0.0,
                "attn_pdrop": 0.0,
                **common,
            }
        rotary = {
            "model_type": self.model,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.inner,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 4096,
            **common,
        }
        if self.model == "phi":
            return {**rotary, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "tie_word_embeddings": False}
        if self.model == "gemma":
            return {**rotary, "head_dim": 2 * self.width // self.heads, "tie_word_embeddings": True}
        return {**rotary, "tie_word_embeddings": self.model == "qwen2"}
