"""What a run still has to do, arm by arm, and how much work each of it is: the jobs of a forecast.

Counts training and held-out examples, and reads no held-out text.
"""

from __future__ import annotations

from finetrial.errors import FinetrialError
from finetrial.store.layout import run_name
from finetrial.training.optimizer import default_learning_rate
from finetrial.training.steps import forward_work, task_work
from finetrial.training.task import TuneTask
from finetrial.workflow.context import TrialContext
from finetrial.workflow.forecast import DECODING_WORK, Job
from finetrial.workflow.rate_grid import first_rates
from finetrial.workflow.rate_search import found_rate, short_task
from finetrial.workflow.tune_tasks import arm_task, sample_label, search_label, tune_label
from finetrial.workflow.tuning import is_tuned

_LOOKED_AT = 200  # training examples whose lengths stand for those of held-out ones. Assumption
_BYTES_A_TOKEN = 4  # of other text, about. Assumption


def _width(context: TrialContext) -> int:
    return context.config.get_text_config().hidden_size


def _tuning_jobs(context: TrialContext, arm: str, task: TuneTask) -> list[Job]:
    """The search's rates, where one is asked and not made, and the training runs."""
    width, jobs = _width(context), []
    if context.trial.rate_of(arm) == "auto" and found_rate(context, arm) is None:
        start = default_learning_rate(context.config, method=context.trial.arms[arm].tuning)
        work = task_work(short_task(task, rate=start, folder_name=""), width=width)
        jobs += [Job(search_label(arm, rate), arm, "tune", work) for rate in first_rates(start)]
    runs = range(context.trial.runs_of(arm))
    work = task_work(task, width=width)
    return jobs + [Job(tune_label(run_name(arm, run=run)), arm, "tune", work) for run in runs]


def _sampling_jobs(context: TrialContext, arm: str) -> list[Job]:
    resolved, chosen = context.resolved[arm], context.trial.arms[arm]
    looked_at = context.encoded(arm, context.splits.train[:_LOOKED_AT]).examples
    example = sum(len(e.token_ids) for e in looked_at) / max(1, len(looked_at))
    answer = sum(e.trained_tokens for e in looked_at) / max(1, len(looked_at))
    prompt = example - answer + resolved.shots * example
    # a tuned arm has learned how long answers are; another may go on to the limit
    limit = resolved.decoding.max_new_tokens
    written = min(limit, answer + 1) if chosen.tuned else limit
    prompts = min(context.trial.sampling.prompts, len(context.splits.heldout))
    reading = forward_work([round(prompt), round(prompt + answer)], width=_width(context))
    work = prompts * (reading + resolved.decoding.per_prompt * written * DECODING_WORK)
    if not chosen.method.is_a_prompt:
        work += sum(len(document.text) for document in context.retained) / _BYTES_A_TOKEN
    runs = range(context.trial.runs_of(arm)) if chosen.tuned else (0,)
    return [Job(sample_label(run_name(arm, run=run)), arm, "sample", work) for run in runs]


def jobs_to_come(context: TrialContext, *, sampled: bool) -> list[Job]:
    """The work of the arms that the run is for; `sampled` where it goes on to sample them."""
    jobs: list[Job] = []
    for arm in context.arms:
        try:
            jobs += _jobs_of(context, arm, sampled=sampled)
        except FinetrialError:
            continue  # what is wrong with the arm is said when its turn comes
    return jobs


def _jobs_of(context: TrialContext, arm: str, *, sampled: bool) -> list[Job]:
    done, jobs = not context.trial.arms[arm].tuned or is_tuned(context, arm), []
    if not done:
        jobs += _tuning_jobs(context, arm, arm_task(context, arm, learning_rate=None))
    if sampled and not (done and context.folder.samples(arm).exists()):
        jobs += _sampling_jobs(context, arm)
    return jobs
