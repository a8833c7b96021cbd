"""The gate refuses what would spoil a trial and names what its user should look at."""

import json
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from trials import trial_with

from finetrial.errors import UserError
from finetrial.trial.contamination import fingerprint, overlap, read_fingerprint
from finetrial.trial.examples import Dropped, Encoded, EncodedSplit, Example, Splits
from finetrial.trial.gate import GateReport, gate_text, gate_tokens, write_gate
from finetrial.trial.overlap import near_pairs

WORDS = [f"w{i}" for i in range(5000)]


def text(seed, length=60):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


def example(split, number, prompt=None, completion=None, group=None):
    completion = f"done {number}" if completion is None else completion
    prompt = text(crc32(f"{split}{number}".encode())) if prompt is None else prompt
    return Example(f"{split}-{number}", f"{split}.jsonl:{number}", prompt, (completion,), {}, group)


def splits(train=(), validation=(), heldout=()):
    def fill(name, given):
        return (*given, *(example(name, 100 + i, prompt=text(1000 * len(name) + i)) for i in range(5)))

    return Splits(fill("train", train), fill("validation", validation), fill("heldout", heldout), "hash")


def gate(found, base, **data):
    arms = data.pop("arms", None)
    return gate_text(found, trial=trial_with(base, arms=arms, source="a.jsonl", **data).trial)


def codes(found):
    return [finding.code for finding in found.findings]


def test_sound_data_have_no_findings(tmp_path):
    report = gate(splits(), tmp_path)
    assert report.findings == () and report.rows == {"train": 5, "validation": 5, "heldout": 5}


def test_a_prompt_in_two_splits_is_refused_whatever_its_capitals_and_spaces(tmp_path):
    found = splits(
        train=[example("train", 1, "The same  prompt")], heldout=[example("heldout", 2, "the SAME prompt ")]
    )
    with pytest.raises(UserError) as caught:
        gate(found, tmp_path)
    assert "1 prompt in more than one split" in str(caught.value)
    assert "heldout.jsonl:2 (heldout) and train.jsonl:1 (train)" in str(caught.value)


def test_of_running_text_only_whole_passages_count(tmp_path):
    found = splits(
        train=[example("train", 1, "ROMEO:", "\nAy me")], heldout=[example("heldout", 2, "ROMEO:", "\nShe")]
    )
    assert gate(found, tmp_path, format="text").findings == ()
    same = splits(
        train=[example("train", 1, "ROMEO:", "\nAy me")], heldout=[example("heldout", 2, "ROMEO:", "\nAy me")]
    )
    with pytest.raises(UserError, match="1 passage in more than one split"):
        gate(same, tmp_path, format="text")


def test_a_prompt_with_a_few_words_changed_is_nearly_the_same():
    words = text(7, 80).split()
    words[10] = words[60] = "changed"
    found = splits(train=[example("train", 1, text(7, 80))], heldout=[example("heldout", 2, " ".join(words))])
    (pair,) = near_pairs(found, whole=False)
    # 73 runs of 8 words, of which every change spoils 8: 57 are left
    assert pair.origin == "heldout.jsonl:2" and pair.other_origin == "train.jsonl:1"
    assert pair.share == pytest.approx(57 / 73)


def test_half_of_the_runs_is_the_line():
    base = text(8, 40).split()  # 33 runs
    for kept, near in ((24, True), (23, False)):  # 17 of 33 runs are more than half, 16 are not
        prompt = " ".join(base[:kept] + text(9, 40 - kept).split())
        found = splits(train=[example("train", 1, text(8, 40))], heldout=[example("heldout", 2, prompt)])
        assert bool(near_pairs(found, whole=False)) == near


def test_an_instruction_that_every_prompt_begins_with_makes_none_alike(tmp_path):
    instruction = text(5, 40)
    train = [example("train", i, f"{instruction} {text(50 + i, 10)}") for i in range(20)]
    heldout = [example("heldout", i, f"{instruction} {text(90 + i, 10)}") for i in range(20)]
    assert near_pairs(Splits(tuple(train), (), tuple(heldout), "h"), whole=False) == ()


