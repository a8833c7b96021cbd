"""`finetrial completion`: print what makes a shell complete finetrial's commands and options."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from finetrial.cli.main import available, module_name
from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import unknown_name

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

# shell -> where its script goes
_PLACES = {
    "bash": "finetrial completion bash >> ~/.bashrc",
    "zsh": "finetrial completion zsh >> ~/.zshrc",
    "fish": "finetrial completion fish > ~/.config/fish/completions/finetrial.fish",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow a command: its own commands, or its options; files else."""

    text: str
    commands: tuple[str, ...]
    options: tuple[str, ...]


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", metavar="SHELL")], as_json: JsonOption = False
) -> None:
    """Print what makes a shell complete commands and options, and files everywhere else.

    It goes where the shell reads it at its start; the script's first line says how.
    """
    if shell not in _PLACES:
        raise unknown_name("shell", shell, _PLACES)
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words())
    script = f"# {_PLACES[shell]}\n{script}"
    print_json({"shell": shell, "script": script}) if as_json else print(script)


def words() -> dict[str, Words]:
    """Every command's words, from the commands themselves; `scale loss` beside `scale`."""
    found: dict[str, Words] = {}
    for verb, (_, text) in available().items():
        command: Any = typer.main.get_command(importlib.import_module(module_name(verb)).app)
        inner = getattr(command, "commands", {})
        found[verb] = Words(text, tuple(inner), _options(command))
        for name, each in inner.items():
            found[f"{verb} {name}"] = Words((each.help or "").split("\n")[0].rstrip("."), (), _options(each))
    return found


def _options(command: Any) -> tuple[str, ...]:
    names = [name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")]
    return (*dict.fromkeys(names), "--help")


def _verbs(table: Mapping[str, Words]) -> list[str]:
    return [name for name in table if " " not in name]


def _cases(table: Mapping[str, Words]) -> str:
    return "\n".join(
        f"    '{name}') words='{' '.join((*row.commands, *row.options))}' ;;" for name, row in table.items()
    )


def _groups(table: Mapping[str, Words]) -> str:
    return "|".join(name for name in _verbs(table) if table[name].commands)


def _bash(table: Mapping[str, Words]) -> str:
    return f"""\
_finetrial() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" place="${{COMP_WORDS[1]}}" words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(_verbs(table))} --help --version' -- "$current"))
    return
  fi
  case "$place" in {_groups(table)}) [ "$COMP_CWORD" -gt 2 ] && place="$place ${{COMP_WORDS[2]}}" ;; esac
  case "$place" in
{_cases(table)}
  esac
  COMPREPLY=()
  case "$place $current" in
    *' '-*|{"|".join(f"'{name} '*" for name in _groups(table).split("|"))})
      COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}}
complete -o default -F _finetrial finetrial"""


def _zsh(table: Mapping[str, Words]) -> str:
    return f"""\
_finetrial() {{
  local place="${{words[2]}}" found='' current="${{words[CURRENT]}}"
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(_verbs(table))} --help --version
    return
  fi
  case "$place" in {_groups(table)}) (( CURRENT > 3 )) && place="$place ${{words[3]}}" ;; esac
  case "$place" in
{_cases(table).replace("words=", "found=")}
  esac
  if [[ "$current" == -* || ( "$place" == ({_groups(table)}) && CURRENT -eq 3 ) ]]; then
    compadd -- ${{(s: :)found}}
  else
    _files
  fi
}}
autoload -Uz compinit && compinit
compdef _finetrial finetrial"""


def _fish(table: Mapping[str, Words]) -> str:
    lines = []
    for name, row in table.items():
        verb, _, inner = name.partition(" ")
        text = row.text.replace("'", "\\'")
        if not inner:
            lines.append(f"complete -c finetrial -f -n __fish_use_subcommand -a {verb} -d '{text}'")
        elif inner:
            outside = " ".join(table[verb].commands)
            seen = f"__fish_seen_subcommand_from {verb}; and not __fish_seen_subcommand_from {outside}"
            lines.append(f"complete -c finetrial -f -n '{seen}' -a {inner} -d '{text}'")
        where = f"__fish_seen_subcommand_from {inner or verb}"
        lines += [f"complete -c finetrial -n '{where}' -l {option[2:]}" for option in row.options]
    return "\n".join(lines)
