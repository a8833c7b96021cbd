"""Arms are compared fairly: rates found by one rule on the validation split, several seeds, refusals beforehand."""

import importlib.util
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_trials import Lines, make_base

from finetrial.errors import MissingPackage, UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.store.grade_key import read_key
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, TrainingPoint, read_object, read_rows
from finetrial.store.search import TriedRate, read_search
from finetrial.trial.examples import Splits
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import HERE
from finetrial.workflow.rate_grid import SEARCH, best_rate, first_rates, more_rates
from finetrial.workflow.rate_search import found_rate
from finetrial.workflow.run import run_trial, tune_arms
from finetrial.workflow.tune_step import tuning_steps
from finetrial.workflow.walk import step_states

TRIAL = """\
trial: fair
model: ./model
data:
  source: {train: rows.jsonl, heldout: heldout.jsonl}
  template: "{prompt}\\nTL;DR:"
  max_tokens: 64
  validation: 8
arms:
  base:
  full: {method: full}
  lora: {method: lora, rank: 2}
training: {epochs: 5, batch_tokens: 256, precision: float32, evaluations: 2}
sampling: {prompts: 4, per_prompt: 2, max_new_tokens: 4}
judging: {grade_prompts: 2}
"""
CUDA = torch.cuda.is_available()


def tune(context):
    """Tune the arms in this process; the arms that failed."""
    with HERE.open(context) as session:
        return tune_arms(context, session=session)


def is_tuned(context, arm):
    return not step_states(tuning_steps(context, arm), manifest=context.manifest).to_run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fair")
    make_base(folder, heldout=True)
    (folder / "fair.yaml").write_text(TRIAL)
    return folder


def opened(base, folder, *overrides, only=None, listener=None, **setting) -> TrialContext:
    loaded = load_trial(base / "fair.yaml", overrides=overrides)
    context = TrialContext(loaded, TrialFolder(folder), listener=listener or Lines(), only=only, **setting)
    context.open()
    return context


def tuned(base, folder, *overrides, **setting) -> TrialContext:
    context = opened(base, folder, *overrides, **setting)
    assert tune(context) == {}
    return context


# -- the rule


def tried(**losses: float | None) -> list[TriedRate]:
    return [TriedRate(float(rate[1:]), loss, None, 100, 1.0) for rate, loss in losses.items()]


def test_the_grid_is_five_rates_half_a_decade_apart_around_the_default():
    assert first_rates(1e-4) == (1e-5, 3.2e-5, 1e-4, 3.2e-4, 1e-3)


def test_the_lowest_validation_loss_decides_and_of_equal_ones_the_lower_rate():
    assert best_rate(tried(r3=2.0, r1=2.5, r2=2.0)) == 2
    assert best_rate(tried(r1=None, r2=9.0)) == 2, "a rate that diverged is not the best"
    assert best_rate(tried(r1=None)) is None


def test_the_grid_is_widened_by_two_beyond_the_edge_the_best_lies_on_and_only_once():
    grid = first_rates(1e-4)
    falling = [TriedRate(rate, -rate, None, 100, 1.0) for rate in grid]
    assert more_rates(1e-4, tried=falling) == (3.2e-3, 1e-2)
    again = [*falling, TriedRate(3.2e-3, -1.0, None, 100, 1.0), TriedRate(1e-2, -2.0, None, 100, 1.0)]
    assert more_rates(1e-4, tried=again) == (3.2e-3, 1e-2), "the new edge adds no further rates"
    rising = [TriedRate(rate, rate, None, 100, 1.0) for rate in grid]
    assert more_rates(1e-4, tried=rising) == (3.2e-6, 1e-6)
    inside = [TriedRate(rate, abs(rate - 1e-4), None, 100, 1.0) for rate in grid]
    assert more_rates(1e-4, tried=inside) == ()


def test_each_rate_takes_a_tenth_of_a_long_run_and_25_steps_of_a_short_one():
    assert SEARCH.rates == len(first_rates(1e-3)) == 5
    assert [SEARCH.share_of(steps) for steps in (1000, 250, 50, 10)] == [0.1, 0.1, 0.5, 1.0]


# -- a search


@pytest.fixture(scope="module")
def timed(base):
    """A trial whose rates were searched, and the seconds that all of it took."""
    began = time.monotonic()
    context = tuned(base, base / "searched", "training.learning_rate=auto")
    return context, time.monotonic() - began


@pytest.fixture(scope="module")
def searched(timed):
    return timed[0]


