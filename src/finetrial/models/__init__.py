"""Models in memory: loading, tokens and packed rows, their loss; the fast paths in kernels/."""

import os

# Of each shape of a bfloat16 product that it met on a CPU, torch keeps a compiled kernel, and so does oneDNN below
# it: 1,024 each. Packed rows have ever new shapes; both grew by 10 MiB a step and were no faster for it
# (docs/decisions.md). Read when the first product is computed; who sets a capacity keeps it.
KERNELS_KEPT = 128
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, str(KERNELS_KEPT))
