"""Intervals, tests, agreement and power. The unit is the prompt; too few data give None with a reason."""

from finetrial.stats.agreement import Agreement, Level, cohen_kappa, gwet_ac1, krippendorff_alpha, raw_agreement
from finetrial.stats.bradley_terry import BradleyTerry, Strength, bradley_terry
from finetrial.stats.comparison import (
    Comparison,
    Question,
    compare_every_pair,
    compare_on_new_prompts,
    compare_on_these_prompts,
    compare_retrained,
)
from finetrial.stats.concordance import (
    Concordance,
    Disagreement,
    Judged,
    SameRanking,
    area_under_curve,
    concordance,
    same_ranking,
    worst_disagreements,
)
from finetrial.stats.intervals import (
    GoodOfN,
    Interval,
    Method,
    good_of_n,
    mean_interval,
    paired_interval,
    wilson_interval,
)
from finetrial.stats.power import (
    PromptsNeeded,
    Spread,
    detectable_difference,
    fewest_prompts,
    observed_spread,
    prompts_needed,
)
from finetrial.stats.significance import ShuffleTest, SignFlip, holm, sign_flip_test, within_prompt_test
from finetrial.stats.unit_values import unit_means

__all__ = [
    "Agreement",
    "BradleyTerry",
    "Comparison",
    "Concordance",
    "Disagreement",
    "GoodOfN",
    "Interval",
    "Judged",
    "Level",
    "Method",
    "PromptsNeeded",
    "Question",
    "SameRanking",
    "ShuffleTest",
    "SignFlip",
    "Spread",
    "Strength",
    "area_under_curve",
    "bradley_terry",
    "cohen_kappa",
    "compare_every_pair",
    "compare_on_new_prompts",
    "compare_on_these_prompts",
    "compare_retrained",
    "concordance",
    "detectable_difference",
    "fewest_prompts",
    "good_of_n",
    "gwet_ac1",
    "holm",
    "krippendorff_alpha",
    "mean_interval",
    "observed_spread",
    "paired_interval",
    "prompts_needed",
    "raw_agreement",
    "same_ranking",
    "sign_flip_test",
    "unit_means",
    "wilson_interval",
    "within_prompt_test",
    "worst_disagreements",
]
