"""`--together` is a way of running: the same steps, files and answers as arm by arm."""

import json

import pytest
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.store.search import read_search
from finetrial.training.side_by_side import tune_together
from finetrial.workflow import together_session
from finetrial.workflow.processes import leading

ARMS = """\
arms:
  base:
  full: {method: full, learning_rate: 3e-3}
  a: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}
  b: {method: lora, rank: 5, targets: [all-linear], learning_rate: 3e-3}
  dropped: {method: lora, rank: 2, targets: [q], dropout: 0.1, learning_rate: 1e-2}
  searched: {method: lora, rank: 3, targets: [q, v], learning_rate: auto}
"""


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """The folder of the trial run arm by arm, that of it run together, and what was said of the second."""
    base = tmp_path_factory.mktemp("ways")
    make_base(base)
    before, _, after = TRIAL.partition("arms:\n")
    text = before + ARMS + after[after.index("training:") :]
    (base / "tiny.yaml").write_text(text.replace("per_prompt: 2", "per_prompt: 1"))
    folders, said = [TrialFolder(base / name) for name in ("one", "together")], Lines()
    assert Trial.load(base / "tiny.yaml", folder=folders[0].root).run(progress=Lines()).failures == {}
    done = Trial.load(base / "tiny.yaml", folder=folders[1].root).run(progress=said, together=True)
    assert done.failures == {}
    return *folders, said.lines


def test_every_arm_answers_as_it_does_when_tuned_alone(ways):
    one, together, _ = ways
    for arm in ("a", "b", "searched", "full", "dropped"):
        texts = [[s.text for s in read_rows(folder.samples(arm), Sample)] for folder in (one, together)]
        assert texts[0] == texts[1] and len(texts[0]) == 6
        losses = [read_object(folder.measured(arm), Measured).validation_loss for folder in (one, together)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_steps_have_the_same_inputs_so_that_either_way_is_current_for_the_other(ways):
    one, together, _ = ways
    steps = [json.loads(folder.manifest.read_text())["steps"] for folder in (one, together)]
    assert steps[0].keys() == steps[1].keys()
    assert all(steps[0][name]["inputs"] == steps[1][name]["inputs"] for name in steps[0] if name.startswith("tune"))
    lines = Lines()
    Trial.load(together.root).tune(progress=lines)
    assert {f"{arm}: tuned already" for arm in ("a", "b", "full", "dropped", "searched")} <= set(lines.lines)


def test_the_records_say_which_arms_went_together(ways):
    one, together, said = ways
    manifest = json.loads(together.manifest.read_text())
    assert manifest["together"] == [["a", "b", "searched"]]
    assert "together" not in json.loads(one.manifest.read_text())
    found = {arm: read_object(together.measured(arm), Measured).together for arm in ("a", "b", "dropped")}
    assert found == {"a": ("a", "b", "searched"), "b": ("a", "b", "searched"), "dropped": None}
    assert sum(line.startswith("a, b and searched:") for line in said) == 1, said


def test_a_search_finds_the_same_rate(ways):
    found = [read_search(folder.search("searched")) for folder in ways[:2]]
    assert found[0].chosen == found[1].chosen
    rates = [[row.learning_rate for row in search.tried] for search in found]
    assert rates[0] == rates[1] and len(rates[0]) >= 5
    # beyond the best rate steps are so long that rounding grows with every one
    stable = [
        (a, b) for a, b in zip(found[0].tried, found[1].tried, strict=True) if a.learning_rate <= found[0].chosen
    ]
    assert len(stable) >= 5
    for row, other in stable:
        assert row.validation_loss == pytest.approx(other.validation_loss, abs=1e-5)


def test_an_arm_that_is_tuned_again_alone_is_in_no_group(ways):
    # a's rate changes: it is tuned alone, and the others' record stands
    _, together, _ = ways
    Trial.load(together.root, overrides=["arms.a.learning_rate=0.02"]).tune(arms=["a"], progress=Lines())
    assert json.loads(together.manifest.read_text())["together"] == [["b", "searched"]]
    assert read_object(together.measured("a"), Measured).together is None


def test_where_the_model_does_not_let_rows_be_told_apart_arms_go_one_by_one(ways, tmp_path, monkeypatch):
    one = ways[0]

    def refused(tasks, base, **hears):
        raise together_session.CannotShare("its attention is strange")

    monkeypatch.setattr(together_session, "tune_together", refused)
    lines = Lines()
    trial = Trial.load(one.root.parent / "tiny.yaml", folder=tmp_path / "refused")
    assert trial.tune(arms=["a", "b"], progress=lines, together=True) == {}
    assert "a and b: one by one, because its attention is strange" in lines.lines
    assert tune_together is not refused and not lines.lines[-1].startswith("a:")


def test_other_places_are_refused():
    with pytest.raises(UserError, match="--together tunes arms in one process"), leading("ray", together=True):
        pass
