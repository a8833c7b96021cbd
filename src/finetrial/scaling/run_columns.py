"""What a column of a table of runs holds, read off its name: the role and the unit.

`params_m`, `Training FLOP`, `tokens (B)`, `parameter_count`, `total_gflops`, `eval/loss` are read; a word that is
not known leaves a column alone, so that `tokens_per_second` or `loss_std` is never taken for what it is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name

ROLES = ("params", "tokens", "flops", "loss", "unique_tokens")
COUNTED = ("params", "tokens", "flops", "unique_tokens")  # the roles that have a unit
# Letters as in 70M and 20B, and SI prefixes beyond
UNITS = {"1": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21, "Y": 1e24}
_UNIT_WORDS = {
    **{letter.lower(): letter for letter in UNITS if letter != "1"},
    **{"thousand": "K", "thousands": "K", "kilo": "K"},
    **{"million": "M", "millions": "M", "mega": "M", "mn": "M", "mm": "M", "mio": "M"},
    **{"billion": "B", "billions": "B", "bn": "B", "giga": "B"},
    **{"trillion": "T", "trillions": "T", "tn": "T", "tera": "T"},
    **{"peta": "P", "exa": "E", "zetta": "Z", "yotta": "Y"},
    **{"1e3": "K", "1e6": "M", "1e9": "B", "1e12": "T", "1e15": "P", "1e18": "E", "1e21": "Z"},
    **{"10^3": "K", "10^6": "M", "10^9": "B", "10^12": "T", "10^15": "P", "10^18": "E", "10^21": "Z"},
    **{"e6": "M", "e9": "B", "e12": "T", "e15": "P", "e18": "E", "e21": "Z"},
}
PFLOP_DAY = 1e15 * 86_400  # Kaplan et al. 2020, section 1.3
_FLOPS_WORD = re.compile(r"(kilo|mega|giga|tera|peta|exa|zetta|[kmgtpezy])?fl(?:op|ops|os)")
_DAYS: set[tuple[str, ...]] = {
    ("pf", "days"),
    ("pfs", "days"),
    ("pflop", "days"),
    ("pflops", "days"),
    ("petaflop", "days"),
}
_DAYS |= {("petaflop", "s", "days"), ("petaflops", "days"), ("pflop", "s", "days"), ("pflops", "s", "days")}
_DAYS |= {("pfdays",), ("pflopdays",), ("petaflopdays",)}
# Words that change nothing about what a column holds
_FILLERS = {
    "total",
    "num",
    "number",
    "n",
    "no",
    "of",
    "model",
    "the",
    "count",
    "final",
    "sum",
    "summary",
    "run",
    "a",
}
_OF_PARAMS = {"non", "embedding", "nonembedding", "trainable", "size", "all", "network"}
_OF_TOKENS = {"train", "training", "trained", "seen", "processed", "consumed", "input", "data", "pretraining", "on"}
_OF_FLOPS = {"train", "training", "compute", "pretraining", "model", "spent"}
_HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "test", "heldout", "held", "out", "dev"}
_OF_LOSS = _HELD_OUT | {
    "train",
    "training",
    "lm",
    "ce",
    "cross",
    "entropy",
    "nll",
    "best",
    "min",
    "last",
    "smoothed",
}
_UNIQUE = {"unique", "distinct", "different", "dataset", "corpus"}
_LETTERS = {"N": "params", "D": "tokens", "C": "flops", "L": "loss"}  # as papers write them


@dataclass(frozen=True)
class Meaning:
    """A column's role, the unit in its name, and how plainly it names the role (the least rank is taken)."""

    role: str
    unit: str | None  # a key of UNITS, or "PF-days"
    rank: int

    @property
    def factor(self) -> float:
        return factor_of(self.unit)


def factor_of(unit: str | None) -> float:
    """What a bare number of that unit is multiplied by."""
    if unit is None:
        return 1.0
    return PFLOP_DAY if unit == "PF-days" else UNITS[unit]


