"""Every causal-LM class that transformers can build small, loaded, tuned, saved, sampled and compared."""
