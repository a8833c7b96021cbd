"""The form of an arm: text or chat by its own tokenizer, a system turn, a prompt made elsewhere, an instruction."""

import pytest
import yaml
from trials import trial_with

from finetrial.errors import UserError
from finetrial.trial.examples import Example, Message
from finetrial.trial.form import Form, forms_of, trained_forms
from finetrial.trial.instruction import instruction_finding, says_what_is_wanted
from finetrial.trial.trial_file import load_trial, write_resolved

EXAMPLE = Example("e", "a.jsonl:7", "What?", (" this ", "that"), {"title": "T"})
CHAT = Example(
    "c", "c.jsonl:2", "user: hi", ("end",), {}, messages=(Message("user", "hi"), Message("assistant", "end"))
)


def forms(base, *, chat_templates, arms, **data):
    trial = trial_with(base, arms=arms, **({"source": "a.jsonl"} | data)).trial
    return forms_of(trial, chat_templates=chat_templates)


def test_auto_is_a_chat_where_the_arms_own_tokenizer_has_a_template(tmp_path):
    arms = {"base": {}, "full": {"method": "full"}, "other": {"model": "./else"}, "plain": {"chat": "never"}}
    have = {"base": True, "full": True, "other": False, "plain": True}
    found = forms(tmp_path, arms=arms, chat_templates=have)
    assert {name: form.chat for name, form in found.items()} == {
        "base": True, "full": True, "other": False, "plain": False,
    }  # fmt: skip
    never = forms(tmp_path, arms=arms | {"base": {"chat": "auto"}}, chat_templates=have, chat="never")
    assert [form.chat for form in never.values()] == [True, False, False, False]


def test_running_text_is_never_a_chat(tmp_path):
    assert not forms(tmp_path, arms={"base": {}}, chat_templates={"base": True}, format="text")["base"].chat
    for arms, data in (({"base": {}}, {"chat": "always"}), ({"base": {"chat": "always"}}, {}),
                       ({"base": {"system": "Be brief."}}, {})):  # fmt: skip
        with pytest.raises(UserError, match="running text"):
            forms(tmp_path, arms=arms, chat_templates={"base": True}, format="text", **data)


def test_rows_that_are_chats_stay_chats_unless_the_trial_says_otherwise(tmp_path):
    def shown(**keys):
        return forms(tmp_path, arms={"base": {}}, chat_templates={"base": True}, format="messages", **keys)["base"]

    assert shown().chat and not shown(template="{prompt}\nassistant:").chat and not shown(chat="never").chat
    assert shown().answered_turns(CHAT) == CHAT.messages
    assert shown(template="{prompt}!", chat="always").prompt_turns(CHAT) == (Message("user", "user: hi!"),)


def test_the_template_makes_the_user_turn_and_the_completion_the_assistants():
    form = Form(template="{title}: {prompt}", chat=True, system="Be brief.")
    assert form.answered_turns(EXAMPLE) == (
        Message("system", "Be brief."), Message("user", "T: What?"), Message("assistant", "this"),
    )  # fmt: skip


def test_always_without_a_chat_template_and_a_system_text_without_a_chat_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"arm base .*no chat template"):
        forms(tmp_path, arms={"base": {}}, chat_templates={"base": False}, chat="always")
    with pytest.raises(UserError, match=r"arm base has a `system` text but is shown text.*without a chat template"):
        forms(tmp_path, arms={"base": {"system": "Be brief."}}, chat_templates={"base": False})
    with pytest.raises(UserError, match=r"`system` is a turn of a chat"):
        forms(tmp_path, arms={"base": {}}, chat_templates={"base": True}, chat="never", system="Be brief.")


def test_a_system_text_beside_a_rows_own_system_turn_is_refused():
    own = Example("c", "c.jsonl:2", "", ("end",), {}, messages=(Message("system", "s"), *CHAT.messages))
    with pytest.raises(UserError, match=r"c\.jsonl:2 has a system turn of its own"):
        Form(chat=True, system="Be brief.").prompt_turns(own)


