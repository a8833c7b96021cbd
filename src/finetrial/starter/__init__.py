"""What do we try a trial on when there is no model and no data? The embedded default: corpus, tokenizer, base."""
