"""An arm costs its tuning and its requests, in one unit for all arms, and pays for itself after some of them."""

from __future__ import annotations

import pytest
from evidence_material import concluded

from finetrial.evidence.cost import cost_order, trial_costs
from finetrial.evidence.findings import BreakEven
from finetrial.methods.base.base_method import Base
from finetrial.methods.external.external_method import External
from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.prompted.prompted_method import Prompted
from finetrial.trial.schema import Prices

METHODS = {"base": Base(), "prompted": Prompted(), "lora": Lora(), "full": Full()}
# Three shots make the prompt four times as long; the tuned arms stop where the base rambles on.
FIGURES = {
    "base": {
        "request_flops": 6e9,
        "request_seconds": 0.2,
        "request_prompt_tokens": 100,
        "request_generated_tokens": 60,
    },
    "prompted": {
        "request_flops": 9e9,
        "request_seconds": 0.3,
        "request_prompt_tokens": 400,
        "request_generated_tokens": 20,
    },
    "lora": {
        "flops_total": 3e12,
        "search_flops": 1e12,
        "search_seconds": 30.0,
        "tune_seconds": 60.0,
        "request_flops": 4e9,
        "request_seconds": 0.1,
        "request_prompt_tokens": 100,
        "request_generated_tokens": 20,
    },
    "full": {
        "flops_total": 6e12,
        "evaluation_flops": 5e11,
        "tune_seconds": 120.0,
        "request_flops": 4e9,
        "request_seconds": 0.1,
        "request_prompt_tokens": 100,
        "request_generated_tokens": 20,
    },
}


def costs(figures=FIGURES, *, prices=None, requests=1000, methods=METHODS):
    return trial_costs(methods, figures=figures, prices=prices or Prices(), requests=requests)


def without(*keys: str) -> dict:
    return {arm: {key: value for key, value in row.items() if key not in keys} for arm, row in FIGURES.items()}


def test_the_total_is_tuning_with_its_search_and_evaluation_plus_the_requests_in_flops():
    # base 1,000 x 6e9 = 6e12; prompted 9e12; lora 3e12 + 1e12 + 4e12 = 8e12; full 6e12 + 0.5e12 + 4e12 = 10.5e12.
    found = costs()
    assert (found.unit, found.basis) == ("FLOPs", "tuning plus 1,000 requests, in FLOPs")
    assert found.totals == pytest.approx({"base": 6e12, "prompted": 9e12, "lora": 8e12, "full": 10.5e12})
    order = cost_order(METHODS, costs=found)
    assert (order.arms, order.basis, order.unknown) == (("base", "lora", "prompted", "full"), found.basis, ())


def test_few_requests_favour_the_prompted_arm_and_many_the_tuned_ones():
    # 100 requests: base 6e11, prompted 9e11, lora 4.4e12, full 6.9e12.
    assert cost_order(METHODS, costs=costs(requests=100)).arms == ("base", "prompted", "lora", "full")
    # 10,000: lora 4.4e13, full 4.65e13, base 6e13, prompted 9e13.
    assert cost_order(METHODS, costs=costs(requests=10_000)).arms == ("lora", "full", "base", "prompted")
    none = costs(requests=0)
    assert none.basis == "tuning alone, in FLOPs" and none.totals["prompted"] == 0.0


def test_a_tuned_arm_pays_for_itself_after_its_tuning_over_what_a_request_saves():
    # lora: 4e12 / (9e9 - 4e9) = 800; full: 6.5e12 / 5e9 = 1,300. At 800 lora has cost exactly as much.
    assert costs().break_even == (
        BreakEven("lora", "prompted", 800, False),
        BreakEven("full", "prompted", 1300, False),
    )
    assert costs(requests=800).totals["lora"] == costs(requests=800).totals["prompted"] == pytest.approx(7.2e12)
    # a tuned arm that answers at as much length as the prompted one never does
    dear = {**FIGURES, "lora": {**FIGURES["lora"], "request_flops": 9e9}}
    assert costs(dear).break_even[0] == BreakEven("lora", "prompted", None, True, "serving it is not cheaper")
    # a tenth of a request's saving more than 800 requests save: 801
    more = {**FIGURES, "lora": {**FIGURES["lora"], "flops_total": 3e12 + 5e8}}
    assert costs(more).break_even[0].requests == 801


def test_where_flops_are_unknown_of_one_arm_seconds_decide_for_all():
    unknown = {**FIGURES, "base": {k: v for k, v in FIGURES["base"].items() if k != "request_flops"}}
    found = costs(unknown)
    # base 200 s; prompted 300; lora 60 + 30 + 100 = 190; full 120 + 100 = 220
    assert found.basis == "tuning plus 1,000 requests, in seconds"
    assert found.totals == pytest.approx({"base": 200, "prompted": 300, "lora": 190, "full": 220})
    assert cost_order(METHODS, costs=found).arms == ("lora", "base", "full", "prompted")
    assert found.break_even[0].requests == 450  # 90 s / (0.3 - 0.1)


