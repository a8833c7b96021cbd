"""Run the command that was asked for and end the process with its status.

The command table below is the only list of commands. A command's module is imported when it runs, so `finetrial
--help` loads neither typer nor any room. Exit status: 0 done, 1 the answer is no, 2 the user must change
something, 3 our own fault, 130 interrupted (Ctrl-C and SIGTERM alike), 141 nobody reads the output any more.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import warnings
from types import FrameType

from finetrial.errors import FinetrialError, UserError, unknown_name

# verb -> (section, one line of help). The module is finetrial.cli.<verb>, with `import` and `export` spelt
# `import_` and `export` because Python keeps the first word for itself.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("Start", "See a whole trial in minutes, on the embedded starter model"),
    "init": ("Start", "Write a commented trial file for your data and model"),
    "import": ("Start", "Make a trial file of another tool's configuration"),
    "explain": ("Start", "Say what a key of the trial file is and changes"),
    "doctor": ("Start", "Print versions, device, cores, memory and what is missing"),
    "completion": ("Start", "Print what makes a shell complete commands and options"),
    "scale": ("Plan", "Scaling laws: loss, tokens, epochs, best size, your own law"),
    "footprint": ("Plan", "What copies, matrices and adapters weigh; which rank fits a budget"),
    "plan": ("Plan", "Memory, time and sample size of a trial before it runs"),
    "check": ("Run", "Read the data as training would and show what is trained"),
    "seal": ("Run", "Print a digest of trial, data and prompts before they are sampled"),
    "run": ("Run", "Check, tune, sample, score and report; continue where it stopped"),
    "tune": ("Run", "Tune the arms of a trial"),
    "sample": ("Run", "Sample every arm on the same held-out prompts"),
    "split": ("Run", "Write the trial's rows by split, to train on the same elsewhere"),
    "clean": ("Run", "Remove what changed settings displaced, and say how much it was"),
    "pretrain": ("Run", "Make a small base model from text"),
    "metrics": ("Judge", "List the metrics by which arms are scored"),
    "score": ("Judge", "Score samples and compare arms, from a trial or anyone's file"),
    "grade": ("Judge", "Grade samples blind in the browser"),
    "judge": ("Judge", "Let model judges grade what is open, from where they stopped"),
    "unblind": ("Judge", "Lock the grades and open the key"),
    "report": ("Report", "Write the report of a trial"),
    "verify": ("Report", "Recompute every number of a report from its records"),
    "export": ("Report", "Write an arm as a merged Hugging Face model"),
    "push": ("Report", "Show what would go to the Hugging Face hub, and send it with --yes"),
}

# What a file system answers when a path, a right or the room is not as it must be; other errors are our own fault.
_OF_THE_USER = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
)

# Started again after Ctrl-C, these go on where they stopped.
CONTINUED = ("demo", "run", "tune", "sample", "judge", "pretrain")


def module_name(verb: str) -> str:
    """The module of a command."""
    return f"finetrial.cli.{verb}_" if verb == "import" else f"finetrial.cli.{verb}"


def available() -> dict[str, tuple[str, str]]:
    """The commands whose module exists in this version."""
    folder = os.path.dirname(__file__)
    names = {verb: module_name(verb).rsplit(".", 1)[1] for verb in COMMANDS}
    return {v: row for v, row in COMMANDS.items() if os.path.exists(os.path.join(folder, names[v] + ".py"))}


def help_text() -> str:
    """What `finetrial --help` prints, within 80 columns."""
    lines = [
        "Usage: finetrial COMMAND [OPTIONS]",
        "",
        "  Prompt it, LoRA it or tune it all? A fine-tune as a fair trial: planned,",
        "  tuned, sampled, graded blind and reported with its uncertainty.",
    ]
    section = None
    for verb, (group, text) in available().items():
        if group != section:
            lines += ["", f"{group}:"]
            section = group
        lines.append(f"  {verb:<10} {text}")
    lines += [
        "",
        "Options:",
        "  --version  Show the version",
        "  --help     Show this text; finetrial COMMAND --help shows a command's own",
        "",
        "Every command takes --json: one JSON object on standard output.",
    ]
    return "\n".join(lines)


def _report_error(error: FinetrialError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
    else:
        print(f"error: {error}", file=sys.stderr)
    return error.exit_status


def _from_system(error: OSError) -> UserError:
    """A full disk or a missing right, in the user's words."""
    where = error.filename or "a file"
    if error.errno == errno.ENOSPC:
        return UserError(
            f"the disk is full while writing {where}", fix="Free some space and run the same command again."
        )
    return UserError(f"{error.strerror or error} ({where})", fix="Check the path and its permissions.")


def dispatch(arguments: list[str]) -> int:
    """Run one command and return the process's exit status."""
    as_json = "--json" in arguments
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in available():
            raise unknown_name("command", verb, available())
        module = importlib.import_module(module_name(verb))
        import typer  # after the command's module, which imports it anyway

        command = typer.main.get_command(module.app)
        status = command(args=rest, prog_name=f"finetrial {verb}", standalone_mode=False)
        if status == 130:  # typer turns Ctrl-C into its status and says nothing
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except FinetrialError as error:
        return _report_error(error, as_json=as_json)
    except ModuleNotFoundError as error:
        from finetrial.api.packages import missing_package  # only when something is missing

        missing = missing_package(error, purpose=f"finetrial {verb}")
        return _own_fault(error, as_json=as_json) if missing is None else _report_error(missing, as_json=as_json)
    except KeyboardInterrupt:
        return _interrupted(verb)
    except SystemExit as error:  # click and rich turn a closed pipe into status 1
        if _is_closed_pipe(error.__context__):
            raise BrokenPipeError(errno.EPIPE, "closed") from error
        raise
    except OSError as error:
        if _is_closed_pipe(error):  # `finetrial ... | head`: main ends quietly
            raise
        if error.errno not in _OF_THE_USER:
            return _own_fault(error, as_json=as_json)
        return _report_error(_from_system(error), as_json=as_json)
    except Exception as error:
        if type(error).__name__ == "Abort":  # how typer passes Ctrl-C on
            return _interrupted(verb)
        if hasattr(error, "format_message"):  # typer's own usage errors
            usage = UserError(error.format_message().rstrip("."), fix=f"See `finetrial {verb} --help`.")
            return _report_error(usage, as_json=as_json)
        return _own_fault(error, as_json=as_json)


def _interrupted(verb: str) -> int:
    again = ". Run the same command again: it continues." if verb in CONTINUED else ""
    print(f"interrupted{again}", file=sys.stderr)
    return 130


def _own_fault(error: BaseException, *, as_json: bool) -> int:
    import traceback  # only when something broke

    traceback.print_exception(error, file=sys.stderr)
    what = f"internal error: {type(error).__name__}: {error}"
    if as_json:
        fault = {"what": what, "got": None, "expected": None, "fix": "This is a defect of finetrial."}
        print(json.dumps({"error": fault}, ensure_ascii=False))
    print(f"{what}\nThis is a defect of finetrial; the lines above say where.", file=sys.stderr)
    return 3


def _is_closed_pipe(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if arguments[0] in ("--version", "-V"):
        from finetrial import __version__

        print(f"finetrial {__version__}")
        return 0
    return dispatch(arguments)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminated)  # what a batch system sends ends a command as Ctrl-C does
    if not sys.warnoptions:  # a library's advice to its caller is no word to the user
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        status = _answer(sys.argv[1:])
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None: the shell closed it
                stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what is still buffered must not fail again at the very end
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        status = 128 + signal.SIGPIPE
    except KeyboardInterrupt:  # before a command began, or after it ended
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
