"""The report's signed error of a plan."""

import pytest

from finetrial.reporting.sections.plan_accuracy import signed_error


def test_a_plan_that_was_too_high_has_an_error_above_zero():
    assert signed_error(120, measured=100) == pytest.approx(0.2)
    assert signed_error(75, measured=100) == pytest.approx(-0.25)
