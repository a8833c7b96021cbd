"""Where steps run is one file and one row: what another process does is what this one would have done."""

import pickle

import pytest
from installing import install
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.errors import AnswerIsNo, UserError, UserErrors
from finetrial.store.folder_lock import folder_lock
from finetrial.store.layout import TrialFolder
from finetrial.store.plan_record import Plan, PlanDevice
from finetrial.store.records import Sample, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executor_table import EXECUTORS, executor_at
from finetrial.workflow.ray_executor import threads_each
from finetrial.workflow.remote_log import LogWatch, LogWriter, read_events
from finetrial.workflow.remote_step import error_from, error_object, needs_of, order_of, run_order
from finetrial.workflow.trial_steps import trial_steps
from finetrial.workflow.walk import begin_step

TOY = '''"""Runs each step from its order alone, two begun at a time, the last begun first."""

import pickle
from contextlib import contextmanager

from finetrial.workflow.executors import Ended
from finetrial.workflow.remote_step import error_from, order_of, run_order


class Session:
    def __init__(self, context):
        self.context, self.begun = context, []

    @property
    def has_room(self):
        return len(self.begun) < 2

    def begin(self, step, *, inputs, left):
        self.begun.append((step, pickle.dumps(order_of(step, context=self.context, inputs=inputs))))

    def wait(self):
        step, order = self.begun.pop()
        error = run_order(pickle.loads(order), place="toy")
        return [Ended(step, None if error is None else error_from(error))]


class Backwards:
    name = "backwards"

    def at(self, address):
        return self

    @contextmanager
    def open(self, context):
        yield Session(context)


ADDED = Backwards()
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("executors")
    make_base(base)
    text = TRIAL.replace("  prompted: {shots: 1}\n", "").replace("per_prompt: 2", "per_prompt: 1")
    (base / "tiny.yaml").write_text(text)
    return base


def test_an_installed_executor_runs_the_steps_and_the_folder_is_that_of_one_process(base, tmp_path, monkeypatch):
    install(tmp_path, group="finetrial.executors", code=TOY, module="toy_executor")
    monkeypatch.syspath_prepend(str(tmp_path))
    there, here = (TrialFolder(base / name) for name in ("there", "here"))
    assert Trial.load(base / "tiny.yaml", folder=there.root).run(on="backwards", progress=False).failures == {}
    assert Trial.load(base / "tiny.yaml", folder=here.root).run(progress=False).failures == {}
    for arm in ("full", "lora"):
        files = [path.name for path in there.arm(arm).glob("*.safetensors")]
        assert files and all((there.arm(arm) / f).read_bytes() == (here.arm(arm) / f).read_bytes() for f in files)
    for arm in ("base", "full", "lora"):
        texts = [[row.text for row in read_rows(folder.samples(arm), Sample)] for folder in (there, here)]
        assert texts[0] == texts[1]
        begun = [event["begin"] for event in read_events(there.log(f"sample:{arm}"))[0] if "begin" in event]
        assert begun == ["toy"]
    assert Trial.load(there.root).verify().holds
    lines = Lines()
    Trial.load(base / "tiny.yaml", folder=there.root).run(progress=lines)
    assert "lora: tuned already" in lines.take(), "what ran elsewhere is current here"


def ordered(base, folder, name, *, change=None):
    context = TrialContext(load_trial(base / "tiny.yaml"), folder, listener=Lines())
    context.open()
    step = next(step for step in trial_steps(context) if step.name == name)
    inputs = begin_step(step, manifest=context.manifest)
    return order_of(step, context=context, inputs=inputs | (change or {}), threads=1)


def test_a_machine_that_sees_other_data_refuses_the_step_and_names_what_differs(base, tmp_path):
    folder = TrialFolder(tmp_path / "run")
    error = run_order(ordered(base, folder, "tune:lora", change={"the data": "other"}), place="elsewhere")
    assert error["what"] == "the data is not the same there as where the run was started"
    assert not folder.arm("lora").joinpath("adapter_model.safetensors").exists()


def test_an_arm_that_a_lost_process_still_holds_is_waited_for_and_then_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr("finetrial.workflow.remote_step._LOCK_SECONDS", 0.5)
    folder = TrialFolder(tmp_path / "run")
    order = ordered(base, folder, "tune:lora")
    with folder_lock(folder.arm("lora")):
        assert "another run is at work" in run_order(order, place="elsewhere")["what"]
    assert run_order(order, place="elsewhere") is None


def test_errors_come_back_as_they_were():
    one = UserError("no", got=3, expected="4", fix="Do.")
    for error in (one, AnswerIsNo("does not fit", got="x"), UserErrors([one, UserError("two")])):
        back = error_from(pickle.loads(pickle.dumps(error_object(error))))
        assert type(back) is type(error) and str(back) == str(error)


def test_whoever_watches_hears_every_line_once_and_of_every_new_attempt(tmp_path):
    listener = Lines()
    watch = LogWatch(listener)
    path = tmp_path / "logs" / "tune-lora.jsonl"
    LogWriter(path, place="before").line("said before this run")
    watch.follow("tune:lora", path=path, subject="lora")
    writer = LogWriter(path, place="a")
    writer.line("one")
    watch.look()
    with path.open("a") as stream:
        stream.write('{"line": "ha')  # half a line is not there yet
    watch.look()
    with path.open("a") as stream:
        stream.write('lf"}\n')
    LogWriter(path, place="b").line("two")
    watch.forget("tune:lora")
    assert listener.lines[0] == "one" and listener.lines[1] == "half" and listener.lines[3] == "two"
    assert listener.lines[2].startswith("lora: begun again on ") and listener.lines[2].endswith("attempt 2")


@pytest.mark.parametrize(
    ("nodes", "arms", "threads"),
    [([4, 4], 2, 4), ([4, 4], 8, 1), ([4, 4], 3, 2), ([16, 2], 1, 2), ([0, 8], 2, 4), ([], 3, 1)],
)
def test_the_cores_of_a_step_are_shared_among_the_arms_and_stand_in_one_machine(nodes, arms, threads):
    assert threads_each([{"CPU": float(cores)} for cores in nodes], arms=arms) == threads


def test_a_step_asks_for_the_memory_or_the_share_of_a_card_that_the_plan_found(base, tmp_path):
    trial = Trial.load(base / "tiny.yaml", folder=tmp_path / "run")
    trial.run(arms=["base"], progress=False)
    context = TrialContext(trial.loaded, trial.folder, listener=Lines())
    step = next(step for step in trial_steps(context) if step.name == "sample:base")
    assert needs_of(context, step) == {}, "nothing is planned yet"
    from finetrial.store.plan_record import read_plan

    context.plan = read_plan(trial.folder.plan)
    assert isinstance(context.plan, Plan)
    needed = context.plan.arms["base"].memory.needed_bytes
    assert needs_of(context, step) == {"memory": needed}
    for held, share in ((4 * needed, 0.25), (int(needed / 0.6), 1.0), (100 * needed + 99, 0.01)):
        device = PlanDevice(name="card", kind="cuda", is_here=True, memory_bytes=held, disk_free_bytes=None)
        object.__setattr__(context.plan, "device", device)
        assert needs_of(context, step) == {"num_gpus": share}


def test_a_place_is_found_by_its_name_and_a_wrong_one_is_said():
    assert [executor.name for executor in EXECUTORS] == ["here", "ray", "slurm"]
    assert executor_at("ray://head:10001").address == "ray://head:10001"
    with pytest.raises(UserError, match="Did you mean 'ray'"):
        executor_at("rya")
    with pytest.raises(UserError, match="--on here has no address"):
        executor_at("here://x")