def test_only_the_forms_of_tuned_arms_are_trained(tmp_path):
    arms = {"base": {}, "full": {"method": "full", "chat": "never"}, "lora": {"method": "lora", "chat": "never"}}
    trial = trial_with(tmp_path, arms=arms, source="a.jsonl").trial
    found = forms_of(trial, chat_templates=dict.fromkeys(arms, True))
    assert trained_forms(trial, found) == {Form(): ("full", "lora")}


# -- a prompt made elsewhere


def trial_file(folder, arms):
    content = {"trial": "t", "model": "gpt2", "data": {"source": "a.jsonl"}, "arms": arms}
    (folder / "t.yaml").write_text(yaml.safe_dump(content))
    return folder / "t.yaml"


def test_a_prompt_file_is_an_arms_template_and_makes_it_a_prompted_arm(tmp_path):
    (tmp_path / "v1.txt").write_text("Rules:\n{{a}} first.\n\n{prompt} =>\n")
    loaded = load_trial(
        trial_file(tmp_path, {"v1": {"prompt_file": "v1.txt"}, "v2": {"prompt_file": "v1.txt", "shots": 2}})
    )
    assert loaded.trial.template_of("v1") == "Rules:\n{{a}} first.\n\n{prompt} =>", (
        "the last line break is the editor's"
    )
    assert [arm.method.name for arm in loaded.trial.arms.values()] == ["prompted", "prompted"]
    assert Form(template=loaded.trial.template_of("v1")).prompt_turns(EXAMPLE)[0].content == (
        "Rules:\n{a} first.\n\nWhat? =>"
    )


def test_the_folders_copy_of_a_trial_holds_the_prompts_text(tmp_path):
    (tmp_path / "v1.txt").write_text("Say: {prompt}")
    write_resolved(load_trial(trial_file(tmp_path, {"v1": {"prompt_file": "v1.txt"}})), tmp_path / "trial.yaml")
    (tmp_path / "v1.txt").unlink()
    again = load_trial(tmp_path / "trial.yaml").trial
    assert again.template_of("v1") == "Say: {prompt}" and again.arms["v1"].method.name == "prompted"


@pytest.mark.parametrize(
    ("arm", "complaint"),
    [
        ({"prompt_file": "none.txt"}, r"arms\.a\.prompt_file cannot be read.*none\.txt"),
        ({"prompt_file": "empty.txt"}, r"empty\.txt is empty"),
        ({"prompt_file": "empty.txt", "template": "x {prompt}"}, "`template` and `prompt_file` both"),
        ({"method": "prompted"}, "a prompted arm needs"),
    ],
)
def test_a_prompt_file_that_is_none_is_an_error(tmp_path, arm, complaint):
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UserError, match=complaint):
        load_trial(trial_file(tmp_path, {"a": arm}))


# -- an instruction


@pytest.mark.parametrize(
    ("prompts", "asks"),
    [
        (["What is it?", "Why so?", "A text."], True),  # two of three ask
        (["A long story.\nTL;DR:", "Another.\nTL;DR:"], True),
        (["Translate: dog", "Translate: cat"], True),
        (["ab the one", "ab the two"], True),  # five letters alike
        (["ab one", "ab two"], False),  # two are no word
        (["The weather was bad.", "My cat ran away!"], False),
    ],
)
def test_prompts_ask_by_a_cue_or_by_words_that_all_of_them_share(prompts, asks):
    assert says_what_is_wanted(prompts) is asks


def test_a_base_that_is_shown_the_bare_prompt_is_suggested_an_instruction(tmp_path):
    prompts = ["The weather was bad.", "My cat ran away!"]
    arms = {
        "base": {},
        "prompted": {"shots": 2},
        "own": {"template": "Sum up: {prompt}"},
        "full": {"method": "full"},
    }

    def suggested(chat=False, **data):
        trial = trial_with(tmp_path, arms=arms, source="a.jsonl", **data).trial
        found = forms_of(trial, chat_templates=dict.fromkeys(arms, chat))
        return [finding.message.split(":")[0] for finding in instruction_finding(trial, found, prompts=prompts)]

    assert suggested() == ["base and prompted"]
    assert suggested(chat=True) == suggested(format="text") == suggested(template="{prompt}\nTL;DR:") == []
