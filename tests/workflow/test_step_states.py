"""The plan of a trial: what is current, what must run again, and which changed input makes it."""

import pytest

from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_value
from finetrial.store.manifest import Manifest, StepRecord
from finetrial.workflow.step_states import Candidate, states_in_order, step_state


def hashed(**inputs):
    return {name: hash_value(value) for name, value in inputs.items()}


def test_a_step_is_current_until_an_input_or_an_output_changes(tmp_path):
    manifest, out = Manifest(tmp_path / "manifest.json"), tmp_path / "arms" / "w.bin"

    def state(**inputs):
        candidate = Candidate(name="tune:a", inputs=hashed(**inputs))
        again = Manifest(tmp_path / "manifest.json")
        return step_state(candidate, record=again.records.get("tune:a"), file_hash=again.file_hash)

    assert state(rank=4).reason == "not done yet"
    atomic_text(out, "weights")
    manifest.finish("tune:a", inputs=hashed(rank=4, data="h"), outputs=[out])
    assert state(data="h", rank=4).current
    assert state(data="h", rank=4, dora=None).current, "an input that is not there is one that is None"
    assert state(data="h", rank=8).reason == "rank changed"
    assert state(data="h").reason == "rank changed"
    atomic_text(out, "other")
    assert state(data="h", rank=4).reason == "arms/w.bin was changed by hand"
    out.unlink()
    assert state(data="h", rank=4).reason == "arms/w.bin is missing"


STEPS = {
    # step -> the steps whose files it reads, and one input of its own
    "check": ((), None),
    "search:lora": ((), "arms.lora.rank"),
    "tune:lora": (("search:lora",), "arms.lora.rank"),
    "tune:full": ((), "training.epochs"),
    "sample:lora": (("tune:lora",), "sampling.seed"),
    "sample:full": (("tune:full",), "sampling.seed"),
    "score": (("sample:lora", "sample:full"), "judging.metrics"),
    "report": (("score",), None),
}
FILES = {f"{name}.out": "content" for name in STEPS}


def planned(*, changed=(), missing=(), undone=()):
    """The plan of a trial that was run once, and of which these inputs have changed and these files are gone."""
    records, steps = {}, []
    for name, (after, key) in STEPS.items():
        if key is not None and name not in undone:
            records[name] = StepRecord({key: "before"}, {f"{name}.out": "content"})
        now = {} if key is None else {key: "now" if key in changed else "before"}
        steps.append(Candidate(name=name, inputs=now, after=after, recorded=key is not None))
    files = {name: content for name, content in FILES.items() if name not in missing}
    return states_in_order(steps, records=records, file_hash=files.get)


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ([], []),
        (["judging.metrics"], ["score"]),
        (["sampling.seed"], ["sample:lora", "sample:full", "score"]),
        (["training.epochs"], ["tune:full", "sample:full", "score"]),
        (["arms.lora.rank"], ["search:lora", "tune:lora", "sample:lora", "score"]),
    ],
)
def test_a_changed_input_names_what_it_makes_run_again(changed, again):
    found = planned(changed=changed)
    assert [name for name in found.to_run if name not in ("check", "report")] == again
    assert {"check", "report"} <= set(found.to_run), "these run every time"
    reported = [*again, "report"] if again else []
    assert found.invalidated == {key: tuple(reported) for key in changed}


def test_each_of_two_changes_names_its_own_steps_and_those_behind_them():
    found = planned(changed=["training.epochs", "judging.metrics"])
    assert found.invalidated == {
        "training.epochs": ("tune:full", "sample:full", "score", "report"),
        "judging.metrics": ("score", "report"),
    }
    assert found.states["tune:full"].reason == "training.epochs changed"
    assert found.states["sample:full"].reason == "tune:full runs first"
    assert found.states["score"].reason == "judging.metrics changed", "its own reason comes before others'"


def test_a_missing_file_is_a_cause_and_a_step_that_was_never_done_is_none():
    found = planned(missing=["tune:full.out"], undone=["sample:lora"])
    assert found.invalidated == {"tune:full.out": ("tune:full", "sample:full", "score", "report")}
    assert found.states["sample:lora"].reason == "not done yet" and found.states["tune:lora"].current


def test_a_step_whose_inputs_cannot_be_told_yet_is_not_current():
    step = Candidate(name="sample:lora", inputs=None)
    state = step_state(step, record=StepRecord({"seed": "x"}, {}), file_hash=lambda name: None)
    assert not state.current and state.reason is None
