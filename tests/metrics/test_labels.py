"""Macro-F1 is the mean of the labels' F1, and texts that name no label are misses."""

from __future__ import annotations

import pytest

from finetrial.errors import UserError
from finetrial.metrics.labels import Confusion, confusion, macro_f1
from finetrial.metrics.metric import ArmMetric, Output, Settings


def rows(*pairs: tuple[str, str]) -> list[Output]:
    return [Output(said, (true,)) for true, said in pairs]


def test_macro_f1_is_the_mean_of_each_labels_f1():
    # yes: 2 right, 1 missed, 1 false alarm: 4 / (3 + 3); no: 1 right, 1 missed, 1 false alarm: 2 / (2 + 2).
    found = rows(("yes", " yes"), ("yes", "yes"), ("yes", "no"), ("no", "no\n"), ("no", "yes"))
    assert macro_f1(found, Settings()) == pytest.approx((4 / 6 + 2 / 4) / 2)


def test_a_text_that_names_no_label_is_a_miss_and_makes_no_label():
    # yes: 2 / (2 + 1), no: 2 / (1 + 1); the rambling is no third label with F1 0
    found = rows(("yes", "yes"), ("yes", "I think it depends"), ("no", "no"))
    assert macro_f1(found, Settings()) == pytest.approx((2 / 3 + 1) / 2)
    assert confusion(found, Settings()) == Confusion(("no", "yes"), ((1, 0), (0, 1)), (0, 1))


def test_a_label_is_what_exact_match_takes_for_one():
    # "-5" is not 5 and "Yes." is not yes: accuracy and the matrix speak of the same answers
    found = rows(("5", "-5"), ("yes", "Yes."))
    assert macro_f1(found, Settings()) == 0 and confusion(found, Settings()).other == (1, 1)


def test_any_of_several_references_is_right_and_without_references_it_is_undefined():
    assert macro_f1([Output("no", ("yes", "no"))], Settings()) == 1.0
    assert macro_f1([Output("no")], Settings()) is None


def test_the_rare_label_weighs_as_much_as_the_common_one():
    always = rows(*[("yes", "yes")] * 9, ("no", "yes"))  # right in nine of ten
    assert macro_f1(always, Settings()) == pytest.approx((18 / 19 + 0) / 2)


@pytest.mark.parametrize(("computed", "value"), [(float("nan"), None), (None, None), (1, 1.0)])
def test_a_metric_of_whole_arms_is_undefined_where_it_is_no_number(computed, value):
    metric = ArmMetric(name="toy", title="Toy", compute=lambda outputs, settings: computed)
    assert metric.value(rows(("yes", "no")), Settings()) == value


def test_an_infinite_value_of_a_whole_arm_is_refused():
    metric = ArmMetric(name="toy", title="Toy", compute=lambda outputs, settings: float("inf"))
    with pytest.raises(UserError, match="toy is infinite for 1 samples"):
        metric.value(rows(("yes", "no")), Settings())
