"""`finetrial grade`: grade samples blind in the browser, or send the page out and merge what comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, log, print_json
from finetrial.errors import MissingPackage, UserError, unknown_name
from finetrial.units import parse_share

if TYPE_CHECKING:
    from finetrial.judging.grading_session import GradingSession, Mode
    from finetrial.judging.server import Address
    from finetrial.store.layout import TrialFolder
    from finetrial.store.records import Sample
    from finetrial.trial.schema import Trial

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

PASSWORD_VARIABLE = "FINETRIAL_GRADE_PASSWORD"
SHAPES = ("csv", "jsonl", "matrix", "preferences", "pairs")


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line says of the judging; for files of outputs, which have no trial file yet."""

    criterion: str | None
    prompts: int | None
    raters: int | None
    repeats: str | None
    references: bool
    scale: str | None

    def given(self) -> bool:
        return self.references or any(
            v is not None for v in (self.criterion, self.prompts, self.repeats, self.scale)
        )


def _blind(folder: TrialFolder, samples: Sequence[Sample], *, trial: Trial) -> None:
    from finetrial.judging.blinding import write_items

    write_items(folder, samples, judging=trial.judging, seed=trial.sampling.seed, title=trial.trial)


def _folder_of_file(path: Path, *, out: Path | None, wishes: _Wishes) -> TrialFolder:
    """Make the trial folder of a file of outputs: samples, scores and blinded items."""
    from finetrial.judging.outputs_trial import parse_scale, trial_of_outputs
    from finetrial.store.grades import grading_state
    from finetrial.store.manifest import Manifest
    from finetrial.workflow.score_step import score_trial

    loaded, folder, outputs = trial_of_outputs(
        path,
        out=out,
        criterion=wishes.criterion,
        prompts=wishes.prompts,
        raters=wishes.raters,
        repeats=None if wishes.repeats is None else parse_share(wishes.repeats, what="--repeats"),
        grade_references=wishes.references,
        scale=None if wishes.scale is None else parse_scale(wishes.scale),
    )
    for stated, name in outputs.renamed.items():
        log(f"The arm {stated!r} is called {name} here.")
    manifest, trial = Manifest(folder.manifest), loaded.trial
    score_trial(folder, trial, manifest=manifest, base=loaded.base, training=lambda: None)
    if not folder.items.exists():  # removed since the samples were scored
        _blind(folder, outputs.samples, trial=trial)
    settings = grading_state(folder).settings
    assert settings is not None  # blinding wrote them
    log(f"{settings.items} different texts for {settings.prompts} prompts are set aside in {folder.root}")
    return folder


def _folder(path: Path, *, out: Path | None, wishes: _Wishes) -> TrialFolder:
    """The folder to grade in. A trial that was sampled but not blinded yet is blinded here."""
    from finetrial.judging.outputs_trial import is_outputs, samples_of
    from finetrial.trial.folder import open_trial

    if is_outputs(path):
        return _folder_of_file(path, out=out, wishes=wishes)
    loaded, folder = open_trial(path, out=out)
    if wishes.given():
        raise UserError(
            "the judging of a trial stands in its trial file",
            fix="Set criterion, grade_prompts, repeats, grade_references or scale there, before anybody grades.",
        )
    if not folder.items.exists():
        samples = samples_of(folder, list(loaded.trial.arms))
        if samples:
            _blind(folder, samples, trial=loaded.trial)
    return folder


def _unreachable() -> str | None:
    """Why the page cannot be opened from here; None where it can."""
    if os.environ.get("COLAB_RELEASE_TAG") or os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "This is a hosted notebook"
    if os.environ.get("JPY_PARENT_PID") or os.environ.get("JUPYTERHUB_USER"):
        return "This is a notebook"
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return "This is a remote shell"
    return None


def _say_where(folder: TrialFolder, address: Address, *, shared: bool) -> None:
    """Print under which addresses the page can be opened, and by whom."""
    print(f"Grade here:  {address.url}")
    for url in address.others:
        print(f"Others open: {url}")
    width = max(map(len, address.raters), default=0)
    for name, url in address.raters.items():
        print(f"{name + ':':<{width + 1}} {url}")
    print(f"Progress:    {address.progress}")
    if shared and not address.others:
        print("No address of this machine was found under which others could reach it.")
    elif not shared:
        print(f"Only this machine reaches these; others could by:  finetrial grade {folder.root} --host 0.0.0.0")
    print("Ctrl-C stops the page; grades are on the disk at once.", flush=True)