def test_every_arm_is_searched_by_the_same_rule_and_tuned_at_what_was_found(searched):
    searches = {arm: read_search(searched.folder.search(arm)) for arm in ("full", "lora")}
    # width 32 is below the rules' ceilings: 1e-3 for full tuning, ten times that for LoRA (training/optimizer.py)
    assert [searches[arm].start for arm in ("full", "lora")] == [1e-3, 1e-2]
    # five epochs of 62 rows make some 31 steps; 25 of them are the least
    assert 0.7 < searches["full"].share == searches["lora"].share < 0.9
    assert 25 <= searches["full"].steps == searches["lora"].steps <= 26
    for arm, search in searches.items():
        rates = [row.learning_rate for row in search.tried]
        assert rates[:5] == list(first_rates(search.start)) and len(set(rates)) == len(rates) in (5, 7)
        losses = {row.learning_rate: row.validation_loss for row in search.tried}
        assert losses[search.chosen] == min(loss for loss in losses.values() if loss is not None)
        measured = read_object(searched.folder.measured(arm), Measured)
        assert measured.learning_rate == search.chosen
        assert not (searched.folder.arm(arm) / "search").exists(), "the short runs leave nothing but their losses"


def test_the_time_of_a_search_is_no_part_of_the_tuning_time(timed):
    context, whole_seconds = timed
    searches = [read_search(context.folder.search(arm)).seconds for arm in ("full", "lora")]
    tunings = [read_object(context.folder.measured(arm), Measured).tune_seconds for arm in ("full", "lora")]
    assert min(searches + tunings) > 0
    assert sum(searches) + sum(tunings) < whole_seconds
    # a search is five runs and more: were it counted as tuning, tuning would take longer than the search
    assert all(tuning < search for tuning, search in zip(tunings, searches, strict=True))


def test_a_second_run_searches_nothing_and_a_changed_rank_searches_that_arm_again(base, searched):
    before = {arm: searched.folder.search(arm).read_bytes() for arm in ("full", "lora")}
    tuned(base, base / "searched", "training.learning_rate=auto", listener=(again := Lines()))
    assert again.take() == ["full: tuned already", "lora: tuned already"]
    assert {arm: searched.folder.search(arm).read_bytes() for arm in before} == before
    changed = opened(base, base / "searched", "training.learning_rate=auto", "arms.lora.rank=1")
    assert found_rate(changed, "lora") is None and not is_tuned(changed, "lora")
    assert found_rate(changed, "full") == read_search(changed.folder.search("full")).chosen
    opened(base, base / "searched", "training.learning_rate=auto")  # the folder's trial file as it was


class Poison(tuple):
    """Held-out examples that nobody may look at."""

    def __iter__(self):
        raise AssertionError("the held-out split was read")

    __len__ = __getitem__ = __contains__ = __hash__ = __iter__


def test_search_and_early_stopping_never_read_the_held_out_split(base, searched, tmp_path):
    overrides = ["training.learning_rate=auto", "training.early_stopping=1", "training.evaluations=4"]
    poisoned = opened(base, tmp_path, *overrides, only=["full"])
    with pytest.raises(AssertionError, match="was read"):
        list(Poison())
    real = searched.splits
    poisoned.__dict__["splits"] = Splits(real.train, real.validation, Poison(), content_hash="poison")
    assert tune(poisoned) == {}
    one, other = (read_search(context.folder.search("full")) for context in (searched, poisoned))
    losses = [[(row.learning_rate, row.validation_loss) for row in search.tried] for search in (one, other)]
    assert losses[0] == losses[1] and len(losses[0]) >= 5 and one.chosen == other.chosen
    assert read_object(poisoned.folder.measured("full"), Measured).best_step is not None, "early stopping watched"


