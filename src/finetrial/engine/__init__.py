"""What do the weights do? Load, tune, sample, measure: the only room that imports torch and transformers."""
