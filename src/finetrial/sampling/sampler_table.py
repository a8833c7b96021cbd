"""List the samplers, and find one by its name.

A new sampler is one file in this folder and one row here. Installed packages add theirs through the entry-point
group `finetrial.samplers`: each entry point is a sampler, or a tuple of samplers.
"""

from __future__ import annotations

import functools
import sys

from finetrial.errors import unknown_name
from finetrial.installed import installed
from finetrial.sampling.endpoint_sampler import ENDPOINT_SAMPLER
from finetrial.sampling.llama_cpp_sampler import LLAMA_CPP_SAMPLER
from finetrial.sampling.outputs_sampler import OUTPUTS_SAMPLER
from finetrial.sampling.sampler import Sampler, is_sampler
from finetrial.sampling.torch_sampler import TORCH_SAMPLER
from finetrial.sampling.vllm_sampler import VLLM_SAMPLER

SAMPLERS: tuple[Sampler, ...] = (
    TORCH_SAMPLER,
    OUTPUTS_SAMPLER,
    ENDPOINT_SAMPLER,
    LLAMA_CPP_SAMPLER,
    VLLM_SAMPLER,
)
GROUP = "finetrial.samplers"


def all_samplers() -> tuple[Sampler, ...]:
    """SAMPLERS, then those that installed packages add. Raises UserError where one of these cannot be had."""
    return (*SAMPLERS, *_installed(tuple(sys.path)))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[Sampler, ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    names = [sampler.name for sampler in SAMPLERS]
    found = installed(GROUP, noun="sampler", is_one=is_sampler, name=lambda sampler: sampler.name, taken=names)
    return tuple(one.value for one in found)


def sampler_named(name: str) -> Sampler:
    """The sampler of this name. Raises UserError where there is none."""
    for sampler in SAMPLERS:  # ours need no look at what is installed
        if sampler.name == name:
            return sampler
    found = {sampler.name: sampler for sampler in all_samplers()}
    if name not in found:
        raise unknown_name("sampling.engine", name, found)
    return found[name]