def test_other_held_out_rows_leave_the_arms_as_they_are(base, searched, tmp_path):
    for name in ("rows.jsonl", "fair.yaml"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    (tmp_path / "model").symlink_to(base / "model")
    rows = (base / "heldout.jsonl").read_text().splitlines()
    (tmp_path / "heldout.jsonl").write_text("\n".join(rows[1:]) + "\n")
    context = opened(tmp_path, base / "searched", "training.learning_rate=auto")
    assert context.splits.content_hash != searched.splits.content_hash
    assert is_tuned(context, "full") and is_tuned(context, "lora")
    opened(base, base / "searched", "training.learning_rate=auto")  # the folder's trial file as it was


class Stopping(Lines):
    """Presses Ctrl-C in the middle of a rate: the first, the second and so on."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate

    def step(self, label, *, done, total, detail="", seconds_left=None) -> None:
        self.labels = getattr(self, "labels", [])
        self.labels += [] if label in self.labels else [label]
        if len(self.labels) == self.rate and done == 7:
            os.kill(os.getpid(), signal.SIGINT)


class Steps(Lines):
    """Remembers the first step it hears of under each label."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, float] = {}

    def step(self, label, *, done, total, detail="", seconds_left=None) -> None:
        self.first.setdefault(label, done)


@pytest.mark.parametrize("rate", [1, 3])
def test_an_interrupted_search_goes_on_in_the_middle_of_its_rate(rate, base, searched, tmp_path):
    context = opened(base, tmp_path, "training.learning_rate=auto", only=["full"], listener=Stopping(rate))
    with pytest.raises(KeyboardInterrupt):
        tune(context)
    stopped = read_search(context.folder.search("full"))
    assert len(stopped.tried) == rate - 1 and stopped.chosen is None
    tuned(base, tmp_path, "training.learning_rate=auto", only=["full"], listener=(steps := Steps()))
    finished, whole = read_search(context.folder.search("full")), read_search(searched.folder.search("full"))
    assert finished.tried[: rate - 1] == stopped.tried, "what was done is not done again"
    assert next(iter(steps.first.values())) == 8, "the rate goes on after its seventh step"
    assert [(row.learning_rate, row.validation_loss) for row in finished.tried] == [
        (row.learning_rate, row.validation_loss) for row in whole.tried
    ]


def test_a_rate_that_diverges_is_written_down_and_not_chosen(base, tmp_path):
    # The last layer norm at 30 makes hidden states of squared length 30^2 x 32 = 28,800. A plain SGD step at 1e-2,
    # the largest rate of the grid, then moves a logit by up to 288, at 1e-4, the smallest, by 3.
    wild = tmp_path / "wild"
    wild.mkdir()
    make_base(wild, heldout=True)
    weights = load_file(wild / "model" / "model.safetensors")
    weights["transformer.ln_f.weight"] *= 30
    save_file(weights, wild / "model" / "model.safetensors", metadata={"format": "pt"})
    (wild / "fair.yaml").write_text(TRIAL)
    overrides = ["training.learning_rate=auto", "training.clip=null", "training.optimizer=sgd"]
    context = tuned(wild, tmp_path / "run", *overrides, only=["full"])
    search = read_search(context.folder.search("full"))
    stopped = [row for row in search.tried if row.validation_loss is None]
    assert stopped and all("loss" in row.stopped for row in stopped)
    assert search.chosen not in {row.learning_rate for row in stopped}


# -- rates that nobody chose


def warned(base, folder, *overrides) -> list[str]:
    context = opened(base, folder, *overrides)
    run_trial(context)
    return [w.text for w in trial_findings(context.folder).verdict_warnings if w.kind == "untuned_rate"]


def test_the_report_warns_of_rates_neither_searched_nor_given_and_shows_a_search(base, searched, tmp_path):
    (warning,) = warned(base, tmp_path / "default", "arms.lora.learning_rate=1e-2", "training.epochs=1")
    assert "full" in warning and "lora" not in warning and "neither searched nor given" in warning
    assert warned(base, base / "searched", "training.learning_rate=auto") == []
    page = (base / "searched" / "report" / "index.html").read_text()
    assert "The search for learning rates" in page
    results = json.loads((base / "searched" / "report" / "results.json").read_text())
    search = read_search(searched.folder.search("lora"))
    assert results["arms"]["lora"]["search"]["chosen"] == search.chosen
    assert len(results["arms"]["lora"]["search"]["tried"]) == len(search.tried)
    assert "arms/lora/search.json" in results["hashes"]
    # what the search took is measured, and counts in what its arm costs; a request's cost is of every arm
    measured = read_object(searched.folder.measured("lora"), Measured)
    assert (measured.search_seconds, measured.search_flops) == (search.seconds, search.flops)
    cost = results["costs"]["arms"]["lora"]
    evaluated = measured.evaluation_flops or 0.0
    assert cost["tuning_flops"] == pytest.approx(measured.flops_total + evaluated + search.flops)
    assert results["costs"]["basis"] == "tuning plus 1,000 requests, in FLOPs"
    samples = results["costs"]["arms"]
    assert all(row["request_flops"] > 0 and row["request_prompt_tokens"] > 1 for row in samples.values())


# -- several seeds


def weights(context: TrialContext, name: str) -> bytes:
    return next(context.folder.arm(name).glob("*.safetensors")).read_bytes()


def test_seeds_are_training_runs_whose_spread_is_reported(base, tmp_path):
    rates = ["arms.full.learning_rate=3e-3", "arms.lora.learning_rate=1e-2", "training.epochs=1"]
    once = opened(base, tmp_path, *rates)
    run_trial(once)
    first = {arm: weights(once, arm) for arm in ("full", "lora")}
    context = opened(base, tmp_path, *rates, "training.seeds=3", listener=(lines := Lines()))
    done = run_trial(context)
    assert done.failures == {} and "full: tuned already" in lines.lines, "the first run has not changed"
    for arm in ("full", "lora"):
        runs = [weights(context, name) for name in (arm, f"{arm}@1", f"{arm}@2")]
        assert runs[0] == first[arm] and len(set(runs)) == 3
    samples = {arm: list(read_rows(context.folder.samples(arm), Sample)) for arm in ("base", "full", "lora")}
    assert [len(rows) for rows in samples.values()] == [8, 24, 24]
    assert {s.run for s in samples["base"]} == {None} and {s.run for s in samples["lora"]} == {0, 1, 2}
    ids = [s.id for rows in samples.values() for s in rows]
    assert len(set(ids)) == len(ids) == 56
    by_run = [{(s.prompt_id, s.index): s.seed for s in samples["lora"] if s.run == run} for run in range(3)]
    assert by_run[0] == by_run[1] == by_run[2], "runs are asked alike"
    questions = {(pair.a, pair.b) for pair in trial_findings(context.folder).pairs if pair.question == "retrained"}
    assert questions == {("base", "full"), ("base", "lora"), ("full", "lora")}
    results = json.loads((context.folder.report / "results.json").read_text())
    cell = results["metrics"]["rouge1"]["lora"]
    assert len(cell["runs"]) == 3 and cell["mean"] == pytest.approx(sum(cell["runs"]) / 3)
    assert len(results["arms"]["full"]["more_runs"]) == 2
    assert "3 runs: " in (context.folder.report / "report.md").read_text()
    graded = [s.sample_id for members in read_key(context.folder, open_grades=True).items.values() for s in members]
    assert graded and not any("@" in sample_id for sample_id in graded), "people grade the first run"


# -- what this machine lacks is said before anything is tuned


REFUSED = {
    "arms.lora.quantize=nf4": "quantize: nf4 needs a CUDA device",
    "training.optimizer=adamw8bit": "optimizer: adamw8bit needs a CUDA device",
    "arms.lora.precision=float16": "precision: float16 needs a CUDA device",
}


@pytest.mark.skipif(CUDA, reason="there is a CUDA device: nothing of this is refused")
@pytest.mark.parametrize("override", REFUSED)
def test_what_needs_a_gpu_is_refused_in_one_line_before_the_first_arm(override, base, tmp_path):
    with pytest.raises(UserError) as caught:
        tune(opened(base, tmp_path, override))
    assert REFUSED[override] in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "arms").exists(), "the full arm, which could be tuned, waits too"


