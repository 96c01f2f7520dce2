from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from fromzero.errors import UserError
from fromzero.tasks.chats import Chat, chat_examples, chat_of, preview, with_template
from fromzero.tasks.task import IGNORED
from fromzero.tokenization import fast_tokenizer, train_bpe

CHATML = (
    "{% for m in messages %}<im_start>{{ m.role }}\n{{ m.content }}<|eos|>\n{% endfor %}"
    "{% if add_generation_prompt %}<im_start>assistant\n{% endif %}"
)
LATE = "{% for m in messages %}{{ loop.last }}{{ m.content }}{{ eos_token }}{% endfor %}"
ENDLESS = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
STRICT = "{{ raise_exception('no system, please') }}"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return with_template(fast_tokenizer(train_bpe(["### User: ### Assistant:"] * 4, 280)))


def chat(*contents: str, system: str = "") -> Chat:
    roles = ["user", "assistant"] * len(contents)
    said = [{"role": role, "content": one} for role, one in zip(roles, contents, strict=False)]
    return [{"role": "system", "content": system}, *said] if system else said


def test_every_answer_is_learnt_with_its_end_and_nothing_else(tokenizer: Any) -> None:
    (example,) = chat_examples(
        tokenizer, [chat("Hi", "Yes?", "Go.", "Gone.", system="Obey.")], 200, 50, learnt=True
    )
    assert preview(tokenizer, example) == (
        "<|bos|>### System:\nObey.\n### User:\nHi\n### Assistant:\n⟦Yes?<|eos|>⟧"
        "### User:\nGo.\n### Assistant:\n⟦Gone.<|eos|>⟧"
    )
    answer = example["input_ids"][example["prompt"] :]
    assert tokenizer.decode(answer) == "Gone.<|eos|>"
    assert example["labels"][example["prompt"] :] == answer


def test_what_is_learnt_is_what_the_saved_tokenizer_asks_for(tokenizer: Any) -> None:
    talk = chat("Hi", "Yes?", "Go.", "Gone.")
    (example,) = chat_examples(tokenizer, [talk], 200, 50, learnt=True)
    asked = tokenizer.apply_chat_template(talk[:-1], add_generation_prompt=True)["input_ids"]
    assert example["input_ids"][: example["prompt"]] == asked
    assert example["input_ids"] == tokenizer.apply_chat_template(talk)["input_ids"]


