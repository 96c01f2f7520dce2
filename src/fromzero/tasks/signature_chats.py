"""Chats about the signatures of the library's functions, whose answers stand in the signatures.

Two questions a function, chosen by the hash of its signature: each kind comes often, and two functions with
the same signature are asked the same, so that they are told to be one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from fromzero.tasks.chats import Chat
from fromzero.tasks.functions import Function

QUESTIONS = 2


def signature_chat(function: Function) -> Chat | None:
    """The signature with a question, the answer, one more of each; None of one without parameters."""
    questions = sorted(_questions(function.node.args), key=lambda pair: _place(function.signature, pair[0]))
    chat: Chat = []
    for question, answer in questions[:QUESTIONS]:
        asked = question if chat else f"{function.signature}\n\n{question}"
        chat += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return chat or None


def _questions(arguments: ast.arguments) -> Iterator[tuple[str, str]]:
    """`self` and `cls` do not count as parameters, nor does what takes the rest."""
    parameters = _parameters(arguments)
    if not parameters:
        return
    yield "Which parameters does it have?", _listed(list(parameters))
    yield "How many parameters does it have?", f"{len(parameters)}."
    yield (
        "Which parameters must be given?",
        _listed([one for one, default in parameters.items() if not default]),
    )
    asked = sorted(parameters, key=lambda name: (not parameters[name], name))[:2]
    for name in asked:  # those with a default first
        default = parameters[name]
        yield f"What is the default of `{name}`?", f"`{default}`." if default else "It has none."
    if arguments.kwonlyargs:
        yield "Which parameters are keyword-only?", _listed([one.arg for one in arguments.kwonlyargs])
    rest = [one.arg for one in (arguments.vararg, arguments.kwarg) if one]
    if rest:
        yield "What takes the arguments that have no name of their own?", _listed(rest)


def _parameters(arguments: ast.arguments) -> dict[str, str]:
    """Name -> default as Python writes it, "" where there is none."""
    plain = [*arguments.posonlyargs, *arguments.args]
    missing = len(plain) - len(arguments.defaults)
    pairs = [
        *zip(plain, [*[None] * missing, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    bound = plain[:1] if plain and plain[0].arg in ("self", "cls") else []
    return {one.arg: ast.unparse(default) if default else "" for one, default in pairs if one not in bound}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) + "." if names else "None."


def _place(*texts: str) -> bytes:
    return blake2b("\n".join(texts).encode(), digest_size=8).digest()