def test_a_search_whose_flops_are_unknown_leaves_the_arms_flops_unknown():
    # an older version wrote the search's seconds alone: counting it as nothing would make the arm look cheap
    found = costs(without("search_flops"))
    assert found.arms["lora"].tuning_flops is None and found.unit == "seconds"


def test_where_serving_was_not_measured_the_methods_order_the_arms():
    found = costs(without("request_flops", "request_seconds"))
    assert (found.unit, found.basis, found.break_even) == (None, "method", ())
    assert cost_order(METHODS, costs=found).arms == ("base", "prompted", "lora", "full")


def test_token_prices_and_an_hours_price_make_money_the_unit():
    # An hour costs 36, a second 0.01: lora's 90 s cost 0.9, full's 120 s 1.2. A million prompt tokens cost 1, of
    # generated ones 10. A request: base 100e-6 + 600e-6 = 0.0007; prompted 400e-6 + 200e-6 = 0.0006; tuned 0.0003.
    prices = Prices(hour=36, input_million=1, output_million=10)
    found = costs(prices=prices)
    assert found.basis == "tuning plus 1,000 requests, in money"
    assert found.totals == pytest.approx({"base": 0.7, "prompted": 0.6, "lora": 1.2, "full": 1.5})
    assert cost_order(METHODS, costs=found).arms == ("prompted", "base", "lora", "full")
    assert [row.requests for row in found.break_even] == [3000, 4000]  # 0.9 / 0.0003, 1.2 / 0.0003


def test_an_hours_price_alone_prices_the_time_of_a_request():
    found = costs(prices=Prices(hour=36))
    # base 1,000 x 0.2 s x 0.01 = 2
    assert found.unit == "money" and found.totals["base"] == pytest.approx(2.0)


def test_token_prices_alone_price_no_tuning_so_that_flops_decide():
    found = costs(prices=Prices(input_million=1, output_million=10))
    assert found.unit == "FLOPs"
    assert found.arms["prompted"].request_money == pytest.approx(0.0006)
    only = {arm: METHODS[arm] for arm in ("base", "prompted")}
    # nothing is tuned here: money is known of every arm
    assert costs(prices=Prices(input_million=1, output_million=10), methods=only).unit == "money"


def test_watts_make_energy_of_the_seconds_and_decide_nothing():
    found = costs(prices=Prices(watts=360))
    # base 200 s x 360 W = 72 kJ = 20 Wh; lora 190 s: 19 Wh
    assert found.watt_hours == pytest.approx({"base": 20, "prompted": 30, "lora": 19, "full": 22})
    assert found.unit == "FLOPs" and costs().watt_hours == {}


def test_arms_that_cost_the_same_stand_in_the_order_of_their_methods():
    same = {arm: {"request_flops": 1.0, "flops_total": 0.0} for arm in METHODS}
    assert cost_order(METHODS, costs=costs(same)).arms == ("base", "prompted", "lora", "full")


def test_arms_that_all_came_from_elsewhere_have_no_order_unless_they_are_called_after_their_methods():
    def order(*names: str):
        methods = dict.fromkeys(names, External(model="theirs"))
        return cost_order(methods, costs=costs({}, methods=methods))

    assert order("mine", "theirs") is None
    assert (order("full", "base").arms, order("full", "base").basis) == (("base", "full"), "the arms' names")


def test_what_an_arm_from_elsewhere_costs_is_said_to_be_unknown():
    methods = {"base": Base(), "lora": External(model="theirs"), "full": External(model="theirs")}
    order = cost_order(methods, costs=costs(FIGURES, methods=methods))
    assert (order.arms[0], set(order.unknown)) == ("base", {"lora", "full"})

    def values(n: int, *, lora: float, full: float) -> dict[str, dict[str, list[float]]]:
        means = {"base": 0.2, "lora": lora, "full": full}
        return {
            arm: {f"p{i:03}": [mean + 0.004 * ((i * 7 * k) % 5 - 2)] for i in range(n)}
            for k, (arm, mean) in enumerate(means.items(), start=1)
        }

    found = concluded(values(6, lora=0.1, full=0.15), order=order).recommendation
    assert found.arm == "base" and "what lora and full cost is not known" in found.text
    assert "cost more" not in found.text
    # of two arms of unknown cost neither is taken for the cheaper one, however near they are
    found = concluded(values(40, lora=0.5, full=0.501), order=order, margin=0.02).recommendation
    assert found.arm == "full" and "cheapest arm" not in found.text
