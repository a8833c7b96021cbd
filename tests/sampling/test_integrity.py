"""An arm that is shown other tokens than it was tuned on is found out; special tokens come back as themselves."""

from tiny_tokenizers import byte_level

from finetrial.models.encode import end_ids
from finetrial.sampling.integrity import PromptCheck, check_prompts, unreadable_tokens
from finetrial.sampling.prompt_task import PromptTask
from finetrial.trial.examples import Encoded


def shown(*ids):
    return PromptTask("p", None, "", ids, (), "")


SEEN = Encoded("p", (5, 6, 7, 8, 9), (False, False, False, True, True))


def test_a_prompt_is_compared_with_what_stood_before_the_answer_in_training():
    assert check_prompts([shown(5, 6, 7)], [SEEN]) == PromptCheck(1)
    fault = check_prompts([shown(5, 6, 7), shown(5, 4, 7)], [SEEN, SEEN])
    assert fault == PromptCheck(1, "token 1 of p is 4, in training it was 6")


def test_a_prompt_that_was_cut_is_not_compared():
    assert check_prompts([shown(6, 7)], [SEEN]) == PromptCheck(0)
    assert check_prompts([shown(1, 5, 6, 7)], [SEEN]) == PromptCheck(0)
    assert check_prompts([shown(5)], [Encoded("p", (5, 6), (True, True))]) == PromptCheck(0)


def test_special_tokens_decode_to_themselves():
    tokenizer = byte_level()
    assert tokenizer.all_special_ids
    assert unreadable_tokens(tokenizer, end_ids(tokenizer, chat=False)) == []
    assert len(unreadable_tokens(tokenizer, {10**6})) == 1