def _serve(
    folder: TrialFolder,
    *,
    mode: Mode,
    raters: tuple[str, ...],
    host: str,
    port: int | None,
    password: str | None,
    open_page: bool,
    as_json: bool,
) -> None:
    from finetrial.judging.people import People

    try:
        from finetrial.judging.server import is_loopback
    except ImportError as error:
        raise MissingPackage(error.name or "starlette", extra="grade", purpose="the grading page") from None

    def ready(address: Address) -> None:
        if as_json:
            print_json({"folder": folder.root, **dataclasses.asdict(address)})
        else:
            _say_where(folder, address, shared=not is_loopback(host))
        reason = _unreachable()
        if reason is not None and is_loopback(host):
            log(
                f"{reason}: a browser on your own machine cannot reach that address by itself. Either forward it,\n"
                f"  ssh -L {address.port}:127.0.0.1:{address.port} YOU@THIS-MACHINE\n"
                f"or take the page with you as one file, and merge the file that it gives back:\n"
                f"  finetrial grade {folder.root} --export page.html\n"
                f"  finetrial grade {folder.root} --import FILE"
            )
        elif open_page and reason is None:
            import webbrowser

            webbrowser.open(address.url)

    from finetrial.workflow.stopping_watch import watching

    with (
        contextlib.suppress(KeyboardInterrupt),
        watching(folder),
    ):  # the way out that the page names; the server may catch it itself
        People(mode=mode, raters=raters, host=host, port=port, password=password, on_ready=ready).judge(folder)
    if not as_json:
        print("\nStopped. The same command goes on where you left.")


def _progress(session: GradingSession, *, mode: Mode, as_json: bool) -> None:
    """Print who has graded how much; never which arm leads, which nobody knows here."""
    from finetrial.judging.page_content import stand_sentences
    from finetrial.judging.rater_progress import progress_of
    from finetrial.workflow.stopping_watch import look

    look(session.folder)
    rows, stand = progress_of(session, mode=mode), stand_sentences(session, mode=mode)
    if as_json:
        told = {"stopping": stand[0]} if stand else {}
        print_json({"raters": [{**dataclasses.asdict(row), "too_fast": row.too_fast} for row in rows], **told})
        return
    for sentence in stand:
        print(sentence)
    if not rows:
        print("Nobody has begun yet.")
        return
    width = max(len("rater"), *(len(row.rater) for row in rows))
    done = [f"{row.graded} of {row.of}" for row in rows]
    wide = max(len("graded"), *map(len, done))
    print(f"{'rater':<{width}}  {'kind':<12}  {'graded':>{wide}}  {'median':>8}  latest (UTC)")
    for row, graded in zip(rows, done, strict=True):
        pace = "–" if row.median_seconds is None else f"{row.median_seconds:.1f} s"
        latest = "–" if row.latest_at is None else row.latest_at[:16].replace("T", " ")
        fast = "  too fast to have read" if row.too_fast else ""
        kind = row.kind or "not declared"
        print(f"{row.rater:<{width}}  {kind:<12}  {graded:>{wide}}  {pace:>8}  {latest}{fast}")


def _let_in(session: GradingSession, name: str, *, as_json: bool) -> None:
    rater = session.book.let_in(name)
    if as_json:
        print_json({"rater": rater.name})
    else:
        print(f"{rater.name}'s link, the same as before, may be begun in one more browser.")


def _export(
    session: GradingSession, path: Path, *, names: list[str], raters: int, mode: Mode, as_json: bool
) -> None:
    from finetrial.judging.bundle import export_bundles

    count = 1 if path.suffix in (".html", ".htm") else raters
    written = export_bundles(session, path, names=tuple(names), raters=count, mode=mode)
    if as_json:
        print_json({"pages": written})
        return
    for page in written:
        print(page)
    print("Each opens in any browser, without a network. Merge what comes back with --import FILE or FOLDER.")


def _import(session: GradingSession, paths: list[Path], *, as_json: bool) -> None:
    from finetrial.judging.import_grades import import_files

    merged = import_files(session, paths)
    if as_json:
        print_json({"files": merged, "added": sum(m.added for m in merged)})
        return
    for one in merged:
        extra = f", {one.unknown} on texts that are not in this trial" if one.unknown else ""
        print(f"{one.file}: {', '.join(one.raters)}: {one.added} new, {one.known} known already{extra}")


