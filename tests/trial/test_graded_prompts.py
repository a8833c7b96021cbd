"""How many prompts people grade where the trial file leaves it to `auto`."""

from dataclasses import replace

import pytest
import yaml
from grading_material import distinct_samples

from finetrial.errors import UserError
from finetrial.evidence.pilot import pilot_spread
from finetrial.judging.blinding import write_items
from finetrial.judging.grading_session import GradingSession
from finetrial.stats.power import Spread
from finetrial.stats.sample_size import sample_size
from finetrial.store.layout import TrialFolder
from finetrial.store.records import write_rows
from finetrial.trial.graded_prompts import choose_graded_prompts, graded_prompts, settled_judging
from finetrial.trial.schema import Judging
from finetrial.trial.subset import flipped_prompts, unit_name

AUTO = Judging(grade_prompts="auto")


def test_two_arms_with_one_sample_each_at_even_odds():
    # (1.95996 + 0.84162)^2 (0.25 + 0.25) / 0.2^2 = 7.8489 x 12.5 = 98.1
    assert sample_size(arms=2, per_prompt=1).needed.prompts == 99
    assert choose_graded_prompts(AUTO, arms=2, per_prompt=1, sampled=200, units=200).prompts == 99


def test_every_pair_of_three_arms_is_held_against_a_third_of_alpha():
    # alpha .05 / 3: (2.39398 + 0.84162)^2 = 10.469; (0.25 + 0.25) / 3 / 0.04 = 4.1667; product 43.6
    chosen = choose_graded_prompts(AUTO, arms=3, per_prompt=3, sampled=100, units=100)
    assert (chosen.prompts, chosen.needed) == (44, 44)
    assert chosen.assumption == "answers at even odds, prompts alike"


def test_a_smaller_difference_takes_more_and_never_more_than_are_sampled():
    # 43.6 / (0.1 / 0.2)^2 = 174.5
    finer = Judging(grade_prompts="auto", difference=0.1)
    chosen = choose_graded_prompts(finer, arms=3, per_prompt=3, sampled=100, units=100)
    assert (chosen.prompts, chosen.needed) == (100, 175)


def test_where_two_prompts_are_one_unit_twice_as_many_are_graded():
    assert choose_graded_prompts(AUTO, arms=3, per_prompt=3, sampled=100, units=50).prompts == 88


def test_a_pilots_variance_takes_the_place_of_the_assumption_and_is_named():
    pilot = Spread(between=0.01, within_a=0.0, within_b=0.0, samples=1, n_prompts=40)
    finer = Judging(grade_prompts="auto", difference=0.1)
    found = choose_graded_prompts(finer, arms=2, per_prompt=1, sampled=100, units=100, pilot=pilot)
    assert found.prompts == 8  # 7.849 x 0.01 / 0.01, and no fewer than 6
    assert "40 prompts" in found.assumption


def test_one_arm_alone_compares_nothing():
    assert sample_size(arms=1, per_prompt=3).needed is None
    assert choose_graded_prompts(AUTO, arms=1, per_prompt=3, sampled=100, units=100).prompts == 5


def test_the_manifest_says_what_auto_came_to_and_a_number_is_its_own():
    chosen = choose_graded_prompts(AUTO, arms=3, per_prompt=3, sampled=100, units=100)
    manifest = {"resolved": {"base": {}, "judging.grade_prompts": chosen.as_dict()}}
    assert graded_prompts(AUTO, manifest=manifest) == settled_judging(AUTO, manifest=manifest).grade_prompts == 44
    assert graded_prompts(Judging(grade_prompts=7), manifest=manifest) == 7


def pilot_folder(root, *, grades, locked=True):
    """Two arms and two prompts, two samples each, graded as `grades` says by arm and prompt."""
    samples = [
        replace(row, text=f"{row.arm} {row.prompt_id} {row.index}")
        for row in distinct_samples(prompts=2, arms=("base", "lora"), per_prompt=2)
    ]
    folder = TrialFolder(root)
    root.mkdir(parents=True)
    trial = {"trial": "pilot", "model": "starter", "data": {"source": "rows.jsonl"}}
    folder.trial.write_text(yaml.safe_dump(trial | {"arms": {"base": {}, "lora": {"method": "lora"}}}))
    for arm in ("base", "lora"):
        write_rows(folder.samples(arm), [row for row in samples if row.arm == arm])
    write_items(folder, samples, judging=Judging(grade_prompts=2), seed=0, title="pilot")
    of = {row.text: (row.arm, row.prompt_id) for row in samples}
    session = GradingSession(folder)
    session.book.join("Anna")
    for n, item in enumerate(session.items.values()):
        event = {"uid": f"a-{n:06}", "kind": "grade", "item_id": item.item_id, "value": grades[of[item.text]]}
        session.record(event, rater="Anna")
    if locked:
        session.book.lock()
    session.close()
    return root


def test_a_graded_trial_is_a_pilot_and_one_that_is_not_locked_is_refused(tmp_path):
    grades = {("base", "p0"): "bad", ("lora", "p0"): "good", ("base", "p1"): "good", ("lora", "p1"): "good"}
    spread = pilot_spread(pilot_folder(tmp_path / "pilot", grades=grades))
    # differences -1 and 0: variance 1/2; samples of a prompt are alike
    assert (spread.between, spread.within_a, spread.within_b, spread.n_prompts) == (0.5, 0.0, 0.0, 2)
    with pytest.raises(UserError, match="locked"):
        pilot_spread(pilot_folder(tmp_path / "open", grades=grades, locked=False))
    with pytest.raises(UserError, match="folder of a trial"):
        pilot_spread(tmp_path)


def test_a_coin_decides_over_each_unit_by_itself():
    units = {f"p{n}": unit_name(f"p{n}", group=None if n % 3 else f"g{n // 30}") for n in range(3_000)}
    chosen = flipped_prompts(units, share=0.3, seed=4)
    of_units = {units[prompt] for prompt in chosen}
    assert 0.27 < len(of_units) / len(set(units.values())) < 0.33
    assert chosen == {prompt for prompt, unit in units.items() if unit in of_units}, "a group is chosen whole"
    half = dict(list(units.items())[:1_500])
    assert flipped_prompts(half, share=0.3, seed=4) == chosen & set(half), "other prompts move no coin"
    assert flipped_prompts(units, share=1.0, seed=4) == set(units) and not flipped_prompts(units, share=0.0, seed=4)
    assert chosen < flipped_prompts(units, share=0.5, seed=4) and chosen != flipped_prompts(
        units, share=0.3, seed=5
    )
