"""Reading: every kind of file gives the same examples, every fault names its line, and cuts keep groups whole."""

import json

import pytest
from trials import SHARED, trial_with, write_jsonl

from finetrial.errors import UserError
from finetrial.trial.data import read_splits
from finetrial.trial.examples import Message
from finetrial.trial.sources import fixed_bounds, parse_source

PAIRS = [{"prompt": f"question {i}, please", "completion": f'answer "{i}"\nin two lines'} for i in range(30)]


def read(base, **data):
    return read_splits(trial_with(base, **data))


def fault(base, **data):
    with pytest.raises(UserError) as caught:
        read(base, **data)
    return str(caught.value)


def everything(splits):
    return [*splits.train, *splits.validation, *splits.heldout]


def test_jsonl_json_csv_and_parquet_give_the_same_examples(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    (tmp_path / "a.json").write_text(json.dumps(PAIRS))
    quoted = ['"' + row["prompt"] + '","' + row["completion"].replace('"', '""') + '"' for row in PAIRS]
    (tmp_path / "a.csv").write_text("prompt,completion\n" + "\n".join(quoted) + "\n")
    parquet.write_table(pyarrow.Table.from_pylist(PAIRS), tmp_path / "a.parquet")
    found = {}
    for suffix in ("jsonl", "json", "csv", "parquet"):
        splits = read(tmp_path, source=f"a.{suffix}", validation=3, heldout=4)
        assert [len(s) for s in (splits.train, splits.validation, splits.heldout)] == [23, 3, 4]
        found[suffix] = [(e.id, e.prompt, e.references) for e in everything(splits)]
    assert len(found) == 4
    assert found["jsonl"] == found["json"] == found["csv"] == found["parquet"]


def test_csv_origins_count_lines_though_a_field_spans_two(tmp_path):
    (tmp_path / "a.csv").write_text('prompt,completion\na,"one\ntwo"\nb,three\nc,\n')
    assert "a.csv:5: the completion in column 'completion' is empty" in fault(tmp_path, source="a.csv")


def test_a_semicolon_file_is_read_as_one(tmp_path):
    (tmp_path / "a.csv").write_text("Prompt;Completion\n" + "".join(f"q{i};a, b{i}\n" for i in range(6)))
    splits = read(tmp_path, source="a.csv", validation=1, heldout=1)
    assert {e.references for e in everything(splits)} == {(f"a, b{i}",) for i in range(6)}


def test_the_cut_is_seeded_disjoint_and_whole(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    first = read(tmp_path, source="a.jsonl", validation=5, heldout=5, seed=1)
    again = read(tmp_path, source="a.jsonl", validation=5, heldout=5, seed=1)
    other = read(tmp_path, source="a.jsonl", validation=5, heldout=5, seed=2)
    assert first == again
    assert first.content_hash != other.content_hash
    assert sorted(e.prompt for e in everything(first)) == sorted(row["prompt"] for row in PAIRS)
    assert len({e.id for e in everything(first)}) == 30


def test_asking_for_fewer_training_rows_leaves_the_held_out_ones_where_they_are(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    many = read(tmp_path, source="a.jsonl", validation=5, heldout=5)
    few = read(tmp_path, source="a.jsonl", train=4, validation=5, heldout=5)
    assert few.heldout == many.heldout and few.validation == many.validation
    assert len(few.train) == 4 and set(e.prompt for e in few.train) < set(e.prompt for e in many.train)


def test_a_group_stays_on_one_side(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": "c", "customer": i // 3} for i in range(60)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    splits = read(tmp_path, source="a.jsonl", group="customer", validation=9, heldout=9)
    sides = [{e.group for e in s} for s in (splits.train, splits.validation, splits.heldout)]
    assert [len(s) for s in sides] == [14, 3, 3]  # 20 groups of 3 rows; 9 rows are 3 groups
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_a_group_that_would_be_divided_loses_rows_and_says_so(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": "c", "customer": i // 3} for i in range(60)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    splits = read(tmp_path, source="a.jsonl", group="customer", validation=3, heldout=10)
    # 10 rows are three groups and a third of a fourth, whose other two rows stand on no side
    assert len(splits.heldout) == 10 and len(everything(splits)) == 58
    assert splits.notes == ("left out 2 rows so that no group is divided",)


def test_the_same_prompt_twice_stays_on_one_side_of_the_cut(tmp_path):
    rows = [{"prompt": f"p{i % 20}", "completion": f"c{i}"} for i in range(40)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    for seed in range(5):
        splits = read(tmp_path, source="a.jsonl", validation=4, heldout=4, seed=seed)
        sides = [{e.prompt for e in s} for s in (splits.train, splits.validation, splits.heldout)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_named_files_with_slices_are_taken_as_they_are(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    splits = read(
        tmp_path, source={"train": "a.jsonl[:50%]", "validation": "a.jsonl[15:20]", "heldout": "a.jsonl[-10:]"}
    )
    assert [e.prompt for e in splits.train] == [row["prompt"] for row in PAIRS[:15]]
    assert [e.prompt for e in splits.validation] == [row["prompt"] for row in PAIRS[15:20]]
    assert [e.prompt for e in splits.heldout] == [row["prompt"] for row in PAIRS[20:]]
    assert splits.heldout[0].origin == "a.jsonl:21" and splits.heldout[0].id == "heldout-21"


def test_a_folder_with_the_usual_files_brings_its_own_splits(tmp_path):
    (tmp_path / "d").mkdir()
    write_jsonl(tmp_path / "d" / "train.jsonl", PAIRS[:20])
    write_jsonl(tmp_path / "d" / "test.jsonl", PAIRS[20:])
    splits = read(tmp_path, source="d", validation=2)
    assert len(splits.train) == 18 and len(splits.heldout) == 10
    assert all(e.origin.startswith("test.jsonl:") for e in splits.heldout)


def test_several_references_are_one_example(tmp_path):
    rows = [{"id": f"x{i}", "prompt": f"p{i}", "completions": ["one", "two"]} for i in range(5)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    splits = read(tmp_path, source="a.jsonl", validation=1, heldout=1)
    assert {e.references for e in everything(splits)} == {("one", "two")}
    assert {e.id for e in everything(splits)} == {f"x{i}" for i in range(5)}


def test_an_id_that_two_rows_share_is_not_used(tmp_path):
    rows = [{"id": "same" if i < 2 else f"x{i}", "prompt": f"p{i}", "completion": "c"} for i in range(5)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    ids = {e.id for e in everything(read(tmp_path, source="a.jsonl", validation=1, heldout=1))}
    assert len(ids) == 5 and "same" not in ids and {"x2", "x3", "x4"} < ids


def test_an_instruction_takes_its_input_along(tmp_path):
    rows = [{"instruction": f"Add {i}.", "input": "1 2" if i % 2 else "", "output": "3"} for i in range(4)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    prompts = {e.prompt for e in everything(read(tmp_path, source="a.jsonl", validation=1, heldout=1))}
    assert prompts == {"Add 0.", "Add 1.\n\n1 2", "Add 2.", "Add 3.\n\n1 2"}


@pytest.mark.parametrize(
    "names",
    [
        ("question", "answer"),
        ("query", "response"),
        ("text", "summary"),
        ("document", "summary"),
        ("source", "target"),
        ("prompt", "references"),
        ("Question", "Answer"),
    ],
)
def test_the_usual_names_are_found(tmp_path, names):
    write_jsonl(tmp_path / "a.jsonl", [{names[0]: f"p{i}", names[1]: "c", "other": "o"} for i in range(4)])
    example = read(tmp_path, source="a.jsonl", validation=1, heldout=1).train[0]
    assert example.prompt.startswith("p") and example.references == ("c",)
    assert names[1] not in example.fields  # a template may not show the answer


def test_columns_that_can_be_read_two_ways_are_refused_with_both(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"question": "q", "answer": "a", "text": "t", "summary": "s"}])
    line = fault(tmp_path, source="a.jsonl")
    assert "question/answer or text/summary" in line and "columns question, answer, text, summary" in line


def test_columns_of_no_known_name_are_listed_with_the_nearest(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"promt": "q", "kompletion": "a"}])
    line = fault(tmp_path, source="a.jsonl")
    assert "columns promt, kompletion" in line and "'promt' is the nearest" in line


def test_a_mapped_column_that_is_not_there_names_the_nearest(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"ticket": "q", "reply": "a"}])
    line = fault(tmp_path, source="a.jsonl", prompt="tickets", completion="reply")
    assert "unknown column of a.jsonl 'tickets'" in line and "Did you mean 'ticket'?" in line


def test_chats_in_either_spelling_end_with_the_last_assistant_turn(tmp_path):
    roles = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    roles += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "thanks"}]
    shares = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
    own = [{"role": "user", "content": str(number)} for number in range(4)]
    write_jsonl(tmp_path / "a.jsonl", [{"messages": [roles[1], turn, *roles[2:]]} for turn in own])
    write_jsonl(tmp_path / "b.jsonl", [{"conversations": [*shares, *shares]}] * 3)
    first = read(tmp_path, source="a.jsonl", format="messages", validation=1, heldout=1).train[0]
    assert [m.role for m in first.messages] == ["user", "user", "assistant"]
    assert first.references == ("a",) and first.prompt.startswith("user: u\nuser: ")
    assert "got 3 rows, of which those with one group or prompt make 1 unit" in fault(
        tmp_path, source="b.jsonl", format="messages"
    )
    splits = read(tmp_path, source={t: "b.jsonl" for t in ("train", "validation", "heldout")}, format="messages")
    assert splits.train[0].messages[0] == Message("user", "u")
    assert splits.train[0].prompt == "user: u\nassistant: a\nuser: u"


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([{"role": "user", "content": "u"}], "a.jsonl:1 has no assistant turn; got roles user"),
        ([{"role": "assistant", "content": "a"}], "a.jsonl:1: the prompt is empty"),
        ([{"role": "user"}, {"role": "assistant", "content": "a"}], "turn 1: the content is not text; got nothing"),
        ([{"role": "user", "content": "u"}, {"role": "assistant", "content": " "}], "the completion is empty"),
        ([{"text": "u"}], "turn 1 has no role"),
        ("u", "is not a chat; got str"),
    ],
)
def test_a_faulty_chat_is_named_with_its_turn(tmp_path, turns, expected):
    write_jsonl(tmp_path / "a.jsonl", [{"messages": turns}])
    assert expected in fault(tmp_path, source="a.jsonl", format="messages")


def test_text_is_cut_into_windows_that_do_not_overlap_and_join_to_the_text(tmp_path):
    lines = [f"line {i}" for i in range(11)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines))  # blank lines between
    sources = {s: "a.txt" for s in ("train", "validation", "heldout")}
    splits = read(tmp_path, source=sources, format={"text": {"unit": "line", "prefix": 1, "continuation": 4}})
    # 11 lines are two windows of 5 and one line that fills none
    assert [(e.prompt, e.references[0]) for e in splits.train] == [
        ("line 0", "\nline 1\nline 2\nline 3\nline 4"),
        ("line 5", "\nline 6\nline 7\nline 8\nline 9"),
    ]
    assert [e.origin for e in splits.train] == ["a.txt:1", "a.txt:11"]