def test_duplicates_and_divided_groups_are_named(tmp_path):
    found = splits(
        train=[example("train", 1, "one two"), example("train", 2, "One  two"), example("train", 3, group="g")],
        heldout=[example("heldout", 1, group="g")],
    )
    report = gate(found, tmp_path)
    assert codes(report) == ["duplicates", "divided_group"]
    assert report.findings[0].examples == ("train.jsonl:2 repeats train.jsonl:1",)
    assert report.findings[1].examples == ("'g' in heldout, train",)


def test_a_marker_that_the_template_doubles_is_named(tmp_path):
    marked = splits()
    marked = replace(marked, train=tuple(replace(e, prompt=e.prompt + "\nTL;DR:") for e in marked.train))
    arms = {"base": {}, "full": {"method": "full", "template": "{prompt}\n\nTL;DR: "}}
    report = gate(marked, tmp_path, arms=arms)
    assert "doubled_marker" in codes(report)
    assert "5 of 15 prompts already end with 'tl;dr:', and the template of arm full" in report.findings[0].message
    assert gate(marked, tmp_path, arms={"base": {}}).findings == ()


def test_white_space_at_the_seam_is_named(tmp_path):
    double = gate(splits(train=[example("train", 1, "a ", " b")]), tmp_path)
    assert codes(double) == ["double_space"] and double.findings[0].examples == ("train.jsonl:1",)
    assert codes(gate(splits(train=[example("train", 1, "a ", "b")]), tmp_path)) == ["missing_space"]
    assert codes(gate(splits(train=[example("train", 1, "a\n", "b")]), tmp_path)) == []


def test_a_template_with_an_unknown_column_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown column in the template .* 'titel'"):
        gate(splits(), tmp_path, template="{titel}")


def encoded(name, ids, trained):
    return Encoded(name, tuple(ids), tuple(bool(t) for t in trained))


def tokens(given, *, ends=frozenset({9}), **settings):
    rest = EncodedSplit((encoded("validation-100", [1, 2, 9], [0, 1, 1]),))
    return gate_tokens(
        {"train": given, "validation": rest, "heldout": rest}, splits=splits(), ends=ends, **settings
    )


def test_tokens_are_counted_by_split():
    kept = (encoded("a", [1, 2, 3, 9], [0, 0, 1, 1]), replace(encoded("b", [1, 9], [0, 1]), cut_tokens=7))
    report = tokens(EncodedSplit(kept, (Dropped("c", "train.jsonl:3", "train.jsonl:3: too long"),)))
    train = report.splits["train"]
    assert (train.kept, train.cut, train.cut_tokens, train.dropped) == (2, 1, 7, 1)
    assert (train.tokens, train.trained_tokens, train.trained_share) == (6, 3, 0.5)
    assert (train.lengths.most, train.completion_lengths.most, train.lengths.median) == (4, 2, 2)
    assert train.dropped_why == ("train.jsonl:3: too long",)


@pytest.mark.parametrize(
    ("ids", "trained", "expected"),
    [
        ([1, 9], [0, 0], "train.jsonl:101 has no trained tokens"),
        ([1, 2, 9], [0, 1, 0], "train.jsonl:101: the end token is not trained"),
        ([1, 2, 3], [0, 1, 1], "train.jsonl:101: the end token is not trained"),
    ],
)
def test_an_example_that_would_teach_nothing_or_no_stop_is_refused_by_its_row(ids, trained, expected):
    with pytest.raises(UserError) as caught:
        tokens(EncodedSplit((encoded("train-101", ids, trained),)))
    assert expected in str(caught.value)


def test_a_row_beyond_the_models_context_is_refused_by_its_row():
    fits = EncodedSplit((encoded("train-101", [1, 2, 3, 9], [0, 0, 1, 1]),))
    tokens(fits, context=4)
    with pytest.raises(UserError, match=r"train\.jsonl:101 does not fit the model's context; got 4 tokens"):
        tokens(fits, context=3)
    with pytest.raises(UserError, match="with the tokens it is to be answered in; got 11 tokens"):
        tokens(fits, context=10, new_tokens=10)


