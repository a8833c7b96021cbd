"""Say how long grading takes people, and what so many prompts can show."""

from __future__ import annotations

from finetrial.store.plan_record import GradingPlan
from finetrial.trial.graded_prompts import GradedPrompts

# Silent reading of English: 238 words a minute (Brysbaert 2019, "How many words do we read per minute?"), three
# words to four tokens; and what a judgement takes beyond reading. Assumption
_TOKENS_A_SECOND = 238 / 60 / 0.75
_DECIDING_SECONDS = 4.0


def grading_plan(
    chosen: GradedPrompts,
    *,
    prompts: int,
    compared: int,
    arms: int,
    per_prompt: int,
    prompt_tokens: float,
    answer_tokens: float,
    raters: int,
    repeats: float,
) -> GradingPlan | None:
    """What grading `prompts` prompts takes one rater, and what it can show; None where nobody grades.

    `arms` are graded, references with them; `compared` of them are compared in pairs.
    """
    if prompts == 0 or arms == 0:
        return None
    samples = round(prompts * arms * per_prompt * (1 + repeats))
    # a prompt is read once for all its samples
    seconds = (
        prompts * prompt_tokens / _TOKENS_A_SECOND
        + samples * answer_tokens / _TOKENS_A_SECOND
        + samples * _DECIDING_SECONDS
    )
    comparisons = compared * (compared - 1) // 2
    least = min(1.0, comparisons * 2.0 ** (1 - prompts)) if comparisons else None
    return GradingPlan(
        prompts=prompts,
        samples=samples,
        seconds=seconds,
        raters=raters,
        units_needed=chosen.needed,
        difference=chosen.difference,
        assumption=chosen.assumption,
        least_p=least,
    )
