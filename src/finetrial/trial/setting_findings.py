"""Find settings that are allowed and that nobody means: a learning rate of 50, two arms that are alike.

Bounds are wide: what stands beyond them has not been seen to work, and a mistyped exponent lands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from finetrial.footprint.beside import Lora
from finetrial.trial.data_findings import Finding, counted, some
from finetrial.trial.examples import Example, Splits
from finetrial.trial.schema import Trial
from finetrial.trial.setting_types import tag_of

# Adam moves every weight by about the learning rate a step, and weights are of the order of 0.02 to 1; SGD moves
# by the rate times the gradient. Assumption
_HIGH_RATE = 0.3
_HIGH_RATE_SGD = 100.0
# At 2 the likeliest of two tokens keeps the square root of its odds; common interfaces allow no more. Assumption
_HIGH_TEMPERATURE = 2.0
_MANY_EPOCHS = 100  # of the same rows (assumption)


def setting_findings(trial: Trial) -> list[Finding]:
    """What stands in the trial file and is hardly meant."""
    found = [*_rates(trial), *_alike(trial)]
    temperature = trial.sampling.temperature
    if isinstance(temperature, float) and temperature > _HIGH_TEMPERATURE:
        text = f"sampling.temperature: {temperature:g} makes nearly every token as likely as the best; "
        found.append(Finding("high_temperature", text + f"0 to {_HIGH_TEMPERATURE:g} is usual"))
    strip = trial.sampling.strip
    if strip is not None and tag_of(strip) is None and trial.sampling.stop != ():
        text = "sampling.strip is an expression, so stops are looked for in what it takes off too and may cut an "
        text += "answer before it is reached; name a block, as <think>, or set stop: []"
        found.append(Finding("strip_and_stops", text))
    for name in trial.arms:
        if trial.arms[name].tuned and trial.epochs_of(name) > _MANY_EPOCHS:
            found.append(Finding("many_epochs", f"{name}: {trial.epochs_of(name):g} epochs over the same rows"))
    return found


def findings_for_model(
    trial: Trial, *, width_of: Callable[[str], int | None], positions_of: Callable[[str], int | None]
) -> list[Finding]:
    """What an arm's base is too small for: its width and its positions, None where it has no such limit."""
    found: list[Finding] = []
    tuned = [name for name, arm in trial.arms.items() if arm.tuned]
    positions = [count for name in tuned if (count := positions_of(name)) is not None]
    context, asked = min(positions, default=None), trial.data.max_tokens
    if context is not None and "max_tokens" in trial.data.model_fields_set and asked > context:
        text = f"data.max_tokens: {asked:,} is more than the model's context of {context:,} tokens"
        found.append(Finding("beyond_context", f"{text}; no row so long can be used"))
    for name in tuned:
        found += _rank(trial, name, width=width_of(name))
    return found


def _rates(trial: Trial) -> Iterator[Finding]:
    high = _HIGH_RATE_SGD if trial.training.optimizer == "sgd" else _HIGH_RATE
    for name, arm in trial.arms.items():
        rate = trial.rate_of(name)
        if arm.tuned and isinstance(rate, float) and rate > high:
            text = f"{name}: a learning rate of {rate:g} is far above what tunes a model (1e-5 to 1e-2)"
            yield Finding("high_learning_rate", text)


def _rank(trial: Trial, name: str, *, width: int | None) -> Iterator[Finding]:
    counted_as = trial.arms[name].tuning.counted()
    if width is not None and isinstance(counted_as, Lora) and counted_as.rank > width:
        text = f"{name}: rank {counted_as.rank:,} is more than the model's width of {width:,}: no longer low, and "
        yield Finding("high_rank", f"{text}larger than the matrices beside it")


def _alike(trial: Trial) -> Iterator[Finding]:
    """Arms that differ in their names alone: the trial would compare one thing with itself."""
    same: dict[str, list[str]] = defaultdict(list)
    for name, arm in trial.arms.items():
        whole = arm.model_dump(mode="json") | {
            "method": arm.method.name,
            "template": trial.template_of(name),
            "chat": trial.chat_of(name),
            "system": trial.system_of(name),
            "rate": trial.rate_of(name),
            "epochs": trial.epochs_of(name) if arm.tuned else None,
            "learning_rate": None,
            "prompt_file": None,
        }
        same[repr(sorted(whole.items(), key=lambda item: item[0]))].append(name)
    for names in same.values():
        if len(names) > 1:
            yield Finding("arms_alike", f"{' and '.join(names)} are the same arm under {len(names)} names")


def completion_findings(splits: Splits) -> list[Finding]:
    """Completions that teach nothing, or contradict one another."""
    found = []
    texts = {text.strip() for example in splits.train for text in example.references}
    if len(texts) == 1 and len(splits.train) > 1:
        text = f"every completion of the training split is the same, {next(iter(texts))[:60]!r}: there is nothing "
        found.append(Finding("one_label", text + "to tell apart"))
    for name, examples in splits.by_name.items():
        if differing := _contradictions(examples):
            text = f"{counted(len(differing), 'prompt')} of {name} with different completions in different rows"
            found.append(Finding("contradictions", text, some(differing)))
    return found


def _contradictions(examples: Sequence[Example]) -> list[str]:
    by_prompt: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.references and example.messages is None:
            by_prompt[example.prompt.strip()].append(example)
    return [
        ", ".join(f"{example.origin} {example.references[0].strip()[:30]!r}" for example in rows[:3])
        for rows in by_prompt.values()
        if len({example.references[0].strip() for example in rows}) > 1
    ]
