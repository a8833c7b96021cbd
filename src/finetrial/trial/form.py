"""Choose the form in which an arm is shown an example: running text, or turns of the tokenizer's chat template.

The template makes the text in either case. As a chat it becomes a user turn, the completion the assistant's turn.
Rows that are chats bring turns of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetrial.errors import UserError
from finetrial.trial.chats import ASSISTANT
from finetrial.trial.examples import Example, Message
from finetrial.trial.schema import Trial
from finetrial.trial.template import PLAIN, render_prompt

SYSTEM, USER = "system", "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an example is shown, in training and in sampling alike."""

    template: str = PLAIN
    chat: bool = False  # through the tokenizer's chat template
    system: str | None = None  # the text of a system turn in front; chats only
    base: str | None = None  # the model whose tokenizer reads it, where that is not the trial's

    @property
    def label(self) -> str:
        """The template, and what is made of it where that is more than text: `{prompt} (chat)`."""
        on = f", on {self.base}" if self.base else ""
        if not self.chat:
            return self.template + on
        return f"{self.template} (chat{f', system: {self.system}' if self.system else ''}){on}"

    def prompt_turns(self, example: Example) -> tuple[Message, ...]:
        """The turns that are shown before the assistant answers.

        A row that is a chat has its own turns where the template is the bare prompt. Raises UserError for a row
        that has a system turn where the form brings one too.
        """
        if example.messages is not None and self.template == PLAIN:
            turns = example.prompt_turns
        else:
            turns = (Message(USER, render_prompt(example, template=self.template)),)
        if self.system is None:
            return turns
        if any(turn.role == SYSTEM for turn in turns):
            raise UserError(
                f"{example.origin} has a system turn of its own, and the trial file gives a `system` text",
                fix="Remove `system` from the trial file, or the system turns from the rows.",
            )
        return (Message(SYSTEM, self.system), *turns)

    def tools_of(self, example: Example) -> tuple[Any, ...]:
        """The functions that the chat template is told of: those of a row that is shown as the chat it is."""
        return example.tools if self.template == PLAIN else ()

    def answered_turns(self, example: Example) -> tuple[Message, ...]:
        """The shown turns and the answer that is trained: the first reference, without the white space around it
        that separates it from a prompt in running text."""
        if example.messages is not None and self.template == PLAIN:
            answer = example.messages[-1]
        else:
            answer = Message(ASSISTANT, example.references[0].strip())
        return (*self.prompt_turns(example), answer)


def _is_chat(trial: Trial, arm: str, *, has_template: bool) -> bool:
    use = trial.chat_of(arm)
    if use == "never":
        return False
    if trial.data.format == "messages" and use == "auto":
        return (
            trial.template_of(arm) == PLAIN
        )  # rows that are chats stay chats; without a template that is an error
    if use == "always" and not has_template:
        raise UserError(
            f"arm {arm} is to be shown as a chat, and its tokenizer has no chat template",
            got="chat: always",
            fix="Use a chat model, or `chat: auto`, which shows text where there is no template.",
        )
    return has_template


def forms_of(trial: Trial, *, chat_templates: Mapping[str, bool]) -> dict[str, Form]:
    """The form of every arm; `chat_templates` says which arms' tokenizers have a chat template.

    Raises UserError for `chat: always` without one, and for a `system` text in an arm that is shown text.
    """
    forms = {}
    for arm in trial.arms:
        chat, system = _is_chat(trial, arm, has_template=chat_templates[arm]), trial.system_of(arm)
        if system and not chat:
            raise UserError(
                f"arm {arm} has a `system` text but is shown text, not a chat",
                got="chat: never" if trial.chat_of(arm) == "never" else "a tokenizer without a chat template",
                fix="Write the text into the arm's `template`, before {prompt}.",
            )
        base = trial.shown_as(arm).start_from
        forms[arm] = Form(template=trial.template_of(arm), chat=chat, system=system, base=base)
    return forms


def trained_forms(trial: Trial, forms: Mapping[str, Form]) -> dict[Form, tuple[str, ...]]:
    """The forms of the tuned arms with their arms; where no arm is tuned, of all on the trial's own model."""
    tuned = [arm for arm in forms if trial.arms[arm].tuned]
    own = [arm for arm in forms if not trial.arms[arm].method.is_from_elsewhere]
    found: dict[Form, tuple[str, ...]] = {}
    for arm in tuned or own or list(forms):
        form = forms[arm]
        if trial.arms[arm].method.is_answered_elsewhere:  # no tokenizer here has a template for it
            form = replace(form, chat=False, system=None)
        found[form] = (*found.get(form, ()), arm)
    return found
