"""A small trial to grade: 5 prompts, 3 arms, 3 samples."""

from finetrial.judging.blinding import write_items
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample
from finetrial.trial.schema import Judging

ARMS = ("base", "full", "lora")

HOSTILE = {
    "script": "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> &amp; {{ 7 }} </script>",
    "huge": "word " * 60_000 + "END",
    "unbroken": "x" * 5_000,
    "right-to-left": "שלום עולם \u202e reversed \u2066 and מעורב mixed",
    "emoji": "👨‍👩‍👧‍👦 🏳️‍🌈 e\u0301 Z" + "\u0351\u035b\u0321" * 40,
    "controls": "bell\x07 escape\x1b[31m null\x00 del\x7f\ttab\r\nnew line\rreturn",
    "empty": "",
    "blank": " \n\t ",
}


def sample(arm, prompt, index, text, *, source=None, references=("the reference",)):
    return Sample(
        id=f"{arm}/p{prompt}/{index}",
        prompt_id=f"p{prompt}",
        group=None,
        arm=arm,
        index=index,
        prompt=f"[{arm} template] prompt {prompt}",
        text=text,
        token_ids=None,
        references=references,
        end_reason=None,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
        source=f"prompt {prompt}" if source is None else source,
    )


def distinct_samples(*, prompts=5, arms=ARMS, per_prompt=3):
    return [
        sample(arm, prompt, index, f"text {number} of prompt {prompt}, version {index}")
        for prompt in range(prompts)
        for number, arm in enumerate(arms)
        for index in range(per_prompt)
    ]


def make_folder(root, samples, *, title="tiny", **judging):
    folder = TrialFolder(root)
    write_items(folder, samples, judging=Judging(**{"grade_prompts": 100, **judging}), seed=0, title=title)
    return folder
