"""`finetrial split` writes the splits of a trial, and an arm trained elsewhere must not know the held-out rows."""

import json

import numpy as np
import pytest
from trials import SHARED, trial_with, write_jsonl

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.trial.contamination import fingerprint
from finetrial.trial.data import read_splits
from finetrial.trial.split_files import write_splits
from finetrial.trial.trained_on import check_trained_on, read_by_bases
from finetrial.trial.trial_file import load_trial

# Of 12 words and more each, as near matches need some; the first words tell them apart
TICKETS = [
    {
        "ticket": f"customer {n} writes that parcel {n * 7} has not come although it was sent {n} days ago to the "
        "right address",
        "answer": f"We look for parcel {n * 7}.",
        "customer": n // 2,
        "tone": "angry",
    }
    for n in range(40)
]  # fmt: skip
COLUMNS = {"prompt": "ticket", "completion": "answer", "group": "customer"}


def content(splits):
    return {
        name: [(e.id, e.prompt, e.references, e.group, e.messages) for e in examples]
        for name, examples in splits.by_name.items()
    }


def lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def test_what_is_written_is_read_back_as_the_same_splits(tmp_path):
    write_jsonl(tmp_path / "tickets.jsonl", TICKETS)
    loaded = trial_with(tmp_path, source="tickets.jsonl", validation=5, heldout=6, **COLUMNS)
    splits = read_splits(loaded)
    files = write_splits(splits, loaded, folder=tmp_path / "rows")
    assert (files["validation"].rows, files["heldout"].rows) == (5, 6) and files["train"].rows == len(splits.train)
    again = read_splits(trial_with(tmp_path, source="./rows", group="customer"))
    assert content(again) == content(splits)
    row = lines(tmp_path / "rows" / "train.jsonl")[0]
    assert row["tone"] == "angry" and row["prompt"].startswith("customer") and row["completion"].startswith("We")


