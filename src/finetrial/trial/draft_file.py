"""Write a first trial file that suits these data and this model.

Finds format and columns in the data, and puts a comment on every line that a user may want to change.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from finetrial.errors import UserError, unknown_name
from finetrial.store.compressed_files import plain_stem
from finetrial.trial.autos import CompletionKind, completion_kind
from finetrial.trial.chats import is_chat
from finetrial.trial.columns import CHAT_COLUMNS, CHOSEN, Columns, find_chat_column, find_columns
from finetrial.trial.draft_judging import counts_every_script, fitting_template, judging_lines, primary_for
from finetrial.trial.drafts import ID_COLUMN, read_drafts
from finetrial.trial.guess_columns import guess_columns
from finetrial.trial.rows import Table
from finetrial.trial.schema import Data, TextFormat, is_local
from finetrial.trial.sources import parse_source, read_splits_of
from finetrial.trial.split import default_count
from finetrial.trial.template import PLAIN
from finetrial.trial.trial_file import STARTER_NAME

# Characters of English a token stands for, roughly (assumption: GPT-2's tokenizer on prose; other text has fewer).
CHARACTERS_PER_TOKEN = 4


def likely_tokens(text: str) -> float:
    """About how many tokens a text takes. A byte-level vocabulary of English, the most common kind, spends up to a
    token on each byte of another script; what is left over is only room."""
    outside = len(text) - len(text.encode("ascii", "ignore"))
    return (len(text) - outside) / CHARACTERS_PER_TOKEN + len(text.encode()) - (len(text) - outside)


# Shares of a split that the first trial samples: enough to see, few enough to wait for (assumption).
_SAMPLED_PROMPTS = 100
# Fewer optimizer steps than about this leave the schedule no room (assumption).
_STEPS_OF_AN_EPOCH = 20
_GROUP_NAMES = ("group", "customer", "customer_id", "user_id", "conversation_id", "document_id", "thread_id")


@dataclass(frozen=True, slots=True)
class Draft:
    """A trial file's text, and what was found in the data."""

    text: str
    format: str
    rows: int
    columns: tuple[str, ...]
    prompt: str | None
    completion: str | None
    group: str | None
    groups: int | None  # how many different ones there are; None without a group's column
    kind: CompletionKind  # what the completions are
    primary: str  # the metric that decides
    alternatives: tuple[tuple[str, str], ...] = ()  # other pairs of columns, where the names do not say which
    note: str | None = None  # what the file leaves out, in words
    preferences: bool = False  # rows hold a chosen and a rejected answer: the chosen ones are the completions
    every_script: bool = False  # words of every script count, for the completions hold letters beyond a-z


def name_from(stem: str) -> str:
    """A trial's name from that of a file, as a file may be called everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "trial"


def name_for(data: str, *, base: Path) -> str:
    """The name of a trial on these data: the source's own."""
    return name_from(plain_stem(Path(parse_source(data, base=base).place)))