def test_a_slice_of_text_counts_lines(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"l{i}\n" for i in range(20)))
    source = {"train": "a.txt[10:14]", "validation": "a.txt[0:2]", "heldout": "a.txt[18:]"}
    splits = read(tmp_path, source=source, format={"text": {"prefix": 1, "continuation": 1}})
    assert [(e.prompt, e.references[0], e.id) for e in splits.train] == [
        ("l10", "\nl11", "train-11"),
        ("l12", "\nl13", "train-13"),
    ]
    assert splits.heldout[0].prompt == "l18"


def test_documents_in_a_column_are_cut_each_by_itself(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": f"a{i} b{i} c{i} d{i} e{i}"} for i in range(5)])
    splits = read(tmp_path, source="a.jsonl", format={"text": {"unit": "word", "prefix": 1, "continuation": 1}},
                  validation=2, heldout=2)  # fmt: skip
    pairs = {(e.prompt, e.references[0]) for e in everything(splits)}
    assert pairs == {(f"{a}{i}", f" {b}{i}") for i in range(5) for a, b in ("ab", "cd")}
    assert len({e.id for e in everything(splits)}) == 10


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"prompt": "a", "completion": "b"}\nnot json\n', "a.jsonl:2 is not JSON"),
        (b'{"prompt": "a", "completion": "b"}\n\n[1]\n', "a.jsonl:3 is not a row; got a list"),
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', "a.jsonl:2 has no column 'completion'"),
        (b'{"prompt": " ", "completion": "b"}\n', "a.jsonl:1: the prompt in column 'prompt' is empty"),
        (b'{"prompt": "a", "completion": []}\n', "a.jsonl:1: the completion in column 'completion' is an e"),
        (b'{"prompt": "a", "completion": ["x", ""]}\n', "the completion in column 'completion' is empty"),
        (b'{"prompt": 7, "completion": "b"}\n', "the prompt in column 'prompt' is not text; got int '7'"),
        (b'{"prompt": "a", "completion": "b", "n": NaN}\n', "a.jsonl:1 is not JSON"),
        (
            b'{"prompt": "a", "completion": "b"}\n{"prompt": "\xff"}\n',
            "a.jsonl:2 is not UTF-8 text; got byte 0xff at offset 47",
        ),
        (b"", "a.jsonl is empty"),
        (b"[\n", "name it .json"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_named_with_its_line(tmp_path, content, expected):
    (tmp_path / "a.jsonl").write_bytes(content)
    assert expected in fault(tmp_path, source="a.jsonl")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": "c\u2028d"} for i in range(4)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    splits = read(tmp_path, source="a.jsonl", validation=1, heldout=1)
    assert len(everything(splits)) == 4 and splits.train[0].references == ("c\u2028d",)


def test_fewer_rows_than_asked_says_how_many_there_are(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    line = fault(tmp_path, source="a.jsonl", train=30, validation=5, heldout=5)
    assert "got 30 rows" in line and "train 30, validation 5, heldout 5" in line
    line = fault(tmp_path, source={"train": "a.jsonl", "heldout": "a.jsonl[:5]"}, heldout=6)
    assert "data.heldout asks for more rows than there are; got 5 rows in a.jsonl; expected 6" in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("b.jsonl", "there is no data file"),
        ("a.jsonl[9:9]", "the slice [9:9] of a.jsonl is empty; got 30 rows"),
        ("a.jsonl[x]", "the slice of 'a.jsonl[x]' is not understood"),
        ("a.xml", "there is no data file"),
        ("./nowhere", "there is no data file"),
    ],
)  # fmt: skip
def test_a_source_that_is_not_there_is_an_error(tmp_path, name, expected):
    write_jsonl(tmp_path / "a.jsonl", PAIRS)
    name = "./a.xml" if name == "a.xml" else name
    assert expected in fault(tmp_path, source=name)


