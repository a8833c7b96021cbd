"""Say what a chat template makes of tool calls, reasoning and tools: what it writes, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetrial.errors import UserError
from finetrial.models.chat import render
from finetrial.trial.data_findings import Finding
from finetrial.trial.examples import TOOL_CALLS, Example, Message
from finetrial.trial.form import Form

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOOKED_AT = 20  # chats for each field; the first in which a template writes it decides. Assumption
_TOOLS = "tools"
_NAMES = ("id", "name", "tool_call_id", "type")  # of a turn or of who speaks: no text of its own


def fields_of(example: Example) -> frozenset[str]:
    """What a chat's turns hold besides role and text, and `tools` where it brings functions."""
    turns = example.messages or ()
    found = {
        name
        for turn in turns
        for name, value in turn.extra.items()
        if name not in _NAMES and isinstance(value, (str, list, dict))
    }
    return frozenset(found | ({_TOOLS} if example.tools else set()))


def fullest(examples: Sequence[Example]) -> Example:
    """The first of the examples with the most kinds of fields: what a preview should show."""
    return max(examples, key=lambda example: len(fields_of(example)))


def turn_field_findings(
    examples: Sequence[Example], *, form: Form, tokenizer: PreTrainedTokenizerBase
) -> Iterator[Finding]:
    """One finding for each field that the chats of the training split have."""
    counts = Counter(name for example in examples for name in fields_of(example))
    for name, count in sorted(counts.items()):
        having = [example for example in examples if name in fields_of(example)]
        where = f"{count:,} of {len(examples):,} training chats have {name}"
        if not form.chat:
            said = "each is shown as a line of JSON" if name == TOOL_CALLS else "as text they are shown without"
            yield Finding("turn_fields", f"{where}: {said}", (having[0].origin,))
            continue
        written = [e for e in having[:_LOOKED_AT] if _is_written(e, name, form=form, tokenizer=tokenizer)]
        if written:
            text = f"{where}, and the chat template writes them, as in the example above"
        else:
            text = f"{where}, and the chat template leaves them out: nothing of them is seen or trained"
        yield Finding("turn_fields", text, ((written or having)[0].origin,))


def _is_written(example: Example, name: str, *, form: Form, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the rendering of a chat changes where the field is taken out of it."""
    turns = form.answered_turns(example) if example.references else form.prompt_turns(example)
    tools = form.tools_of(example)
    without = [_without(turn, name) for turn in turns]
    try:
        full = _rendered(turns, tools, tokenizer=tokenizer, origin=example.origin)
        return full != _rendered(
            without, () if name == _TOOLS else tools, tokenizer=tokenizer, origin=example.origin
        )
    except UserError:  # a template that needs the field, such as a call's name, writes it
        return True


def _rendered(
    turns: Sequence[Message], tools: Sequence[Any], *, tokenizer: PreTrainedTokenizerBase, origin: str
) -> str:
    return render(turns, tokenizer=tokenizer, origin=origin, generation=False, tools=tools)


def _without(turn: Message, name: str) -> Message:
    return replace(turn, extra={key: value for key, value in turn.extra.items() if key != name})
