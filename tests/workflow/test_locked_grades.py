"""Once grades are locked, a trial that would give other samples is refused before anything is tuned."""

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.errors import UserError
from finetrial.judging.events import GradeBook
from finetrial.store.layout import TrialFolder
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial, tune_trial

SMALL = TRIAL.replace("  prompted: {shots: 1}\n", "").replace("  full: {method: full, learning_rate: 3e-3}\n", "")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A trial whose rank was changed and changed back before the grades were locked."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("locked")
    make_base(base)
    (base / "tiny.yaml").write_text(SMALL)
    folder = TrialFolder(base / "runs" / "tiny")
    for overrides in (["arms.lora.rank=4"], []):
        run_trial(context(base, folder, *overrides))
    book = GradeBook(folder.grades)
    book.lock()
    book.close()
    return base, folder


def context(base, folder, *overrides):
    loaded = load_trial(base / "tiny.yaml", overrides=overrides)
    return TrialContext(loaded, folder, listener=Lines())


def contents(folder):
    parts = [p for name in ("arms", "samples", "kept") for p in sorted((folder.root / name).rglob("*"))]
    return {path: path.read_bytes() for path in parts if path.is_file()}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["arms.lora.rank=8"], "arm lora: arms.lora.rank changed"),
        (["sampling.temperature=0.5"], "arm base: sampling.temperature changed"),
        (["training.epochs=3"], "arm lora: training.epochs changed"),
        (["judging.criterion=Good is short."], "judging.criterion changed"),
        (["arms.other.method=lora", "arms.other.learning_rate=1e-2"], "arm other was not sampled"),
    ],
)
def test_a_changed_trial_is_refused_before_it_is_tuned_and_by_check(graded, overrides, named):
    base, folder = graded
    before = contents(folder)
    for walk in (run_trial, tune_trial):
        with pytest.raises(UserError, match="are locked") as refused:
            walk(context(base, folder, *overrides))
        assert named in str(refused.value)
    assert contents(folder) == before
    found = Trial.load(base / "tiny.yaml", overrides=overrides).check()
    assert found.error is not None and named in str(found.error)


def test_the_same_trial_goes_on_and_what_is_missing_is_made_again(graded):
    base, folder = graded
    assert Trial.load(base / "tiny.yaml").check().error is None
    samples = folder.samples("lora").read_bytes()
    folder.samples("lora").unlink()
    done = run_trial(context(base, folder))
    assert done.failures == {} and folder.samples("lora").read_bytes() != b""
    texts = [line.split(b'"seconds"')[0] for line in folder.samples("lora").read_bytes().splitlines()]
    assert texts == [line.split(b'"seconds"')[0] for line in samples.splitlines()]


def test_what_is_only_reported_may_change_after_the_lock(graded):
    base, folder = graded
    assert run_trial(context(base, folder, "report.title=Another title")).failures == {}


def test_another_folder_has_no_locked_grades(graded, tmp_path):
    base, _ = graded
    assert run_trial(context(base, TrialFolder(tmp_path / "b"), "arms.lora.rank=8")).failures == {}