def test_a_split_of_which_nothing_is_left_is_refused():
    with pytest.raises(UserError, match=r"nothing of train is left.*too long"):
        tokens(EncodedSplit((), (Dropped("c", "o", "too long"),)))


def test_an_end_token_inside_the_text_is_named_but_a_beginning_token_is_not():
    report = tokens(EncodedSplit((encoded("train-101", [9, 1, 9, 9], [0, 0, 1, 1]),)))
    assert [f.code for f in report.findings] == ["end_token_inside"]
    assert tokens(EncodedSplit((encoded("train-101", [9, 1, 9], [0, 0, 1]),))).findings == ()


def test_the_report_is_written_as_json(tmp_path):
    report = GateReport(
        gate(splits(), tmp_path), {"{prompt}": tokens(EncodedSplit((encoded("a", [1, 9], [0, 1]),)))}, "h"
    )
    write_gate(report, tmp_path / "data.json")
    content = json.loads((tmp_path / "data.json").read_text())
    assert content["tokens"]["{prompt}"]["splits"]["train"]["trained_share"] == 0.5


def test_a_fingerprint_finds_what_was_read_and_nothing_else():
    read, unread = text(1, 2000), text(2, 2000)
    known = fingerprint(read)
    assert known.dtype == np.uint64 and known[0] == 1 and len(known) == 1 + 2000 - 12
    assert (np.diff(known.astype(object)) > 0).all()
    words = read.split()
    inside = [
        example("heldout", i, " ".join(words[i : i + 60]), " ".join(words[i + 60 : i + 90]))
        for i in range(0, 500, 100)
    ]
    outside = [example("heldout", 10, unread)]
    assert overlap(inside, known).run_share == 1.0 and len(overlap(inside, known).examples) == 5
    assert overlap(outside, known).run_share == 0.0 and overlap(outside, known).examples == ()
    assert overlap([example("heldout", 1, "too short")], known).run_share is None


def test_a_bounded_fingerprint_samples_the_same_runs_on_both_sides():
    read = text(1, 20000)
    known = fingerprint(read, most_hashes=1000)
    assert 500 < len(known) <= 1001 and known[0] == 32  # 20,000 runs / 1,000 is 20; the next power of two is 32
    half = [example("heldout", 1, read[: len(read) // 2]), example("heldout", 2, text(2, 10000))]
    found = overlap(half, known)
    # about half of what is looked up stands in the text: 20,000 / 32 = 625 looked up, sd 2 points
    assert found.run_share == pytest.approx(0.5, abs=0.08) and found.examples == ("heldout.jsonl:1",)


def test_the_fingerprint_does_not_depend_on_how_the_text_comes():
    assert np.array_equal(fingerprint("A b, c! " * 9), fingerprint("a B c\n" * 9))
    parts = [text(i, 300) for i in range(4)]
    known = fingerprint(parts, most_hashes=100)
    assert known[0] > 1 and np.array_equal(known, fingerprint(reversed(parts), most_hashes=100))


def test_the_gate_reads_the_fingerprint_that_a_base_keeps(tmp_path):
    heldout = [example("heldout", 1, text(77, 100))]
    np.save(tmp_path / "shingles.npy", fingerprint(text(77, 100)))
    (tmp_path / "manifest.json").write_text(json.dumps({"read": [], "shingles": "shingles.npy"}))
    trial = trial_with(tmp_path, source="a.jsonl").trial
    report = gate_text(splits(heldout=heldout), trial=trial, model_folder=tmp_path)
    assert report.contamination.examples == ("heldout.jsonl:1",) and codes(report) == ["contaminated"]
    (tmp_path / "manifest.json").write_text(json.dumps({"read": []}))
    assert read_fingerprint(tmp_path) is None
    assert gate_text(splits(heldout=heldout), trial=trial, model_folder=tmp_path).contamination is None
    (tmp_path / "manifest.json").write_text(json.dumps({"shingles": "gone.npy"}))
    with pytest.raises(UserError, match="cannot be read"):
        read_fingerprint(tmp_path)
