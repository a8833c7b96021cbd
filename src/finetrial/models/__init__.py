"""Models in memory: loading, tokens and packed rows, their loss; the fast paths in kernels/."""