def test_chats_own_prompts_and_several_references_survive_the_way(tmp_path):
    brief, here = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hier. ü"}
    chats = [{"messages": [brief, {"role": "user", "content": f"Where is {n}?"}, here]} for n in range(20)]
    write_jsonl(tmp_path / "chats.jsonl", chats)
    loaded = trial_with(tmp_path, source="chats.jsonl", format="messages", validation=2, heldout=2)
    write_splits(read_splits(loaded), loaded, folder=tmp_path / "a")
    again = trial_with(tmp_path, source="./a", format="messages")
    assert content(read_splits(again)) == content(read_splits(loaded))
    rows = [{"prompt": f"say {n}", "completion": [f"{n}", f"it is {n}"]} for n in range(20)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    loaded = trial_with(tmp_path, source="rows.jsonl", validation=2, heldout=2)
    write_splits(read_splits(loaded), loaded, folder=tmp_path / "b")
    assert content(read_splits(trial_with(tmp_path, source="./b"))) == content(read_splits(loaded))


def test_the_command_writes_shown_prompts_and_never_over_other_rows(tmp_path, capsys):
    write_jsonl(tmp_path / "tickets.jsonl", TICKETS)
    (tmp_path / "t.yaml").write_text(
        "trial: t\nmodel: gpt2\ndata: {source: tickets.jsonl, prompt: ticket, completion: answer, validation: 4, "
        'heldout: 4, template: "Ticket: {prompt}\\nTone: {tone}\\nAnswer:"}\narms: {base: }\n'
    )
    command = ["split", str(tmp_path / "t.yaml"), "--out", str(tmp_path / "rows")]
    assert dispatch([*command, "--shown", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {name: file["rows"] for name, file in found["files"].items()}
    assert rows == {"train": 32, "validation": 4, "heldout": 4}
    first = lines(tmp_path / "rows" / "heldout.jsonl")[0]
    assert first["prompt"].startswith("Ticket: customer") and first["prompt"].endswith("Tone: angry\nAnswer:")
    assert dispatch([*command, "--shown"]) == 0, "the same again changes nothing"
    assert dispatch(command) == 2
    assert "is there already, with other rows" in capsys.readouterr().err


def elsewhere(tmp_path, rows, *, name="theirs.jsonl", **data):
    """What the check says of an arm that was trained on these rows."""
    write_jsonl(tmp_path / "tickets.jsonl", TICKETS)
    if isinstance(rows, str):
        (tmp_path / name).write_text(rows)
    else:
        write_jsonl(tmp_path / name, rows)
    arms = {"base": {}, "mine": {"model": "gpt2", "trained_on": name}}
    loaded = trial_with(tmp_path, source="tickets.jsonl", validation=5, heldout=6, arms=arms, **(COLUMNS | data))
    return lambda: check_trained_on(loaded, read_splits(loaded))


def heldout_of(tmp_path, **data):
    write_jsonl(tmp_path / "tickets.jsonl", TICKETS)
    loaded = trial_with(tmp_path, source="tickets.jsonl", validation=5, heldout=6, **(COLUMNS | data))
    return read_splits(loaded)


def test_rows_of_the_training_split_pass(tmp_path):
    train = heldout_of(tmp_path).train
    assert elsewhere(tmp_path, [{"prompt": e.prompt, "completion": "x"} for e in train])() == []


TEMPLATE = "Ticket: {prompt}\nAnswer:"


@pytest.mark.parametrize(
    "row",
    [
        lambda prompt: {"ticket": prompt, "answer": "x"},
        lambda prompt: {"prompt": prompt.upper(), "completion": "x"},
        lambda prompt: {"prompt": f"Ticket: {prompt}\nAnswer:", "completion": "x"},  # in the trial's own template
        lambda prompt: {"prompt": f"### Instruction\nReply.\n\n{prompt}\n\n### Reply", "completion": "x"},
        lambda prompt: {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": "x"}]},
        lambda prompt: {"text": f"{prompt}\nWe look for it."},
    ],
)
def test_a_held_out_prompt_among_them_is_refused_however_it_is_written(tmp_path, row):
    splits = heldout_of(tmp_path, template=TEMPLATE)
    rows = [row(e.prompt) for e in (*splits.train[:5], splits.heldout[2])]
    with pytest.raises(UserError, match="arm mine was trained on held-out rows") as refused:
        elsewhere(tmp_path, rows, template=TEMPLATE)()
    assert "1 prompt of theirs.jsonl" in str(refused.value) and splits.heldout[2].origin in str(refused.value)


def test_a_text_file_that_holds_a_held_out_prompt_is_refused(tmp_path):
    splits = heldout_of(tmp_path)
    text = "\n".join(["A line of the book.", splits.heldout[0].prompt, "Another line of the book."])
    with pytest.raises(UserError, match="trained on held-out rows"):
        elsewhere(tmp_path, text, name="book.txt")()


def test_a_prompt_that_is_nearly_there_is_said(tmp_path):
    prompt = heldout_of(tmp_path).heldout[1].prompt
    changed = prompt.replace("right address", "wrong place")
    (finding,) = elsewhere(tmp_path, [{"prompt": changed, "completion": "x"}])()
    assert finding.code == "near_trained_on" and finding.message.startswith("1 held-out row nearly the same")


def test_check_refuses_it_and_an_arm_whose_rows_are_named_is_described_by_them(tmp_path, capsys):
    splits = heldout_of(tmp_path)
    write_jsonl(tmp_path / "theirs.jsonl", [{"prompt": splits.heldout[0].prompt, "completion": "x"}])
    data = "{source: tickets.jsonl, prompt: ticket, completion: answer, group: customer, validation: 5, heldout: 6}"
    arms = "{base: , mine: {model: gpt2, trained_on: theirs.jsonl}}"
    (tmp_path / "t.yaml").write_text(f"trial: t\nmodel: gpt2\ndata: {data}\narms: {arms}\n")
    assert dispatch(["check", str(tmp_path / "t.yaml")]) == 2
    assert "arm mine was trained on held-out rows" in capsys.readouterr().err
    mine = load_trial(tmp_path / "t.yaml").trial.arms["mine"]
    assert mine.describe() == "tuned elsewhere, on theirs.jsonl: gpt2"
    with pytest.raises(UserError, match="trained_on"):
        load_trial(tmp_path / "t.yaml", overrides=["arms.mine={method: lora, trained_on: theirs.jsonl}"])


def test_a_base_that_one_arm_starts_from_and_that_has_read_held_out_rows_is_named(tmp_path):
    splits = heldout_of(tmp_path)
    base = tmp_path / "theirs"
    base.mkdir()
    read = [f"{e.prompt} {e.references[0]}" for e in splits.heldout[:2]]
    np.save(base / "shingles.npy", fingerprint(read))
    (base / "manifest.json").write_text('{"shingles": "shingles.npy"}')
    arms = {"base": {}, "other": {"from": "./theirs"}, "lora": {"method": "lora", "from": "./theirs"}}
    loaded = trial_with(tmp_path, source="tickets.jsonl", validation=5, heldout=6, arms=arms, **COLUMNS)
    (finding,) = read_by_bases(loaded, read_splits(loaded))
    assert finding.message == "the base of lora and other has read 2 of 6 held-out examples"
    assert read_by_bases(trial_with(tmp_path, source="tickets.jsonl", **COLUMNS), splits) == []


def test_real_abstracts_are_found_in_a_file_of_whole_texts(tmp_path):
    if not (SHARED / "scitldr_dev.jsonl").exists():
        pytest.skip(f"NOT TESTED: {SHARED} is not here")
    dev = [json.loads(line) for line in (SHARED / "scitldr_dev.jsonl").open(encoding="utf-8")]
    source = {"train": str(SHARED / "scitldr_train.jsonl"), "heldout": str(SHARED / "scitldr_dev.jsonl")}
    data = {"source": source, "completion": "completions", "overlap": "drop", "train": 300, "heldout": 100}
    arms = {"base": {}, "mine": {"model": "gpt2", "trained_on": "texts.jsonl"}}
    loaded = trial_with(tmp_path, arms=arms, **data)
    splits = read_splits(loaded)
    write_jsonl(tmp_path / "texts.jsonl", [{"text": f"{e.prompt} TL;DR: {e.references[0]}"} for e in splits.train])
    assert check_trained_on(loaded, splits) == []
    held = {e.prompt for e in splits.heldout}
    write_jsonl(tmp_path / "texts.jsonl", [{"text": f"{row['prompt']} TL;DR"} for row in dev])
    with pytest.raises(UserError, match=f"{len(held)} prompts of texts.jsonl"):
        check_trained_on(loaded, splits)


@pytest.mark.parametrize("column", ["messages", "chat", "dialogue"])
def test_rows_of_chats_are_read_under_any_column_that_a_trial_reads(column, tmp_path):
    def chat(n):
        asked, said = f"Where is parcel {n}, sent {n} days ago?", f"We look for parcel {n}."
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]

    write_jsonl(tmp_path / "chats.jsonl", [{column: chat(n)} for n in range(20)])
    arms = {"base": {}, "mine": {"model": "gpt2", "trained_on": "theirs.jsonl"}}
    own = {"source": "chats.jsonl", "format": "messages", "prompt": column, "validation": 2, "heldout": 4}
    loaded = trial_with(tmp_path, arms=arms, **own)
    splits = read_splits(loaded)
    write_jsonl(tmp_path / "theirs.jsonl", [{column: chat(n)} for n in range(30, 40)])
    assert check_trained_on(loaded, splits) == []
    write_jsonl(tmp_path / "theirs.jsonl", [{column: chat(n)} for n in range(40)])
    with pytest.raises(UserError, match="arm mine was trained on held-out rows; got 4 prompts"):
        check_trained_on(loaded, splits)
