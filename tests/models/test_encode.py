"""What training sees: completion and end token carry loss, the prompt has the tokens that sampling shows."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_tokenizers import CHATML, FORGETFUL, PLAIN_TURNS, byte_level, space_adding
from transformers import AutoTokenizer

from finetrial.errors import UserError
from finetrial.models.encode import Overlong, encode, encode_prompt, encode_split, end_ids
from finetrial.models.tokenise import continuation_ids, cut_middle, prompt_ids, traits_of
from finetrial.trial.examples import Example, Message
from finetrial.trial.form import Form
from finetrial.workflow.shown_example import show_example

GPT2 = Path(__file__).parents[2].parent / "shared" / "data" / "gpt2-tokenizer"
TEXT, CHAT = Form(), Form(chat=True)
SETTING = {"form": TEXT, "max_tokens": 200, "overlong": "refuse", "assistant_loss": "last"}
CHATS = SETTING | {"form": CHAT}


def example(prompt="the quick brown fox", completion="the lazy dog", **changes):
    return Example("e", "a.jsonl:7", prompt, (completion,), {}, **changes)


def chat(*contents, system=None):
    roles = ["user", "assistant"] * len(contents)
    turns = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    if system is not None:
        turns.insert(0, Message("system", system))
    return example(prompt="unused", completion=contents[-1], messages=tuple(turns))


def trained_text(encoded, tokenizer):
    ids = [token for token, trained in zip(encoded.token_ids, encoded.trained, strict=True) if trained]
    return tokenizer.decode(ids, skip_special_tokens=False)


def test_the_completion_with_its_space_and_its_end_token_are_trained_and_nothing_else():
    tokenizer = byte_level()
    encoded = encode(example(), tokenizer=tokenizer, **SETTING)
    assert trained_text(encoded, tokenizer) == " the lazy dog<|endoftext|>"
    assert encoded.token_ids[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id and encoded.trained[-1]
    assert tokenizer.decode(encoded.token_ids) == "the quick brown fox the lazy dog<|endoftext|>"


def test_the_prompt_has_the_same_tokens_as_in_sampling_whatever_follows():
    tokenizer = byte_level(bos=True)
    shown = example(prompt="the qu", completion="ick brown fox")  # together they would merge otherwise
    text = encode_prompt(shown, tokenizer=tokenizer, form=TEXT).text
    ids = prompt_ids(text, tokenizer=tokenizer)
    encoded = encode(shown, tokenizer=tokenizer, **SETTING)
    assert encoded.token_ids[: len(ids)] == ids and encoded.trained.index(True) == len(ids)
    assert tokenizer.convert_ids_to_tokens(ids[0]) == "<|im_start|>"  # this tokenizer's own beginning token


def test_an_end_token_in_the_prompt_is_not_trained_though_it_is_the_pad_token_too():
    tokenizer = byte_level()
    encoded = encode(example(prompt="the fox<|endoftext|>"), tokenizer=tokenizer, **SETTING)
    ends = [encoded.trained[i] for i, token in enumerate(encoded.token_ids) if token == tokenizer.eos_token_id]
    assert ends == [False, True]


def test_special_tokens_stay_whole_and_white_space_at_the_seam_is_kept():
    tokenizer = byte_level(special=("<complete>",))
    encoded = encode(
        example("line one", "\nline two"),
        tokenizer=tokenizer,
        **(SETTING | {"form": Form(template="{prompt} <complete>")}),
    )
    assert "<complete>" in tokenizer.convert_ids_to_tokens(encoded.token_ids)
    assert trained_text(encoded, tokenizer) == "\nline two<|endoftext|>"


@pytest.mark.parametrize("completion", ["the lazy dog", "\nthe lazy dog", " the lazy dog"])
def test_a_tokenizer_that_adds_a_space_adds_none_to_a_completion(completion):
    tokenizer = space_adding()
    for prompt in ("the quick brown fox", "the quick brown fox\n"):
        encoded = encode(example(prompt, completion), tokenizer=tokenizer, **SETTING)
        between = "" if prompt[-1].isspace() or completion[0].isspace() else " "
        assert tokenizer.decode(encoded.token_ids) == f"<s> {prompt}{between}{completion}</s>"
        assert encoded.token_ids[0] == tokenizer.bos_token_id and not encoded.trained[0]


def test_a_continuation_has_the_tokens_it_has_in_running_text():
    tokenizer = space_adding()
    whole = tokenizer("the fox the dog", add_special_tokens=False)["input_ids"]
    first = tokenizer("the fox", add_special_tokens=False)["input_ids"]
    found = continuation_ids(" the dog", tokenizer=tokenizer, traits=traits_of(tokenizer))
    assert tuple(whole) == (*first, *found)


def test_a_tokenizer_without_an_end_token_is_refused():
    tokenizer = byte_level()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end token"):
        encode(example(), tokenizer=tokenizer, **SETTING)


def test_an_overlong_row_is_refused_by_name_with_the_length_that_would_fit():
    tokenizer = byte_level()
    whole = len(encode(example(), tokenizer=tokenizer, **SETTING).token_ids)
    encode(example(), tokenizer=tokenizer, **(SETTING | {"max_tokens": whole}))
    with pytest.raises(Overlong) as caught:
        encode(example(), tokenizer=tokenizer, **(SETTING | {"max_tokens": whole - 1}))
    assert f"a.jsonl:7 is longer than data.max_tokens; got {whole} tokens; expected at most {whole - 1}" in str(
        caught.value
    )


def test_a_cut_takes_from_the_prompt_after_its_first_quarter_and_never_from_the_completion():
    tokenizer = byte_level()
    long = example(prompt=" ".join(f"word{i}" for i in range(60)) + " TL;DR:")
    whole = encode(long, tokenizer=tokenizer, **(SETTING | {"max_tokens": 10_000}))
    cut = encode(long, tokenizer=tokenizer, **(SETTING | {"max_tokens": 80, "overlong": "cut"}))
    assert len(cut.token_ids) == 80 and cut.cut_tokens == len(whole.token_ids) - 80
    assert trained_text(cut, tokenizer) == " the lazy dog<|endoftext|>"
    room = 80 - cut.trained_tokens
    start = room * 128 // 510  # Sun et al. 2019: 128 tokens from the start, 382 from the end
    assert cut.token_ids[:start] == whole.token_ids[:start]
    assert cut.token_ids[start:] == whole.token_ids[-(80 - start) :]
    shown = encode_prompt(long, tokenizer=tokenizer, form=TEXT, max_tokens=room, overlong="cut")
    assert shown.token_ids == cut.token_ids[:room] and shown.cut_tokens == cut.cut_tokens
    assert shown.text.endswith("TL;DR:")
    with pytest.raises(Overlong, match=r"the prompt of a\.jsonl:7 is too long"):
        encode_prompt(long, tokenizer=tokenizer, form=TEXT, max_tokens=room, overlong="refuse")


@pytest.mark.parametrize(("room", "kept"), [(4, "a789"), (10, "ab23456789"), (20, "abc0123456789"), (1, "9")])
def test_cut_middle_keeps_both_ends(room, kept):
    # 128/510 of 4 is 1.004, of 10 is 2.5, of 1 is 0.25; each rounded down
    assert "".join(cut_middle("abc0123456789", room=room)) == kept


def test_a_split_drops_what_cannot_be_cut_and_refuses_all_at_once_when_it_may_not_cut():
    tokenizer = byte_level()
    rows = [replace(example(completion="the dog " * n), id=f"e{n}", origin=f"a.jsonl:{n}") for n in (1, 30, 60)]
    setting = SETTING | {"max_tokens": 20}
    kept = encode_split(rows, tokenizer=tokenizer, **(setting | {"overlong": "cut"}))
    assert [e.example_id for e in kept.examples] == ["e1"]
    assert [d.origin for d in kept.dropped] == ["a.jsonl:30", "a.jsonl:60"]
    assert "the completion alone fills data.max_tokens" in kept.dropped[0].reason
    with pytest.raises(Overlong, match=r"2 of 3 rows are longer than data.max_tokens, most a\.jsonl:60"):
        encode_split(rows, tokenizer=tokenizer, **setting)


def test_in_a_chat_the_last_or_all_assistant_turns_are_trained_with_their_end_token():
    tokenizer = byte_level(chat=CHATML)
    turns = chat("the cat", "the dog", "one", "two", system="A summary")
    last = encode(turns, tokenizer=tokenizer, **CHATS)
    assert trained_text(last, tokenizer) == "two<|im_end|>"
    everything = encode(turns, tokenizer=tokenizer, **(CHATS | {"assistant_loss": "all"}))
    assert trained_text(everything, tokenizer) == "the dog<|im_end|>two<|im_end|>"
    assert everything.token_ids == last.token_ids
    assert end_ids(tokenizer, chat=True) == {
        tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>"),
    }  # fmt: skip
    assert end_ids(tokenizer, chat=False) == end_ids(tokenizer, chat=True), (
        "shown text, a chat model ends turns too"
    )
    assert end_ids(byte_level(), chat=False) == {tokenizer.eos_token_id}


def test_a_chats_prompt_is_the_template_up_to_where_the_assistant_writes():
    tokenizer = byte_level(chat=CHATML, bos=True)
    turns = chat("the cat", "the dog", "one", "two")
    text = encode_prompt(turns, tokenizer=tokenizer, form=CHAT).text
    assert text.endswith("<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n")
    ids = prompt_ids(text, tokenizer=tokenizer, chat=True)
    encoded = encode(turns, tokenizer=tokenizer, **CHATS)
    assert encoded.token_ids[: len(ids)] == ids and encoded.trained.index(True) == len(ids)
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert ids[0] == start and ids[1] != start  # the template's own beginning, and not the tokenizer's before it


def test_a_template_that_rewrites_earlier_turns_is_refused_for_all_and_sound_for_the_last():
    tokenizer = byte_level(chat=FORGETFUL)
    turns = chat("the cat", "the dog", "one", "two")
    assert trained_text(encode(turns, tokenizer=tokenizer, **CHATS), tokenizer) == (
        "<think>\n\n</think>\n\ntwo<|im_end|>"
    )
    with pytest.raises(UserError) as caught:
        encode(turns, tokenizer=tokenizer, **(CHATS | {"assistant_loss": "all"}))
    assert "a.jsonl:7: the chat template writes earlier turns differently" in str(caught.value)
    assert "assistant_loss: last" in str(caught.value)


def test_a_template_that_ends_a_turn_with_plain_text_gets_the_tokenizers_end_token():
    tokenizer = byte_level(chat=PLAIN_TURNS)
    encoded = encode(chat("the cat", "the dog"), tokenizer=tokenizer, **CHATS)
    assert trained_text(encoded, tokenizer) == " the dog\n<|endoftext|>"


def test_a_chat_loses_its_oldest_turns_and_keeps_its_system_turn():
    tokenizer = byte_level(chat=CHATML)
    turns = chat(*(f"the {word}" for word in ("cat", "dog", "fox", "cat", "line", "answer")), system="one")
    short = chat("the line", "the answer", system="one")
    target = encode(short, tokenizer=tokenizer, **CHATS)
    whole = encode(turns, tokenizer=tokenizer, **CHATS)
    setting = CHATS | {"max_tokens": len(target.token_ids) + 3, "overlong": "cut"}
    cut = encode(turns, tokenizer=tokenizer, **setting)
    assert cut.token_ids == target.token_ids
    assert cut.cut_tokens == len(whole.token_ids) - len(target.token_ids)
    shown = encode_prompt(turns, tokenizer=tokenizer, form=CHAT, max_tokens=30, overlong="cut")
    assert shown.text == encode_prompt(short, tokenizer=tokenizer, form=CHAT).text
    with pytest.raises(Overlong, match="the completion alone"):
        encode(turns, tokenizer=tokenizer, **(setting | {"max_tokens": 5}))


PAIR = Form(template="Say it: {prompt}", chat=True, system="one")


def test_a_pair_shown_as_a_chat_has_the_same_tokens_in_training_and_in_sampling():
    tokenizer = byte_level(chat=CHATML, bos=True)
    encoded = encode(example(completion=" the lazy dog\n"), tokenizer=tokenizer, **(SETTING | {"form": PAIR}))
    shown = encode_prompt(example(), tokenizer=tokenizer, form=PAIR)
    assert shown.text == (
        "<|im_start|>system\none<|im_end|>\n<|im_start|>user\nSay it: the quick brown fox<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert encoded.token_ids[: len(shown.token_ids)] == shown.token_ids
    assert encoded.trained.index(True) == len(shown.token_ids)
    assert trained_text(encoded, tokenizer) == "the lazy dog<|im_end|>", (
        "no white space of a seam around the answer"
    )


def test_solved_examples_are_earlier_turns_of_a_chat_and_the_oldest_go_first_when_it_is_cut():
    tokenizer = byte_level(chat=CHATML)
    shots = [example("the cat", "one"), example("the dog", "two")]
    whole = encode_prompt(example(), tokenizer=tokenizer, form=PAIR, shots=shots)
    turns = [turn.split("\n")[0] for turn in whole.text.split("<|im_start|>")[1:]]
    assert turns == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    room = len(whole.token_ids) - 1
    cut = encode_prompt(example(), tokenizer=tokenizer, form=PAIR, shots=shots, max_tokens=room, overlong="cut")
    assert cut.text == encode_prompt(example(), tokenizer=tokenizer, form=PAIR, shots=shots[1:]).text
    assert cut.cut_tokens == len(whole.token_ids) - len(cut.token_ids)
    with pytest.raises(Overlong, match=r"a\.jsonl:7 behind 2 solved examples is too long"):
        encode_prompt(example(), tokenizer=tokenizer, form=PAIR, shots=shots, max_tokens=room)


@pytest.mark.parametrize("word", ["word", "é日"])  # a character of several tokens may stand at the cut
def test_a_long_question_in_a_chat_is_cut_inside_and_keeps_its_turns(word):
    tokenizer = byte_level(chat=CHATML)
    long = example(prompt="the start " + " ".join(f"{word}{i}" for i in range(60)) + " the end?")
    setting = SETTING | {"form": PAIR, "overlong": "cut", "max_tokens": 150}
    cut = encode(long, tokenizer=tokenizer, **setting)
    assert 120 < len(cut.token_ids) <= 150 and trained_text(cut, tokenizer) == "the lazy dog<|im_end|>"
    text = tokenizer.decode(cut.token_ids)
    assert text.startswith("<|im_start|>system\none<|im_end|>\n<|im_start|>user\nSay it: the start ")
    assert "the end?<|im_end|>\n<|im_start|>assistant\nthe lazy dog" in text and "\ufffd" not in text
    assert cut.cut_tokens == len(
        encode(long, tokenizer=tokenizer, **(setting | {"max_tokens": 9999})).token_ids
    ) - len(cut.token_ids)
    shown = encode_prompt(long, tokenizer=tokenizer, form=PAIR, max_tokens=140, overlong="cut")
    assert 110 < len(shown.token_ids) <= 140 and shown.text.endswith("the end?<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(Overlong, match="the completion alone"):
        encode(long, tokenizer=tokenizer, **(setting | {"max_tokens": 20}))


def test_chats_without_a_chat_template_are_refused_and_a_template_of_the_trials_own_helps():
    tokenizer = byte_level()
    turns = replace(chat("the cat", "the dog"), prompt="the cat")
    with pytest.raises(UserError, match="no chat template"):
        encode(turns, tokenizer=tokenizer, **CHATS)
    own = encode(turns, tokenizer=tokenizer, **(SETTING | {"form": Form(template="{prompt}\nassistant:")}))
    assert trained_text(own, tokenizer) == " the dog<|endoftext|>"


def test_a_chat_that_the_template_refuses_is_named():
    tokenizer = byte_level(chat="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(UserError, match=r"a\.jsonl:7: the tokenizer's chat template refuses.*roles must alternate"):
        encode(chat("the cat", "the dog"), tokenizer=tokenizer, **CHATS)


@pytest.mark.parametrize("make", [byte_level, space_adding])
def test_the_shown_stretches_join_to_the_decoded_example(make):
    tokenizer = make()
    encoded = encode(example(), tokenizer=tokenizer, **SETTING)
    shown = show_example(encoded, origin="a.jsonl:7", tokenizer=tokenizer)
    assert [s.trained for s in shown.stretches] == [False, True]
    assert "".join(s.text for s in shown.stretches) == tokenizer.decode(encoded.token_ids)
    assert sum(s.tokens for s in shown.stretches) == len(encoded.token_ids)
    assert shown.stretches[1].text == f" the lazy dog{tokenizer.eos_token}"
    assert "".join(shown.after_seam).startswith(" the")


@pytest.mark.real_data
@pytest.mark.skipif(not GPT2.exists(), reason=f"the real data are not at {GPT2}")
def test_the_gpt2_tokenizer_splits_at_the_seam():
    tokenizer = AutoTokenizer.from_pretrained(GPT2)
    encoded = encode(
        example("Some post.", "A short one"),
        tokenizer=tokenizer,
        **(SETTING | {"form": Form(template="{prompt}\nTL;DR:")}),
    )
    names = tokenizer.convert_ids_to_tokens(encoded.token_ids)
    assert names == ["Some", "Ġpost", ".", "Ċ", "TL", ";", "DR", ":", "ĠA", "Ġshort", "Ġone", "<|endoftext|>"]
    assert encoded.trained == (False,) * 8 + (True,) * 4
