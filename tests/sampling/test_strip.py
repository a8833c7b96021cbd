"""What `sampling.strip` names is taken off before scoring; its tokens stay cost; stops are not looked for in it."""

import json
import random

import pytest
from tiny_tokenizers import byte_level
from tiny_trials import ANIMALS, PLACES, TRIAL, Lines, make_base

from finetrial.errors import UserError
from finetrial.sampling.stops import StopWatch
from finetrial.sampling.strip import ThinkingWatch, answer_start, decoder, opens_block, spans_of, strip_sample
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial, parse_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

THINK = "<think>"


def sample(text, *, prompt="Q:", ids=None):
    return Sample(
        id="a/p/0", prompt_id="p", group=None, arm="a", index=0, prompt=prompt, text=text, token_ids=ids,
        references=(), end_reason="end_token", logprob=None, tokens=None if ids is None else len(ids), seconds=None,
        seed=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "prompt", "answer"),
    [
        ("<think>6 x 7\n= 42</think>\n\nParis", "Q:", "Paris"),
        ("\n<think>a</think>Paris<think>b</think> it is", "Q:", "Paris it is"),
        ("a\nb</think>\nParis", "user\n<think>\n", "Paris"),  # the chat template has opened the block
        ("a\nb</think>\nParis", "Q:", "Paris"),  # or something else has
        ("<think>and so on and", "Q:", ""),  # cut in the middle: nothing was answered
        ("still thinking", "user\n<think>", ""),
        ("Paris", "Q:", "Paris"),
        ("Paris <thinking>", "Q:", "Paris <thinking>"),
        ("", "Q:", ""),
    ],
)
def test_blocks_are_taken_off_by_their_name(text, prompt, answer):
    found = strip_sample(sample(text, prompt=prompt), strip=THINK)
    assert found.text == answer and (found.stripped is None) == (answer == text)


@pytest.mark.parametrize(
    ("strip", "text", "answer"),
    [
        (r"(?s)\A.*?Answer:", "Let me see.\nAnswer: 42", "42"),
        (r"(?m)^#.*\n?", "# a\nx\n# b\ny", "x\ny"),
        (r"(?s)\A.*?Answer:", "no marker", "no marker"),
        ("<reason>", "<reason>why</reason>yes", "yes"),
        ("a*", "banana", "bnn"),  # an expression that also matches nothing
    ],
)
def test_an_expression_or_any_other_tag_does_as_well(strip, text, answer):
    assert strip_sample(sample(text), strip=strip).text == answer


def test_the_tokens_of_what_was_taken_off_are_counted_exactly():
    tokenizer = byte_level()
    block, answer = "<think>the lazy fox</think>", "\nthe dog é"
    ids = tuple(tokenizer(block)["input_ids"] + tokenizer(answer)["input_ids"])
    found = strip_sample(sample(block + answer, ids=ids), strip=THINK, decode=decoder(tokenizer, strip=THINK))
    assert found.text == "the dog é" and found.stripped == block
    assert found.stripped_tokens == len(tokenizer(block)["input_ids"]) and found.tokens == len(ids)
    untouched = strip_sample(sample(answer, ids=ids), strip=THINK, decode=decoder(tokenizer, strip=THINK))
    assert untouched.stripped is None and untouched.stripped_tokens == 0


def test_a_tag_that_is_a_special_token_is_seen():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": [THINK, "</think>"]})
    ids = tokenizer("<think>a fox</think>the dog")["input_ids"]
    assert THINK not in tokenizer.decode(ids, skip_special_tokens=True)
    text = decoder(tokenizer, strip=THINK)(ids)
    assert text == "<think>a fox</think>the dog"
    assert decoder(tokenizer, strip=None)(ids) == "a foxthe dog"