@app.command()
def grade(
    trial: Annotated[
        Path, typer.Argument(help="A trial file or folder, or outputs: a .jsonl or .csv, or another tool's log.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    rater: Annotated[
        list[str] | None,
        typer.Option("--rater", help="Print this rater's own link (may be repeated); the page asks otherwise."),
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Compare side by side: which of two is better.")] = False,
    criterion: Annotated[
        str | None, typer.Option("--criterion", help="For a file of outputs: what makes a sample good.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option("--prompts", min=1, help="For a file of outputs: grade so many prompts, not all.")
    ] = None,
    repeats: Annotated[
        str | None,
        typer.Option("--repeats", help="For a file of outputs: share shown twice, unannounced.", metavar="SHARE"),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="For a file of outputs: mix its references in as a hidden arm.")
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale", help="For a file of outputs: good_bad, 1-5, or labels: +fine,poor (+ counts as good)."
        ),
    ] = None,
    raters: Annotated[
        int | None, typer.Option("--raters", min=1, help="How many raters share the work, or pages to export.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write the page as a file (.html), or a folder with one for each rater."),
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Merge a file of grades, or a folder of them (may be repeated)."),
    ] = None,
    progress: Annotated[bool, typer.Option("--progress", help="Print who has graded how much, and stop.")] = False,
    new_browser: Annotated[
        str | None,
        typer.Option("--new-browser", help="Let this rater's link be begun in one more browser.", metavar="NAME"),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the grades to a file.")] = None,
    shape: Annotated[
        str | None, typer.Option("--as", help=f"The saved file's shape: {', '.join(SHAPES)}.", metavar="SHAPE")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="The page's port.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="0.0.0.0 lets other machines open the page; a password is needed then.")
    ] = "127.0.0.1",
    password: Annotated[
        str | None,
        typer.Option("--password", envvar=PASSWORD_VARIABLE, help="For --host, with any user name."),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Grade samples blind in the browser.

    Keys: J good, F bad, Space can't tell, U undo. Nobody, the page's server included, knows which arm wrote what
    until `finetrial unblind`.
    """
    from finetrial.judging.grading_session import GradingSession

    names = rater or []
    if shape is not None and save is None:
        raise UserError("--as says how --save writes", fix="Give --save FILE as well.")
    wishes = _Wishes(criterion, prompts, raters, repeats, references, scale)
    folder = _folder(trial, out=out, wishes=wishes)
    mode: Mode = "pairs" if pairs else "single"
    asked = (bool(imports), export is not None, save is not None, progress, new_browser is not None)
    if any(asked):
        if as_json and sum(asked) > 1:
            raise UserError(
                "--json prints one object",
                fix="Give one of --import, --export, --save, --progress and --new-browser at a time.",
            )
        session = GradingSession(folder)
        try:
            if imports:
                _import(session, imports, as_json=as_json)
            if export is not None:
                _export(
                    session,
                    export,
                    names=names,
                    raters=raters or session.settings.raters,
                    mode=mode,
                    as_json=as_json,
                )
            if new_browser is not None:
                _let_in(session, new_browser, as_json=as_json)
            if progress:
                _progress(session, mode=mode, as_json=as_json)
        finally:
            session.close()
        if save is not None:
            _save(folder, save, shape=shape, as_json=as_json)
        return
    _serve(
        folder,
        mode=mode,
        raters=tuple(names),
        host=host,
        port=port,
        password=password,
        open_page=not no_open,
        as_json=as_json,
    )


def _save(folder: TrialFolder, path: Path, *, shape: str | None, as_json: bool) -> None:
    from finetrial.judging.export_grades import Shape, save_grades

    chosen = shape or path.suffix.removeprefix(".").lower()
    if chosen not in SHAPES:
        raise unknown_name("shape", chosen, SHAPES)
    written = save_grades(folder, path, shape=Shape(chosen))
    if as_json:
        print_json(written)
    else:
        extra = f"; {written.left_out} left out (even votes, or nobody could tell)" if written.left_out else ""
        print(f"{written.path}: {written.rows} rows{extra}")
