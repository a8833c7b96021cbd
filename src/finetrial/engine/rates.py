"""Which learning rate does a method take on a model when nobody names one? Reads the configuration alone."""

from __future__ import annotations

from finetrial.engine.load import load_config
from finetrial.engine.optimizer import full_learning_rate, lora_learning_rate


def default_learning_rate(
    model: str, *, is_lora: bool, revision: str | None = None, trust_remote_code: bool = False
) -> float:
    """The default for the model's width, by the method's rule."""
    config = load_config(model, revision=revision, trust_remote_code=trust_remote_code).get_text_config()
    # OPT-350m's embedding is narrower than its layers, and the rules go by the embedding
    width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
    return lora_learning_rate(width) if is_lora else full_learning_rate(width)
