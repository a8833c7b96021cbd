"""The records of what a trial's scores and grades support.

`evidence.conclude` fills them, the report shows what is present and leaves out what is not. Field
names are those of `finetrial score --json`. What is undefined is None, and `reason` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from finetrial.evidence.early_outcome import EarlyOutcome
from finetrial.evidence.equivalence import DeployedForm
from finetrial.evidence.good_grid import GoodGrid
from finetrial.evidence.judged_verdict import JudgeFinding
from finetrial.evidence.slices import Slices
from finetrial.scaling.row_curve import RowForecast
from finetrial.stats.agreement import Agreement
from finetrial.stats.bradley_terry import BradleyTerry
from finetrial.stats.comparison import Comparison
from finetrial.stats.concordance import Concordance, SameRanking
from finetrial.stats.guessing import Guessing
from finetrial.store.grade_records import RaterKind, RatersWord, raters_word
from finetrial.store.grades import Consistency, TooFast


@dataclass(frozen=True, slots=True)
class Interval:
    """An arm's mean of one metric over units (prompts or groups) with its 95 % interval."""

    low: float | None
    high: float | None
    mean: float | None = None
    n_prompts: int = 0
    n_units: int = 0  # fewer than prompts where prompts form groups
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class GoodShare:
    """Samples that people called good, each by the majority of its raters."""

    good: int
    of: int
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """Where a diagnostic found something: the sample and the words."""

    arm: str
    sample_id: str
    prompt_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """How often something goes wrong in each arm, beside the references' own rate: people also copy."""

    name: str
    definition: str
    arms: Mapping[str, float | None]
    references: float | None
    source: str | None = None  # the paper; None: the definition is ours
    unit: Literal["share", "words"] = "share"  # shares from 0 to 1
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two raters."""

    first: str
    second: str
    kappa: Agreement


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """How far raters agree; every coefficient is undefined with one rater, and says so."""

    n_raters: int
    raw: Agreement
    krippendorff_alpha: Agreement
    level: str  # of measurement: nominal, or ordinal for grades on a scale
    gwet_ac1: Agreement
    cohen_kappa: tuple[Kappa, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A sample that metric and people see differently; `gap` is score rank minus grade rank, both from 0 to 1."""

    sample_id: str
    prompt_id: str
    arm: str
    score: float
    grade: float
    gap: float