def test_stops_count_behind_the_block_that_an_answer_begins_with():
    cases = 0
    for text, opened, stopped in [
        ("<think>a\nb\n</think>\nParis\nQ", False, "Paris"),
        ("a\nb</think>Paris\nQ", True, "Paris"),
        ("Paris\nQ <think>", False, "Paris"),
        ("\n<th\nx", False, "<th"),  # it only began like the tag
        ("<think>a\nb\n", False, None),  # still thinking
    ]:
        for seed in range(20):
            pieces, rest, random_ = [], text, random.Random(seed)
            while rest:
                size = random_.randint(1, 5)
                pieces, rest = [*pieces, rest[:size]], rest[size:]
            decode = lambda ids, pieces=pieces: "".join(pieces[i] for i in ids)
            watch = StopWatch(
                decode,
                stops=("\n",),
                let_through=ThinkingWatch(THINK, opened).feed,
                start_of=lambda text, opened=opened: answer_start(text, strip=THINK, opened=opened),
            )
            stop = next((n for n in range(1, len(pieces) + 1) if watch.completes_stop(range(n))), None)
            if stopped is None:
                assert stop is None
            else:
                assert stop is not None
                seen = decode(range(stop))
                start = answer_start(seen, strip=THINK, opened=opened)
                assert seen[start:].lstrip().split("\n")[0] == stopped
            cases += 1
    assert cases == 100


def test_a_prompt_that_opens_the_block_is_known_by_its_end():
    assert opens_block("user: hi\nassistant: <think>\n", strip=THINK)
    assert not opens_block("what is <think>?", strip=THINK) and not opens_block("<think>", strip="(?s)<think>.*")
    assert spans_of("x</think>y", strip=THINK, opened=True) == [(0, 9)]


THINKING = (
    TRIAL.replace("source: rows.jsonl", "source: {train: rows.jsonl, heldout: heldout.jsonl}")
    .replace("  heldout: 10\n", "")
    .replace("  prompted: {shots: 1}\n", "")
    .replace("learning_rate: 3e-3", "learning_rate: 1e-2, epochs: 25")
    .replace("max_new_tokens: 6", "max_new_tokens: 40, strip: <think>, temperature: 0.1, stop: ['\\n']")
    .replace("per_prompt: 2", "per_prompt: 1")
)


def test_a_model_that_thinks_is_scored_by_its_answers_and_pays_for_its_thoughts(tmp_path):
    make_base(tmp_path, heldout=True)
    rows = [
        {"prompt": f"The {a} ran to the {p} and did not come back.", "completion": f"<think>{a}</think>\n{a} lost"}
        for a in ANIMALS
        for p in PLACES[1:]
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny.yaml").write_text(THINKING)
    folder = TrialFolder(tmp_path / "run")
    done = run_trial(TrialContext(load_trial(tmp_path / "tiny.yaml"), folder, listener=Lines()))
    assert done.failures == {}
    samples = list(read_rows(folder.samples("full"), Sample))
    thought = [s for s in samples if s.stripped and s.stripped.startswith(THINK) and s.text]
    assert len(thought) >= 3, [s.text for s in samples]
    for s in thought:
        assert "think" not in s.text and "\n" not in s.text and 0 < s.stripped_tokens < s.tokens
    measured = read_object(folder.measured("full"), Measured)
    assert measured.request_generated_tokens == pytest.approx(sum(s.tokens for s in samples) / len(samples))
    assert "Taken off" in done.report.terminal
    page = (folder.report / "report.md").read_text()
    assert "blocks taken off before scoring" in page and "they were generated and count as cost" in page


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ("{strip: '(', max_new_tokens: 9}", "neither a tag such as <think> nor a regular expression"),
        ("{strip: <think>}", "set max_new_tokens"),
        ("{strip: '', max_new_tokens: 9}", "strip"),
    ],
)
def test_a_strip_that_cannot_be_is_refused(sampling, said):
    text = f"trial: t\nmodel: gpt2\ndata: {{source: a.jsonl}}\narms: {{base: }}\nsampling: {sampling}\n"
    with pytest.raises(UserError) as refused:
        parse_trial(text, origin="trial.yaml")
    assert said in str(refused.value)
