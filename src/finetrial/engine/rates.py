"""Which learning rate does a method take on a model when nobody names one? Needs no weights."""

from __future__ import annotations

from transformers import PretrainedConfig

from finetrial.methods.method import TunedMethod


def default_learning_rate(config: PretrainedConfig, *, method: TunedMethod) -> float:
    """The default for the width of the model with this configuration, by the method's rule."""
    config = config.get_text_config()
    # OPT-350m's embedding is narrower than its layers, and the rules go by the embedding
    width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
    return method.default_learning_rate(width)