@dataclass(frozen=True, slots=True)
class MetricVsPeople:
    """How far a metric agrees with people: within a prompt, over all samples, and on which arm is best."""

    concordance: Concordance  # within prompts, ties counted
    area_under_curve: Concordance
    ranking: SameRanking
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """What this many prompts can show between two arms by the primary metric, and how many show what was seen."""

    a: str
    b: str
    difference: float | None
    n_prompts: int
    n_samples: float | None  # a prompt and arm
    detectable: float | None  # the true difference found with `power` at `alpha`
    prompts_needed: int | None  # for a true difference as large as the one seen
    power: float
    alpha: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class GradingSummary:
    """What is known of the grading once the key is open. None: nobody was asked."""

    raters: tuple[str, ...]
    grades: int  # hidden repeats left out
    not_blind: int  # grades given after somebody had opened the key
    opened_at: str | None
    median_seconds: float | None  # a grade
    consistency: tuple[Consistency, ...]  # of each rater on hidden repeats
    guesses: Guessing | None  # which arm wrote what, against chance
    strengths: BradleyTerry | None  # of the arms, from side-by-side choices
    choices: int
    kinds: Mapping[str, RaterKind | None] = field(default_factory=dict)  # as each rater declared; None: did not
    rule: str | None = None  # which answers of the trial's scale count as good; None: good or bad were asked for
    too_fast: tuple[TooFast, ...] = ()  # raters who cannot have read what they graded

    @property
    def word(self) -> RatersWord:
        """What those who graded are called."""
        return raters_word(self.kinds.values())


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What an arm needs for other text (data.retain); more than the base needs is what tuning broke."""

    bits_per_byte: float
    to_base: float | None  # minus the base's; None for the base itself
    low: float | None  # of the difference, over documents
    high: float | None
    worse: int  # documents that cost more than under the base
    documents: int
    n_bytes: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReferenceCost:
    """How likely an arm finds the held-out references behind its own prompts. Lower is better throughout."""

    perplexity: float  # of a token, the end token's included; models with other tokenizers count other tokens
    bits_per_byte: float  # of the references
    to_base: float | None  # bits a byte more than the base's; None for the base itself
    low: float | None  # of the difference, over prompts or groups
    high: float | None
    prompts: int
    units: int  # fewer than prompts where prompts form groups
    n_bytes: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MeasuredChange:
    """What an arm with another value of one key changed of the loss, in nats a token; below zero: less loss."""

    arm: str
    key: str
    was: object
    value: object
    change: float


@dataclass(frozen=True, slots=True)
class MoreRows:
    """Arms that differ in their rows alone, or one arm and its pilots, and what more rows would change of the loss.

    Losses are mean nats of a held-out reference's token; where pilots are among them, of a validation token.
    """

    arms: tuple[str, ...]  # by rows, ascending; one where all but the last loss are its pilots'
    rows: tuple[int, ...]
    losses: tuple[float, ...]
    forecasts: tuple[RowForecast, ...]  # beside the loss at the most rows
    rows_for_less: float | None  # for 1 % less loss; None: no number of rows gives that
    instead: tuple[MeasuredChange, ...]  # of arms with as many rows and one other setting

    @property
    def from_pilots(self) -> bool:
        return len(self.arms) < len(self.rows)


@dataclass(frozen=True, slots=True)
class VerdictWarning:
    """Something that could overturn the verdict and the recommendation, and the arms it is about."""

    kind: Literal[
        "letters_not_seen",
        "at_floor",
        "judging_changed",
        "cut_unevenly",
        "never_ended",
        "untuned_rate",
        "may_have_seen_heldout",
        "base_unknown",
        "unanswered",
        "failed_check",
    ]
    text: str
    arms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Floor:
    """What other prompts' references score as answers by the primary metric, and which arms lie above that.

    An arm is above where its whole interval lies more than the margin above the value.
    """

    value: float | None
    margin: float
    above: tuple[str, ...]
    at: tuple[str, ...]  # arms with a mean that are not above; empty where the value is undefined
    n_prompts: int  # with references
    n_answers: int  # references of other prompts that were scored
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What an arm takes: once for tuning it, and for every request. None: not known."""

    tuning_flops: float | None  # steps, evaluation and the search for the learning rate; 0 where nothing is tuned
    tuning_seconds: float | None
    tuning_money: float | None
    search_flops: float | None  # the part of the search; None: none was made, or not measured
    search_seconds: float | None
    request_prompt_tokens: float | None
    request_generated_tokens: float | None
    request_flops: float | None
    request_seconds: float | None
    request_money: float | None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """After how many requests a tuned arm has cost no more than a prompted one.

    None: never, for serving it is not cheaper, or not known, for the reason.
    """

    arm: str
    against: str
    requests: int | None
    never: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """What every arm takes for tuning and `requests` requests, by one unit for all."""

    basis: str
    unit: Literal["money", "FLOPs", "seconds"] | None  # None: nothing was measured for all arms
    requests: int
    arms: Mapping[str, ArmCost]
    totals: Mapping[str, float | None]  # in the unit
    watt_hours: Mapping[str, float | None]  # of the same; empty where prices name no watts
    break_even: tuple[BreakEven, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The cheapest arm shown to be good enough, or what is missing to name one.

    `outcome`: `take` an arm; `open`, more prompts would settle it; `floor`, no arm does this task; `costs_unknown`,
    no order of costs; `contradicted`, people's grades put the arm `against` above the one that the metric names.
    `bound` is the lower 95 % bound, as a gain over `against`, that decided: of the arm itself,
    or of the cheaper arm that comes nearest where none is good enough.
    """

    arm: str | None
    text: str
    margin: float
    cost_order: tuple[str, ...]  # cheapest first; empty where it is not known
    cost_basis: str | None
    outcome: Literal["take", "open", "floor", "costs_unknown", "contradicted"] = "open"
    bound: float | None = None
    against: str | None = None


@dataclass(frozen=True, slots=True)
class BesideVerdict:
    """What the other of people's grades and a metric says, and how far it agrees with what decides."""

    metric: str
    verdict: str
    named: bool  # it was to decide when the first samples were seen
    agreement: str  # empty where nothing can be said

    @property
    def text(self) -> str:
        """The verdict, and whether it was named beforehand."""
        return f"{'N' if self.named else 'Not n'}amed beforehand: {self.verdict}"


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a comparison may add to plain means. Empty or None: not available."""

    verdict: str | None = None
    beside: BesideVerdict | None = None  # where people graded: of grades and metric the one that does not decide
    verdict_warnings: tuple[VerdictWarning, ...] = ()
    recommendation: Recommendation | None = None
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)  # metric -> arm
    pairs: tuple[Comparison, ...] = ()
    good: Mapping[str, GoodShare] = field(default_factory=dict)
    good_grid: GoodGrid | None = None  # the same by prompt
    agreement: RaterAgreement | None = None
    grading: GradingSummary | None = None  # None: nobody graded, or the grades are not locked yet
    metric_vs_people: Mapping[str, MetricVsPeople] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    retained: Mapping[str, Forgetting] = field(default_factory=dict)
    references: Mapping[str, ReferenceCost] = field(default_factory=dict)
    more_rows: tuple[MoreRows, ...] = ()  # where arms differ in the rows that they were tuned on
    early: EarlyOutcome | None = None  # what pilots decided before the arms were tuned; None: no run with --early
    power: tuple[Power, ...] = ()
    deployed: tuple[DeployedForm, ...] = ()  # arms as they are deployed, each beside its arm
    slices: tuple[Slices, ...] = ()  # the arms in parts of the prompts, by columns of the data
    judges: tuple[JudgeFinding, ...] = ()  # model judges, audited by this trial's people
    floor: Floor | None = None  # None: not defined for people's grades
    costs: Costs | None = None
    warnings: tuple[str, ...] = ()
    signatures: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # metric -> arm -> a frozen dataclass
    primary: str | None = None
    exploratory: tuple[str, ...] = ()  # why no comparison counts as named before the trial
