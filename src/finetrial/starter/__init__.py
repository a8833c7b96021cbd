"""The embedded default, for a trial without a model or data of one's own: corpus, tokenizer, base."""
