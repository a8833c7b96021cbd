"""List the methods, and find one by its name or by an arm's keys.

A new method is one folder beside this file and one row here. Installed packages add theirs through the entry-point
group `finetrial.methods`: each entry point is a method, or a tuple of methods.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

from finetrial.installed import installed
from finetrial.methods.base.base_method import Base
from finetrial.methods.deployed.deployed_method import Deployed
from finetrial.methods.external.external_method import External
from finetrial.methods.from_peft.from_peft_method import FromPeft
from finetrial.methods.full.full_method import Full
from finetrial.methods.ia3.ia3_method import IA3
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.method import Method
from finetrial.methods.outputs.outputs_method import Outputs
from finetrial.methods.prompted.prompted_method import Prompted
from finetrial.methods.served.served_method import Served
from finetrial.methods.vera.vera_method import Vera

# In the order of what they cost where nothing else says it: the model as it is first.
METHODS: tuple[type[Method], ...] = (
    Base,
    Prompted,
    IA3,
    Vera,
    Lora,
    FromPeft,
    Full,
    External,
    Outputs,
    Served,
    Deployed,
)
GROUP = "finetrial.methods"


def all_methods() -> tuple[type[Method], ...]:
    """METHODS, then those that installed packages add. Raises UserError where one of these cannot be had."""
    return (*METHODS, *_installed(tuple(sys.path)))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[type[Method], ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    names = [method.name for method in METHODS]
    found = installed(GROUP, noun="method", is_one=_is_method, name=lambda method: method.name, taken=names)
    return tuple(one.value for one in found)


def _is_method(value: object) -> TypeGuard[type[Method]]:
    return isinstance(value, type) and issubclass(value, Method)


def find_method(name: object) -> type[Method] | None:
    """The method of this name; None where there is none."""
    known = next((method for method in METHODS if method.name == name), None)
    return known or next((method for method in all_methods() if method.name == name), None)


def implied_method(keys: Mapping[str, Any]) -> type[Method]:
    """The method of an arm that names none: the last of METHODS that its keys imply."""
    return next(method for method in reversed(METHODS) if method.implied_by(keys))


def cost_rank(method: Method) -> int:
    """The method's place in the order of costs; those of installed packages stand before full tuning."""
    known = METHODS.index(type(method)) if type(method) in METHODS else METHODS.index(Full)
    return 2 * known - (type(method) not in METHODS)