def meaning_of(name: str) -> Meaning | None:
    """The role and unit that a column's name states; None where it states none."""
    if name in ROLES:
        return Meaning(name, None, 0)
    if name in _LETTERS:
        return Meaning(_LETTERS[name], None, 1)
    base, unit = _unit_apart(name)
    words = _words(base)
    if tuple(word for word in words if word not in _FILLERS | _OF_FLOPS) in _DAYS:
        return Meaning("flops", "PF-days", 1)
    if len(words) > 1 and unit is None and words[-1] in _UNIT_WORDS:
        unit = _UNIT_WORDS[words.pop()]
        words = words[:-1] if words[-1] == "in" else words
    return _by_words(words, unit=unit)


def unit_in(name: str) -> str | None:
    """The unit in a column's name that the user gave a role."""
    found = meaning_of(name)
    return _unit_apart(name)[1] if found is None else found.unit


def parse_units(text: str | None) -> dict[str, str]:
    """Read `params=M,tokens=B,flops=1e18`. Raises UserError for what is neither a role nor a unit."""
    units: dict[str, str] = {}
    for part in (text or "").split(",") if text else ():
        role, equals, unit = (piece.strip() for piece in part.partition("="))
        if not equals or not unit:
            raise UserError("--units is not a list of NAME=UNIT", got=repr(text), expected="params=M,tokens=B")
        if role not in COUNTED:
            raise unknown_name("column with a unit", role, COUNTED)
        if role in units:
            raise UserError(f"--units names {role} twice", got=repr(text))
        known = unit if unit in UNITS else _UNIT_WORDS.get(unit.lower())
        if known is None:
            raise unknown_name("unit", unit, UNITS)
        units[role] = known
    return units


def _unit_apart(name: str) -> tuple[str, str | None]:
    """A name without the unit that stands in brackets, or after a comma, and that unit."""
    match = re.fullmatch(r"(.*?)\s*[(\[]([^)\]]*)[)\]]\s*", name) or re.fullmatch(r"(.*?),\s*([^,]*)", name)
    if match is None:
        return name, None
    words = [
        word for word in re.findall(r"[\w^.]+", match[2].lower()) if word not in ("in", "x", "params", "tokens")
    ]
    if len(words) != 1:
        return match[1], None
    flops = _FLOPS_WORD.fullmatch(words[0])
    if flops is not None:
        return match[1], _UNIT_WORDS[flops[1]] if flops[1] else None
    return match[1], _UNIT_WORDS.get(words[0])


def _words(text: str) -> list[str]:
    """Lower-case words; camelCase is split, FLOPs and GFLOPs are one word."""
    text = re.sub(r"([kMGTPEZ]?FL)(OPs|OPS|OP|OS)\b", lambda m: m[0].lower(), text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z0-9^]+", text.lower())


def _by_words(words: list[str], *, unit: str | None) -> Meaning | None:
    left = [word for word in words if word not in _FILLERS]
    kinds = set(left)
    if kinds & {"loss", "nll"} or {"cross", "entropy"} <= kinds:
        if kinds <= _OF_LOSS | {"loss"}:
            return Meaning("loss", None, 1 if kinds & _HELD_OUT else 3 if kinds & {"train", "training"} else 2)
        return None
    names_params = kinds & {"param", "params", "parameter", "parameters", "nparams"}
    if names_params and kinds - names_params <= _OF_PARAMS:
        return Meaning("params", unit, 2 if kinds & {"non", "nonembedding", "trainable"} else 1)
    if words in (["model", "size"], ["size"]):
        return Meaning("params", unit, 2)
    names_tokens = kinds & {"token", "tokens", "ntokens"}
    if names_tokens and kinds & _UNIQUE and kinds - names_tokens <= _UNIQUE:
        return Meaning("unique_tokens", unit, 1)
    if names_tokens and kinds - names_tokens <= _OF_TOKENS:
        return Meaning("tokens", unit, 1)
    counted = [match for match in map(_FLOPS_WORD.fullmatch, left) if match is not None]
    if len(counted) == 1 and kinds - {counted[0][0]} <= _OF_FLOPS:
        return Meaning("flops", _UNIT_WORDS[counted[0][1]] if counted[0][1] else unit, 1)
    if kinds == {"compute"} or kinds == {"training", "compute"}:
        return Meaning("flops", unit, 2)
    return None