def test_plain_text_without_a_text_format_says_what_to_set(tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\n")
    assert "Set `format: {text:" in fault(tmp_path, source="a.txt")


def test_dropping_overlaps_keeps_the_prompt_held_out_and_comes_before_counting(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", PAIRS[:20])
    write_jsonl(tmp_path / "b.jsonl", [PAIRS[3] | {"prompt": "QUESTION 3,  please"}, *PAIRS[20:25], PAIRS[20]])
    splits = read(tmp_path, source={"train": "a.jsonl", "heldout": "b.jsonl"}, overlap="drop", validation=2,
                  train=17, heldout=6)  # fmt: skip
    assert len(splits.heldout) == 6 and len(splits.train) == 17  # 20 - 1 dropped - 2 validation
    assert "question 3, please" not in {e.prompt for e in (*splits.train, *splits.validation)}
    assert splits.notes == (
        "dropped from heldout, its prompt stands elsewhere too: b.jsonl:7",
        "dropped from train, its prompt stands elsewhere too: a.jsonl:4",
    )


def test_offline_and_not_in_the_cache_is_an_error_that_says_so(tmp_path):
    import subprocess
    import sys

    pytest.importorskip("datasets")
    code = (
        "from finetrial.trial.hub import read_hub\n"
        "from finetrial.errors import UserError\n"
        "try:\n    read_hub('nobody/nothing', configuration=None, revision=None)\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert "the data set 'nobody/nothing' cannot be had from the hub" in done.stdout
    assert "HF_HUB_OFFLINE is set" in done.stdout


def test_a_slice_of_a_hub_data_set_is_streamed_and_no_more_than_it_is_read(tmp_path, monkeypatch):
    """The second file is no JSON: whoever read it would fail, as the whole data set does."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from finetrial.trial.hub import read_hub_slice, read_hub_split

    folder = tmp_path / "set"
    folder.mkdir()
    write_jsonl(folder / "train-0.jsonl", [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(50)])
    (folder / "train-1.jsonl").write_text("no JSON at all\n" * 50)
    asked = {"configuration": None, "split": "train", "revision": None}
    table = read_hub_slice(str(folder), **asked, start=10, end=14)
    assert [row.values["prompt"] for row in table.rows] == ["q10", "q11", "q12", "q13"]
    assert [row.number for row in table.rows] == [11, 12, 13, 14]
    assert table.columns == ("prompt", "completion")
    with pytest.raises(UserError, match="cannot be read from the hub"):
        read_hub_split(str(folder), **asked)
    with pytest.raises(UserError, match="split"):
        read_hub_slice(str(folder), **(asked | {"split": "dev"}), start=0, end=2)
    write_jsonl(folder / "train-1.jsonl", [{"prompt": "last", "completion": "a"}])
    with pytest.raises(UserError, match="is empty"):
        read_hub_slice(str(folder), **asked, start=60, end=70)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("a/b:train[:20]", (0, 20)),
        ("a/b:en:train[5:20]", (5, 20)),
        ("a/b:train[5:]", None),
        ("a/b:train[-5:]", None),
        ("a/b:train[:-5]", None),
        ("a/b:train[:10%]", None),
        ("a/b:train", None),
    ],
)
def test_only_a_slice_whose_bounds_need_no_count_is_streamed(tmp_path, name, bounds):
    assert fixed_bounds(parse_source(name, base=tmp_path)) == bounds


def test_a_hub_data_set_is_read_through_the_datasets_package(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from finetrial.trial.hub import read_hub, read_hub_split

    folder = tmp_path / "set"  # the package reads a folder as it reads a hub id
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", PAIRS[:4])
    write_jsonl(folder / "test.jsonl", PAIRS[4:6])
    tables = read_hub(str(folder), configuration=None, revision=None)
    assert {name: len(table.rows) for name, table in tables.items()} == {"train": 4, "test": 2}
    assert tables["test"].columns == ("prompt", "completion")
    assert tables["train"].rows[0].values == PAIRS[0]
    with pytest.raises(UserError, match="one of test, train"):
        read_hub_split(str(folder), configuration=None, split="dev", revision=None)


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason=f"the real data are not at {SHARED}")
def test_scitldr_is_read_with_its_references_and_its_duplicates_dropped():
    source = {"train": "scitldr_train.jsonl", "heldout": "scitldr_dev.jsonl"}
    splits = read(SHARED, source=source, overlap="drop", validation=100)
    # 619 dev rows with one prompt twice; 1,992 training rows of which one stands in dev
    assert len(splits.heldout) == 618
    assert len(splits.train) + len(splits.validation) == 1991
    assert len(splits.notes) == 2 and max(len(e.references) for e in splits.heldout) > 1
