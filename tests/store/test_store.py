"""The trial folder: rows survive a round trip, a failed write keeps the old file, steps know why they are stale."""

import json

import pytest

from finetrial.errors import UserError
from finetrial.store.files import atomic_path, atomic_text
from finetrial.store.manifest import Manifest
from finetrial.store.records import RECORDS_VERSION, Sample, Score, read_rows, write_rows
from finetrial.store.search import RateSearch, TriedRate, read_search, write_search

SAMPLE = Sample(
    id="lora/p1/0", prompt_id="p1", group=None, arm="lora", index=0, prompt="Ü <b>\u2028 x", text="y\nz",
    token_ids=(1, 2), references=("r", "s"), end_reason="length", logprob=-1.5, tokens=2, seconds=0.1, seed=7,
)  # fmt: skip


def test_rows_survive_a_round_trip(tmp_path):
    rows = [SAMPLE, Sample(**{**{f: getattr(SAMPLE, f) for f in Sample.__slots__}, "id": "b", "token_ids": None})]
    assert write_rows(tmp_path / "a" / "lora.jsonl", rows) == 2
    assert list(read_rows(tmp_path / "a" / "lora.jsonl", Sample)) == rows


def test_a_spoilt_row_is_named_by_file_and_line(tmp_path):
    write_rows(tmp_path / "s.jsonl", [Score("a", "rouge1", 0.5, "x"), Score("b", "rouge1", None, "x")])
    text = (tmp_path / "s.jsonl").read_text().replace('"value": null', '"valve": null')
    (tmp_path / "s.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"s\.jsonl, line 2 is not a Score record"):
        list(read_rows(tmp_path / "s.jsonl", Score))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"value": 0.5', '"value": "0.5"', "value: Input should be a valid number"),
        ('"metric": "rouge1"', '"metric": 1', "metric: Input should be a valid string"),
        ('"signature"', '"arm": "x", "signature"', "arm: Unexpected keyword argument"),
        ('{"sample_id"', '["sample_id"', "Invalid JSON"),
    ],
)
def test_a_wrong_type_or_key_is_named_with_its_line(tmp_path, old, new, said):
    path = tmp_path / "s.jsonl"
    write_rows(path, [Score("a", "rouge2", None, "x"), Score("b", "rouge1", 0.5, "x")])
    lines = path.read_text().splitlines()
    assert old in lines[1]
    path.write_text(lines[0] + "\n" + lines[1].replace(old, new, 1) + "\n")
    with pytest.raises(UserError, match=rf"s\.jsonl, line 2 is not a Score record; got {said}"):
        list(read_rows(path, Score))


def test_a_rate_search_and_a_record_of_costs_are_read_as_strictly(tmp_path):
    search = RateSearch("x", 1e-4, 0.1, 25, tried=(TriedRate(1e-4, 2.0, None, 100, 3.0),), chosen=None)
    write_search(tmp_path / "search.json", search)
    assert read_search(tmp_path / "search.json") == search and read_search(tmp_path / "none.json") is None
    text = (tmp_path / "search.json").read_text()
    (tmp_path / "search.json").write_text(text.replace('"tokens": 100', '"tokens": "many"'))
    with pytest.raises(UserError, match=r"search\.json is not a RateSearch record; got tried\.0\.tokens: Input"):
        read_search(tmp_path / "search.json")


def test_an_older_folder_is_read_and_a_newer_one_refused_with_the_reason(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"steps": {}}')  # from before the version was noted
    Manifest(path).describe({"command": "x"})
    assert json.loads(path.read_text())["records"] == RECORDS_VERSION == 1
    path.write_text('{"records": 2, "steps": {}}')
    with pytest.raises(UserError, match="another version of finetrial; got records version 2; expected 1"):
        Manifest(path)


def test_a_row_that_is_not_finite_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        write_rows(tmp_path / "s.jsonl", [Score("a", "rouge1", float("nan"), "x")])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    atomic_text(tmp_path / "f", "old")
    with pytest.raises(OSError, match="disk"), atomic_path(tmp_path / "f") as temporary:
        temporary.write_text("half")
        raise OSError("disk")
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_rate_that_was_stopped_counts_in_the_searchs_flops_by_its_seconds():
    # Two rates of 6e9 FLOPs in 3 s each make 2e9 a second; the third was stopped after 1 s: 12e9 + 2e9.
    ended = [TriedRate(rate, 2.0, None, 100, 3.0, 6e9) for rate in (1e-4, 3e-4)]
    stopped = TriedRate(1e-3, None, "the loss diverged", 0, 1.0)
    search = RateSearch("x", 1e-4, 0.1, 25, tried=(*ended, stopped), chosen=3e-4)
    assert search.flops == pytest.approx(14e9)
    older = RateSearch("x", 1e-4, 0.1, 25, tried=(ended[0], TriedRate(3e-4, 2.0, None, 100, 3.0)), chosen=1e-4)
    assert older.flops is None
    assert RateSearch("x", 1e-4, 0.1, 25, tried=(stopped,), chosen=None).flops is None
