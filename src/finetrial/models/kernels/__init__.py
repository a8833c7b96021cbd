"""Fast paths: each computes what a model's own code computes, faster or in less memory, beside its plain twin."""