def absent() -> Iterator[str]:
    return (name for name in ("wandb", "mlflow", "trackio") if importlib.util.find_spec(name) is None)


def test_a_tracker_that_is_not_installed_is_an_error_before_the_first_arm(base, tmp_path):
    name = next(absent(), None)
    if name is None:
        pytest.skip("every tracker is installed here: none can be missing")
    with pytest.raises(MissingPackage, match=f"pip install {name}"):
        tune(opened(base, tmp_path, f"training.trackers=[{name}]"))
    assert not (tmp_path / "arms").exists()


def test_tensorboard_gets_the_losses_of_metrics_jsonl(base, tmp_path):
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("TensorBoard is not installed: pip install tensorboard to see its curves tested")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    context = tuned(base, tmp_path, "training.trackers=[tensorboard]", "training.epochs=1", only=["full"])
    events = EventAccumulator(str(context.folder.curves / "full"))
    events.Reload()
    points = list(read_rows(context.folder.metrics("full"), TrainingPoint))
    for tag, field in (("loss/validation", "validation_loss"), ("loss/train", "train_loss")):
        sent = [(event.step, event.value) for event in events.Scalars(tag)]
        logged = [(p.step, getattr(p, field)) for p in points if getattr(p, field) is not None]
        assert [step for step, _ in sent] == [step for step, _ in logged] and len(sent) > 2
        assert [value for _, value in sent] == pytest.approx([value for _, value in logged], rel=1e-6)


# -- one base, the same bits


def test_several_lora_arms_read_their_base_once_and_become_what_each_becomes_alone(base, tmp_path):
    rates = ["training.learning_rate=1e-2", "training.epochs=1", "data.special_tokens=[<x>]"]
    dora = "arms.dora={method: lora, rank: 2, dora: true, dropout: 0.1}"
    context = tuned(base, tmp_path / "together", *rates, dora, only=["lora", "dora"])
    assert context.shared_base.loads == 1
    for arm in ("lora", "dora"):
        alone = tuned(base, tmp_path / arm, *rates, dora, only=[arm])
        assert weights(alone, arm) == weights(context, arm), arm


def test_deterministic_is_recorded_and_torch_is_left_as_it_was(base, tmp_path):
    rates = ["training.learning_rate=1e-2", "training.epochs=1"]
    context = tuned(base, tmp_path / "a", *rates, only=["lora"], deterministic=True)
    assert context.manifest.content["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()
    plain = tuned(base, tmp_path / "b", *rates, only=["lora"])
    assert plain.manifest.content["deterministic"] is None
    assert weights(plain, "lora") == weights(context, "lora"), "a CPU repeats itself anyway"
