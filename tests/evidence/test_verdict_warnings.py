"""What could overturn a verdict is warned of, by kind, with the rates and the arms."""

from __future__ import annotations

from evidence_material import sample

from finetrial.evidence.verdict_warnings import CUT_GAP, verdict_warnings
from finetrial.store.records import Sample


def ended(arm: str, *, cut: int, of: int) -> list[Sample]:
    return [
        sample(arm, f"p{i}", end_reason="length" if i < cut else "end_token" if i % 2 else "stop_string")
        for i in range(of)
    ]


def warned(samples: list[Sample], **what: object):
    return verdict_warnings(samples, **{"metric": "rouge1", "sign": 1.0, "intervals": {}, **what})


def test_arms_that_were_cut_at_very_different_rates_are_named_with_their_rates():
    (found,) = warned(
        [*ended("base", cut=18, of=20), *ended("prompted", cut=12, of=20), *ended("full", cut=0, of=20)]
    )
    assert (found.kind, found.arms) == ("cut_unevenly", ("base", "prompted"))
    assert "(base 90 %; prompted 60 %; full 0 %)" in found.text
    (alike,) = warned([*ended("base", cut=18, of=20), *ended("full", cut=0, of=20), *ended("lora", cut=0, of=20)])
    assert "(base 90 %; full and lora 0 %)" in alike.text


def test_the_gap_between_rates_begins_at_a_quarter():
    assert CUT_GAP == 0.25
    assert [w.kind for w in warned([*ended("a", cut=9, of=20), *ended("b", cut=4, of=20)])] == ["cut_unevenly"]
    assert warned([*ended("a", cut=8, of=20), *ended("b", cut=4, of=20)]) == ()


def test_an_arm_that_never_ended_a_sample_is_named_and_alike_in_all_arms():
    (found,) = warned([*ended("base", cut=8, of=8), *ended("full", cut=8, of=8)])
    assert (found.kind, found.arms) == ("never_ended", ("base", "full"))
    assert found.text.startswith("base and full never stopped: none of their samples ended before the limit")
    both = warned([*ended("base", cut=8, of=8), *ended("full", cut=0, of=8)])
    assert [w.kind for w in both] == ["cut_unevenly", "never_ended"] and both[1].arms == ("base",)


def test_samples_without_a_recorded_ending_warn_of_nothing():
    assert warned([sample("a", "p1"), sample("b", "p1")]) == ()


def test_a_rate_nobody_chose_and_an_arm_from_elsewhere_are_each_said_once():
    first, second = warned([], at_default_rate=["full", "lora"], external=["mine"])
    assert (first.kind, first.arms) == ("untuned_rate", ("full", "lora"))
    assert first.text.startswith("The learning rate of full and lora is the method's default, neither searched nor")
    assert (second.kind, second.arms) == ("may_have_seen_heldout", ("mine",))
    assert second.text == (
        "mine was trained elsewhere, on rows that are not known here. If the held-out rows were among them, its "
        "scores are too high."
    )
