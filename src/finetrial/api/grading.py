"""Grade blind from Python: serve the page beside a notebook, and open the key when grading is over."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

from finetrial.errors import MissingPackage, UserError
from finetrial.store.grades import GradingState, grading_state
from finetrial.store.layout import TrialFolder
from finetrial.workflow.stopping_watch import watching

if TYPE_CHECKING:
    from finetrial.judging.server import Address
    from finetrial.judging.unblinding import Unblinded


class GradingPage:
    """A grading page that is being served; `stop()` ends it."""

    def __init__(self, address: Address, *, stop: Callable[[], None]) -> None:
        self.address = address
        self._stop = stop

    @property
    def url(self) -> str:
        """Where a browser on this machine opens the page; the address is secret."""
        return self.address.url

    def stop(self) -> None:
        """Stop serving; does nothing where it has stopped. Grades are on the disk already."""
        self._stop()

    def __repr__(self) -> str:
        return f"<GradingPage {self.url}>"

    def _repr_html_(self) -> str:
        return f'<p>Grade here: <a href="{self.url}" target="_blank" rel="noreferrer">{self.url}</a></p>'


def serve_page(
    folder: TrialFolder, *, raters: tuple[str, ...], pairs: bool, port: int | None, open_browser: bool
) -> GradingPage:
    """Serve the page on this machine from a thread of its own. Raises UserError where nothing can be graded."""
    try:
        from finetrial.judging.server import serve
    except ImportError as error:
        raise MissingPackage(error.name or "starlette", extra="grade", purpose="the grading page") from None
    done, until = threading.Event(), threading.Event()
    addresses: list[Address] = []
    faults: list[BaseException] = []

    def ready(address: Address) -> None:
        addresses.append(address)
        done.set()

    def work() -> None:  # the database is opened, used and closed in this thread
        try:
            with watching(folder):
                serve(
                    folder,
                    port=port,
                    mode="pairs" if pairs else "single",
                    raters=raters,
                    on_ready=ready,
                    until=until,
                )
        except BaseException as error:
            faults.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="finetrial grading page", daemon=True)
    thread.start()
    done.wait()
    if not addresses:
        raise faults[0]
    if open_browser:
        webbrowser.open(addresses[0].url)

    def stop() -> None:
        until.set()
        thread.join()

    return GradingPage(addresses[0], stop=stop)


def check_graded(folder: TrialFolder) -> GradingState:
    """Where the grading stands. Raises UserError where there is nothing to unblind."""
    state = grading_state(folder)
    if state.settings is None:
        raise UserError(
            f"nothing was set aside for grading in {folder.root}",
            fix="`finetrial run` or `finetrial grade` does it.",
        )
    if state.locked_at is None and not state.events:
        raise UserError(
            f"nobody has graded anything in {folder.root} yet, and after unblinding nobody could",
            fix="`finetrial grade` opens the page; `finetrial report --open` shows the texts ungraded.",
        )
    return state


def check_lockable(folder: TrialFolder) -> None:
    """Raises UserError where items, key or grades do not fit the samples: what is locked cannot be mended."""
    from finetrial.evidence.trial_findings import read_samples
    from finetrial.reporting.verify.grading_records import check_grading
    from finetrial.reporting.verify.tally import Tally
    from finetrial.trial.trial_file import load_trial

    tally, trial = Tally(), load_trial(folder.root).trial
    check_grading(folder, trial, read_samples(folder, arms=tuple(trial.arms)), tally=tally)
    if tally.mismatches:
        first = tally.mismatches[0]
        more = f", and {len(tally.mismatches) - 1} more" if len(tally.mismatches) > 1 else ""
        raise UserError(
            f"nothing was locked: {first.what} is not what the samples give{more}",
            got=first.reported or "nothing",
            expected=first.recomputed or "nothing",
            fix="Restore the file from a copy. `finetrial verify` lists every difference.",
        )


def unblind(folder: TrialFolder) -> Unblinded:
    """Lock the grades for good, open the key, and read what the grades say; again, the same.

    Key, items and grades are checked before anything is locked. Raises UserError where they do not fit.
    """
    state = check_graded(folder)
    if state.locked_at is None:
        check_lockable(folder)
    from finetrial.judging.unblinding import lock, unblinded
    from finetrial.store.lock_record import read_lock_record, write_lock_record
    from finetrial.store.manifest import Manifest

    newly = lock(folder)
    held = read_lock_record(folder)
    if newly or held is None or held["grading"] is None:  # the report's, from before anybody graded
        digest = write_lock_record(folder)
        Manifest(folder.manifest).describe({"lock_sha256": digest})
    return unblinded(folder, newly_locked=newly)