def test_a_template_of_the_tokenizers_own_stays(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    (example,) = chat_examples(with_template(tokenizer), [chat("a", "b", "c", "d")], 200, 50, learnt=True)
    assert preview(tokenizer, example) == (
        "<im_start>user\na<|eos|>\n<im_start>assistant\n⟦b<|eos|>⟧\n"
        "<im_start>user\nc<|eos|>\n<im_start>assistant\n⟦d<|eos|>⟧"
    )


def test_a_message_cannot_end_itself(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        examples = chat_examples(
            tokenizer, [chat("<|eos|><|bos|>", "I say <|eos|>."), chat("a", "b")], 200, 50, learnt=True
        )
    assert "1 of 2 chats spell out a special token" in caplog.text
    assert examples[0]["input_ids"].count(tokenizer.eos_token_id) == 1
    assert "I say < |eos|>.<|eos|>" in tokenizer.decode(examples[0]["input_ids"])


def test_a_message_cannot_spell_a_token_that_was_merely_added(tokenizer: Any) -> None:
    added = copy.deepcopy(tokenizer)
    added.add_tokens("<|call|>", special_tokens=True)
    (example,) = chat_examples(added, [chat("hi <|call|> there", "b")], 200, 50, learnt=True)
    assert added.convert_tokens_to_ids("<|call|>") not in example["input_ids"]


def test_a_long_chat_loses_its_beginning_but_not_bos(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        examples = chat_examples(
            tokenizer, [chat("x" * 99, "so", "y" * 20, "z"), chat("a", "b")], 64, 16, learnt=True
        )
    assert "1 of 2 chats lose their beginning" in caplog.text
    ids, prompt = examples[0]["input_ids"], examples[0]["prompt"]
    assert (ids[0], prompt) == (tokenizer.bos_token_id, 48)
    assert tokenizer.decode(ids).endswith("y" * 20 + "\n### Assistant:\nz<|eos|>")
    assert len(examples[0]["labels"]) == len(ids)


def test_earlier_answers_are_still_asked_for_where_the_beginning_is_lost(tokenizer: Any) -> None:
    (example,) = chat_examples(tokenizer, [chat("x" * 99, "so", "y", "z")], 80, 16, learnt=True)
    assert preview(tokenizer, example).endswith("⟦so<|eos|>⟧### User:\ny\n### Assistant:\n⟦z<|eos|>⟧")


@pytest.mark.parametrize("template, talk", [(LATE, chat("a", "b", "c", "d")), (ENDLESS, chat("a", "b"))])
def test_a_template_that_cannot_be_learnt_from_is_refused(tokenizer: Any, template: str, talk: Chat) -> None:
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"chat template must end an answer by <\|eos\|>, and leave"):
        chat_examples(tokenizer, [talk], 200, 50, learnt=True)


def test_a_chat_that_the_template_refuses_is_told_in_its_own_words(tokenizer: Any) -> None:
    tokenizer.chat_template = STRICT
    with pytest.raises(UserError, match="refuses a chat of system, user: no system, please"):
        chat_examples(tokenizer, [chat("a", "b", system="c")], 200, 50, learnt=True)


def test_chats_of_all_kinds_of_data_sets_become_one_kind() -> None:
    messages = [{"role": "user", "content": "a\n"}, {"role": "assistant", "content": "b"}]
    sharegpt = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "role": None}]
    assert chat_of(messages, "") == chat_of(sharegpt, "") == chat("a", "b")
    assert chat_of("  a", "") == [{"role": "user", "content": "  a"}]
    assert chat_of({"from": "gpt", "value": "b"}, "") == [{"role": "assistant", "content": "b"}]
    assert chat_of({"from": "gpt", "value": 0}, "") == [{"role": "assistant", "content": "0"}]
    assert chat_of({"from": "gpt", "content": None}, "") == [{"role": "assistant", "content": ""}]


def test_parts_of_a_text_are_one_and_others_are_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]
    assert chat_of([{"role": "user", "content": parts}], "") == chat("a b")
    picture = [*parts, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(UserError, match=r"a\.json:7: a part of a message is of type 'image_url'"):
        chat_of([{"role": "user", "content": picture}], "a.json:7")
    with pytest.raises(UserError, match=r"a\.json:7: a message is .*, not a text"):
        chat_of([{"role": "user", "content": {"text": "a"}}], "a.json:7")


def test_an_answer_to_nothing_is_read_but_not_learnt(tokenizer: Any) -> None:
    greeted = [{"role": "assistant", "content": "Hi"}, *chat("Go.", "Gone.")]
    (example,) = chat_examples(tokenizer, [greeted], 200, 50, learnt=True)
    read, learnt = preview(tokenizer, example).split("⟦")
    assert "Assistant:\nHi" in read and learnt.startswith("Gone.")


def test_somebody_unknown_is_named_with_the_row() -> None:
    with pytest.raises(UserError, match=r"chats\.json:7: somebody called 'bing' speaks"):
        chat_of([{"from": "bing", "value": "a"}], "chats.json:7")
    with pytest.raises(UserError, match=r"chats\.json:7: somebody called \['user'\] speaks"):
        chat_of([{"role": ["user"], "content": "a"}], "chats.json:7")
    with pytest.raises(UserError, match=r"chats\.json:7: no chat, but '3'"):
        chat_of(3, "chats.json:7")


def test_labels_are_ignored_or_the_token_itself(tokenizer: Any) -> None:
    (example,) = chat_examples(tokenizer, [chat("Hi", "Yes?", "Go.", "Gone.")], 200, 50, learnt=True)
    pairs = zip(example["input_ids"], example["labels"], strict=True)
    assert all(label in (IGNORED, token) for token, label in pairs)
