"""Chats: how data sets write them, the template that makes text of them, which of its tokens are learnt.

A tokenizer without a template of its own gets `TEMPLATE`. Its markers are ordinary text: no token is added,
and the model stays as large as it is. What a message says never becomes a special token: `<|eos|>` in it is
written `< |eos|>`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError
from fromzero.tasks.targets import cut_answers
from fromzero.tasks.task import IGNORED, Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

Chat = list[dict[str, str]]
"""Messages: `role` (`system`, `user` or `assistant`) and `content`."""

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "### Assistant:\n{{ message['content'] }}{{ eos_token }}"
    "{% else %}### {{ message['role'] | capitalize }}:\n{{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
"""As data sets call them -> as templates do."""


def with_template(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer itself, which now reads what its template writes: special tokens, too."""
    if tokenizer.chat_template is None:
        tokenizer.chat_template = TEMPLATE
    tokenizer.split_special_tokens = False
    return tokenizer


def chat_of(value: Any, source: str) -> Chat:
    """A chat as data sets write it, `role` and `content` or `from` and `value`; one text is what a user says.

    Raises:
        UserError: it is none, somebody else speaks in it, or something is said that is no text.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value.strip("\n")}]
    messages = [value] if isinstance(value, Mapping) else value
    if not isinstance(messages, Sequence) or not all(isinstance(one, Mapping) for one in messages):
        raise UserError(f"{source}: no chat, but {str(value)[:60]!r}: write [{{role: user, content: …}}, …]")
    return [_message(one, source) for one in messages]


def _message(message: Mapping[str, Any], source: str) -> dict[str, str]:
    def first(*names: str) -> Any:
        return next((message[name] for name in names if message.get(name) is not None), "")

    said, content = first("role", "from"), first("content", "value")
    if not isinstance(said, str) or said not in ROLES:
        raise UserError(f"{source}: somebody called {said!r} speaks, and not one of {', '.join(ROLES)}")
    return {"role": ROLES[said], "content": _said(content, source).strip("\n")}


def _said(content: Any, source: str) -> str:
    """A text, or parts of one as OpenAI writes them: `[{type: text, text: …}]`."""
    if isinstance(content, Mapping | bytes):
        raise UserError(f"{source}: a message is {str(content)[:60]!r}, not a text: write content: …")
    if not isinstance(content, list):
        return str(content)
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else part
        if kind != "text" or not isinstance(part.get("text"), str):
            raise UserError(f"{source}: a part of a message is of type {kind!r}: only text can be learnt")
    return "".join(part["text"] for part in content)


def chat_text(chat: Chat) -> str:
    """For people, and for baselines."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in chat)


def chat_examples(
    tokenizer: Any, chats: Sequence[Chat], max_tokens: int, max_new_tokens: int, *, learnt: bool
) -> list[Example]:
    """One example a chat that ends in an answer: all tokens of all answers are asked for, their `eos`, too.

    What comes before the last answer loses its beginning where it is longer than `max_tokens` less
    `max_new_tokens`; how many do is logged.

    Raises:
        UserError: the tokenizer's template does not fit (`_pieces`), or answers do not (`cut_answers`).
    """
    asked, answers = prompts_and_answers(tokenizer, chats)
    given = cut_prompts(tokenizer, asked, max_tokens - max_new_tokens)
    return [
        {
            "input_ids": [*[token for token, _ in prompt], *answer],
            "labels": [*[label for _, label in prompt], *answer],
            "prompt": len(prompt),
        }
        for prompt, answer in zip(given, cut_answers(answers, max_new_tokens, learnt=learnt), strict=True)
    ]


def prompts_and_answers(
    tokenizer: Any, chats: Sequence[Chat]
) -> tuple[list[list[tuple[int, int]]], list[list[int]]]:
    """What comes before the last answer of each chat as (token, label), and the tokens of that answer."""
    pieces = [list(_pieces(tokenizer, chat)) for chat in _harmless(tokenizer, chats)]
    texts = [text for chat in pieces for text, _ in chat]
    ids = iter(
        tokenizer(texts, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]
    )
    prompts, answers = [], []
    for chat in pieces:
        before = [(token, token if asked else IGNORED) for _, asked in chat[:-1] for token in next(ids)]
        prompts.append(before)
        answers.append(next(ids))
    return prompts, answers


def cut_prompts(
    tokenizer: Any, prompts: Sequence[list[tuple[int, int]]], room: int
) -> list[list[tuple[int, int]]]:
    """Without their beginnings where they are longer than `room`; a `bos` stays. How many are is logged."""
    cut = sum(len(prompt) > room for prompt in prompts)
    if cut:
        logger.info(
            "%d of %d chats lose their beginning: they have more than %d tokens before the last answer",
            cut,
            len(prompts),
            room,
        )
    return [
        prompt if len(prompt) <= room else _end_of(prompt, room, tokenizer.bos_token_id) for prompt in prompts
    ]


def preview(tokenizer: Any, example: Example) -> str:
    """The text of an encoded example with what is learnt of it in ⟦ ⟧."""
    pairs = zip(example["input_ids"], example["labels"], strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    texts = ((asked, tokenizer.decode([token for token, _ in run])) for asked, run in runs)
    return "".join(f"⟦{text}⟧" if asked else text for asked, text in texts)


def _harmless(tokenizer: Any, chats: Sequence[Chat]) -> list[Chat]:
    """With a space in every special token that a message spells out; in how many is logged."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    special = "|".join(map(re.escape, sorted({*tokenizer.all_special_tokens, *added})))
    spaced = [
        [{**one, "content": re.sub(special, _spaced, one["content"])} for one in chat] for chat in chats
    ]
    if spelled := sum(one != other for one, other in zip(spaced, chats, strict=True)):
        logger.info("%d of %d chats spell out a special token: it stays text", spelled, len(chats))
    return spaced


def _spaced(found: re.Match[str]) -> str:
    return f"{found[0][0]} {found[0][1:]}"


def _pieces(tokenizer: Any, chat: Chat) -> Iterator[tuple[str, bool]]:
    """The text of the chat, cut before each answer and after its `eos`; whether the piece is an answer.

    What begins a chat answers nothing, and is read as what comes before the next answer.

    Raises:
        UserError: the template ends answers by something else, or writes a message another way once others
            follow, so that what is learnt would not be what is asked for.
    """
    done, eos = "", tokenizer.eos_token
    for place, message in enumerate(chat):
        if message["role"] == "assistant" and place > 0:
            asked = _rendered(tokenizer, chat[:place], add_generation_prompt=True)
            answered = _rendered(tokenizer, chat[: place + 1])
            end = answered.rfind(eos) + len(eos)
            if not (asked.startswith(done) and answered.startswith(asked) and end > len(asked)):
                raise UserError(
                    f"the tokenizer's chat template must end an answer by {eos}, and leave what it wrote as "
                    "it is when the chat goes on: give it another chat_template"
                )
            yield asked[len(done) :], False
            yield answered[len(asked) : end], True
            done = answered[:end]


def _rendered(tokenizer: Any, chat: Chat, **options: Any) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(chat, tokenize=False, **options)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in chat)
        raise UserError(f"the tokenizer's chat template refuses a chat of {roles}: {error}") from None
    return text


def _end_of(prompt: list[tuple[int, int]], room: int, bos: int | None) -> list[tuple[int, int]]:
    first = [prompt[0]] if prompt[0][0] == bos else []
    return [*first, *prompt[len(prompt) - room + len(first) :]]