def _quoted(text: str) -> str:
    """A YAML string. What YAML would read as something else is quoted as JSON does, which YAML reads too."""
    plain = re.fullmatch(r"[A-Za-z0-9_./-]+", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _relative(name: str, *, base: Path, target: Path) -> str:
    """A local source as the trial file in `target` names it; a hub id unchanged."""
    if not is_local(name, base=base):
        return name
    matched = re.fullmatch(r"(.*?)(\[[^\]]*\])?", name, re.S)
    assert matched is not None  # the pattern matches any text
    path, slice_ = matched.groups()
    if path.startswith(("/", "~")):
        return name
    relative = os.path.relpath((base / path).resolve(), target.resolve())
    shown = relative if Path(relative).suffix or relative.startswith(".") else f"./{relative}"
    return shown + (slice_ or "")


@dataclass(frozen=True, slots=True)
class _Found:
    """How a table is read: its format, its columns, and other pairs of columns that might be meant."""

    format: Literal["prompt_completion", "messages", "text"]
    columns: Columns | None = None  # of prompt_completion
    column: str | None = None  # of messages, where the user has named it
    others: tuple[Columns, ...] = ()


def _find_format(table: Table, *, group: str | None, prompt: str | None, completion: str | None) -> _Found:
    """How a table is read; `prompt` and `completion` are columns that the user has named.

    Raises UserError where they are not there, and where no two columns could be meant.
    """
    if table.lines_of_text:
        if prompt or completion:
            raise UserError(f"{table.name} is plain text and has no columns", got=prompt or completion)
        return _Found("text")
    for name in filter(None, (prompt, completion)):
        if name not in table.columns:
            raise unknown_name(f"column of {table.name}", name, table.columns)
    if prompt and not completion and _holds_chats(table, prompt):
        return _Found("messages", column=prompt)
    if not (prompt or completion) and (chat := _preferred_chat(table)) is not None:
        return _Found("messages", column=chat)
    if not (prompt or completion) and any(c in (name.lower() for name in table.columns) for c in CHAT_COLUMNS):
        find_chat_column(table.columns, where=table.name, given=None)
        return _Found("messages")
    try:
        named = find_columns(table.columns, where=table.name, prompt=prompt, completion=completion)
        return _Found("prompt_completion", named)
    except UserError:
        neither = [name for name in table.columns if name.lower() == ID_COLUMN or name == group]
        if [name.lower() for name in table.columns if name not in neither] == ["text"]:
            return _Found("text")
        guessed = guess_columns(table, without=neither, prompt=prompt, completion=completion)
        if not guessed:
            raise _no_pair(table) from None
        return _Found("prompt_completion", guessed[0], others=guessed[1:])


def _no_pair(table: Table) -> UserError:
    """What to do with a table in which no two columns could be prompt and completion."""
    empty = [c for c in table.columns if all(row.values.get(c) in (None, "", [], {}) for row in table.rows)]
    said = f" (empty: {', '.join(empty)})" if empty else ""
    return UserError(
        f"no two columns of {table.name} could be prompt and completion",
        got=f"columns {', '.join(table.columns) or 'none'}{said}",
        fix="Name them with --prompt and --completion. Prompts alone train nothing: `finetrial sample TRIAL "
        "--prompts FILE` answers them with the arms of a trial.",
    )


def _preferred_chat(table: Table) -> str | None:
    """The column of chats where rows are preferences, or prompts that are chats: `prompt`, else `chosen`."""
    names = {name.lower(): name for name in table.columns}
    if any(name in names for name in CHAT_COLUMNS) and CHOSEN not in names:
        return None
    held = [names[name] for name in ("prompt", CHOSEN) if name in names and _holds_chats(table, names[name])]
    return held[0] if held else None


def _holds_chats(table: Table, column: str) -> bool:
    return is_chat(table.rows[0].values.get(column))


def draft_trial(
    data: str,
    *,
    model: str,
    base: Path,
    target: Path,
    name: str,
    prompt: str | None = None,
    completion: str | None = None,
    criterion: str | None = None,
) -> Draft:
    """A trial file for a data source and a model, both as named from `base`; it will stand in `target`.

    `prompt` and `completion` are columns that the user named. With a `criterion` of good answers people's grades
    decide. Reads the data, so a file that cannot be read is an error here already.
    """
    tables = read_splits_of(data, base=base, revision=None)
    table = tables["train"]
    group = next((c for c in table.columns if c.lower() in _GROUP_NAMES and c not in (prompt, completion)), None)
    found = _find_format(table, group=group, prompt=prompt, completion=completion)
    columns = found.columns
    settings = Data(
        source=data,
        format=found.format,
        prompt=columns.prompt if columns and not columns.context else found.column,
        completion=columns.completion if columns and not columns.context else None,
        group=group,
        empty="drop",
    )
    notes: list[str] = []
    drafts = read_drafts(table, data=settings, notes=notes)
    dropped = next((note for note in notes if note.startswith("dropped")), None)
    completions = [draft.example.references[0] for draft in drafts]
    kind = "text" if found.format == "text" else completion_kind(completions)
    around = likely_tokens(_template(found, kind=kind, completions=completions))
    tokens = [around + likely_tokens(d.example.prompt + d.example.references[0]) for d in drafts]
    max_tokens = _max_tokens(max(tokens))
    text = _render(
        name=name,
        model=_relative_model(model, base=base, target=target),
        source=_relative(data, base=base, target=target),
        found=found,
        settings=settings,
        table=table,
        rows=len(drafts),
        completions=completions,
        kind=kind,
        dropped=dropped,
        has_template=_has_chat_template(model, base=base),
        max_tokens=max_tokens,
        overlong="cut" if max(tokens) > max_tokens else "refuse",
        batch_tokens=_batch_tokens(sum(tokens)),
        validation=None if "validation" in tables else default_count(len(drafts)),
        heldout=None if "heldout" in tables else default_count(len(drafts)),
        criterion=criterion,
    )
    return Draft(
        text=text,
        format=found.format,
        rows=len(table.rows),
        columns=table.columns,
        prompt=columns.prompt if columns else None,
        completion=columns.completion if columns else None,
        group=group,
        groups=len({draft.example.group for draft in drafts}) if group else None,
        kind=kind,
        primary=primary_for(kind, criterion=criterion),
        alternatives=tuple((other.prompt, other.completion or "") for other in found.others),
        note=dropped,
        every_script=counts_every_script(kind, completions),
        preferences=CHOSEN in table.columns and "rejected" in table.columns,
    )


def _relative_model(model: str, *, base: Path, target: Path) -> str:
    if not (base / Path(model).expanduser()).exists() or model.startswith(("/", "~")):
        return model
    relative = os.path.relpath((base / model).resolve(), target.resolve())
    return relative if relative.startswith(".") else f"./{relative}"


def _max_tokens(most: float) -> int:
    """A power of two from 128 to 1024 that the longest example fits as estimated, with a third to spare."""
    needed = most * 4 / 3
    return next((size for size in (128, 256, 512, 1024) if size >= needed), 1024)


def _batch_tokens(tokens: float) -> int:
    """The largest power of two from 256 to 8192 that leaves an epoch about twenty steps (assumption)."""
    room = tokens / _STEPS_OF_AN_EPOCH
    return next((size for size in (8192, 4096, 2048, 1024, 512) if size <= room), 256)


def _has_chat_template(model: str, *, base: Path) -> bool | None:
    """Whether a model's tokenizer has a chat template; None where that cannot be seen in a folder here."""
    if model == STARTER_NAME:
        return False  # it was trained on plain text
    if not ((folder := base / Path(model).expanduser()) / "tokenizer_config.json").is_file():
        return None
    if (folder / "chat_template.jinja").exists():
        return True
    try:
        return "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except ValueError:
        return None


_TURNS = r'template: "{prompt}\nassistant:"'


def _chat_lines(column: str | None, *, has_template: bool | None) -> list[str]:
    """How rows that are chats are shown: by the chat template, or as text where the model has none."""
    shown = {
        True: [],
        False: [f"  {_TURNS}  # this model has no chat template: the turns are shown as text"],
        None: [f"  # {_TURNS}   # for a model without a chat template"],
    }
    return [
        "  format: messages                # chats, shown through the tokenizer's chat template",
        *([f"  prompt: {_quoted(column)}"] if column else []),
        *shown[has_template],
        "  assistant_loss: last            # or all: every assistant turn is trained",
    ]


def _column_lines(found: _Found, *, settings: Data, table: Table, has_template: bool | None) -> list[str]:
    columns = found.columns
    if settings.text_format is not None:
        cut = TextFormat()
        return [
            f"  format: {{text: {{unit: {cut.unit}, prefix: {cut.prefix}, continuation: {cut.continuation}}}}}"
            "  # running text: the prompt is one line"
        ]
    if settings.format == "messages":
        return _chat_lines(found.column, has_template=has_template)
    assert columns is not None
    there = textwrap.shorten(", ".join(table.columns), 80, placeholder=" ...")
    if columns.context:
        joined = f"{columns.prompt} + {columns.context} -> {columns.completion}"
        return [f"  # columns found: {there}; read as {joined}"]
    assert columns.completion is not None  # prompts alone were not asked for
    lines = [f"  # columns found: {there}"]
    if found.others:
        lines.append("  # the names do not say which is which; if it is not so, take one of the pairs below")
    lines += [f"  prompt: {_quoted(columns.prompt)}", f"  completion: {_quoted(columns.completion)}"]
    for other in found.others:
        lines += [f"  # prompt: {_quoted(other.prompt)}", f"  # completion: {_quoted(other.completion or '')}"]
    return lines


def _template(found: _Found, *, kind: CompletionKind, completions: Sequence[str]) -> str:
    """What the model is shown; the bare prompt of running text and of chats."""
    if found.columns is None:
        return PLAIN
    return fitting_template(kind, completions, column=found.columns.completion)


def _template_line(found: _Found, *, kind: CompletionKind, completions: Sequence[str]) -> str:
    template = _template(found, kind=kind, completions=completions)
    if template == PLAIN:
        return '  template: "{prompt}"            # what the model is shown; such as "{prompt}\\nTL;DR:"'
    return (
        "  # what the model is shown: the prompt, and what is wanted, which an arm that is not tuned cannot know"
        f"\n  template: {json.dumps(template, ensure_ascii=False)}"
    )


def _render(
    *,
    name: str,
    model: str,
    source: str,
    found: _Found,
    settings: Data,
    table: Table,
    rows: int,
    completions: Sequence[str],
    kind: CompletionKind,
    dropped: str | None,
    has_template: bool | None,
    max_tokens: int,
    overlong: str,
    batch_tokens: int,
    validation: int | None,
    heldout: int | None,
    criterion: str | None,
) -> str:
    few = heldout if heldout is not None else _SAMPLED_PROMPTS
    chat = settings.format == "messages"
    pairs = settings.format == "prompt_completion"
    lines = [
        f"# {rows:,} examples in {table.name}. Next: `finetrial check`, which shows what is trained.",
        f"trial: {name}",
        f"model: {_quoted(model)}",
        "data:",
        f"  source: {_quoted(source)}",
        *_column_lines(found, settings=settings, table=table, has_template=has_template),
        *(
            [f"  group: {_quoted(settings.group)}   # its rows stay on one side and count as one"]
            if settings.group
            else []
        ),
        *([] if chat else [_template_line(found, kind=kind, completions=completions)]),
        *(
            ["  chat: auto                      # a turn of the chat template where the model has one; or never"]
            if pairs
            else []
        ),
        f"  max_tokens: {max_tokens:<20}# of prompt and completion together",
        f"  overlong: {overlong:<22}# refuse such rows, or cut their prompts",
        *(["  empty: drop                     # rows without a text; or error"] if dropped else []),
        "  overlap: error                  # or drop: a prompt that stands in two splits",
        *([f"  validation: {validation:<20}# cut from the rows by a seed; steers tuning"] if validation else []),
        *([f"  heldout: {heldout:<23}# cut likewise; read by nothing but the judging"] if heldout else []),
        "arms:",
        "  base: {}                        # the model as it is",
        "  prompted: {shots: 3}            # three training examples in the prompt; prompt_file: FILE for your own",
        "  full: {method: full}            # every weight is tuned",
        "  lora: {method: lora, rank: 8, targets: [q, v]}   # adapters on the query and value projections",
        "training:",
        "  epochs: 1",
        f"  batch_tokens: {batch_tokens:<18}# tokens of an optimizer step",
        "sampling:",
        f"  prompts: {min(_SAMPLED_PROMPTS, few):<23}# held-out prompts that every arm answers",
        "  # the rest follows from the training completions; `finetrial check` shows what was chosen",
        "  max_new_tokens: auto            # as long as they are, and a quarter more",
        "  temperature: auto               # 0 for labels and extraction, 0.8 for free text",
        "  per_prompt: auto                # samples a prompt: 1 at temperature 0, else 3",
        '  stop: auto                      # the line\'s end where every completion is one line; or ["END"], or []',
        *judging_lines(kind, completions, most_graded=few, criterion=criterion),
    ]
    return "\n".join(lines) + "\n"
