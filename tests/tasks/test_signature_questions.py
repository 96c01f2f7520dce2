from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fromzero.tasks.functions import library_functions
from fromzero.tasks.signature_questions import (
    answered_by_pattern,
    context_of,
    first_literal,
    questions_of,
    signature_questions,
)

CASES = {
    "defaults": (
        "def f(é, a='x, y', *, b: int = (1, 2), c=None): ...",
        "Four words or more.",
        {
            "What is the default of a?": "'x, y'",
            "What is the default of b?": "(1, 2)",
            "What is the default of c?": "None",
            "Which parameter has the default 'x, y'?": "a",
            "Which parameter has the default (1, 2)?": "b",
            "Which parameter has the default None?": "c",
            "What is the last parameter of f?": "c",
        },
    ),
    "a default that two parameters have asks for none of them": (
        "def f(a=1, b=1): ...",
        "Four words or more.",
        {
            "What is the default of a?": "1",
            "What is the default of b?": "1",
            "What is the last parameter of f?": "b",
        },
    ),
    "the last parameter may be any kind, but not the only one beside self": (
        "def f(a, *b, c, **d): ...",
        "Four words or more.",
        {"What is the last parameter of f?": "d"},
    ),
    "self is no parameter to ask for": ("def f(self, a): ...", "Four words or more.", {}),
    "the exception that the docstring names": (
        "def f(): ...",
        "Do it.\n\nThe error is raised as a ValueError; a ValueError is bad.",
        {"What does f raise?": "ValueError"},
    ),
    "an exception of the module's own": (
        "def f(): raise net.Timeout('late')",
        "Raise Timeout when it is late.",
        {"What does f raise?": "Timeout"},
    ),
    "two exceptions, or one that is not raised": (
        "def f(): ...",
        "A KeyError raises no ValueError here.",
        {},
    ),
    "what is returned, up to the stop": (
        "def f(): ...",
        "Look at it.  Return the first 3.5 of\nall words.  Then stop.",
        {"What does f return?": "the first 3.5 of\nall words"},
    ),
    "two sentences on what is returned": ("def f(): ...", "Return one of them.\n\nReturns the other.", {}),
    "a sentence that says it in passing": ("def f(): ...", "Tell what they return when asked.", {}),
}


@pytest.mark.parametrize("code, docstring, expected", CASES.values(), ids=CASES)
def test_questions_have_one_answer_and_it_stands_where_it_is_said_to(
    code: str, docstring: str, expected: dict[str, str], library_corpus: Callable[..., Path]
) -> None:
    signature, _, body = code.partition("): ")
    code = f'{signature}):\n    """{docstring}"""\n    {body}\n'
    (function,) = library_functions(library_corpus(train={"a.py": code}), "train")
    asked = list(questions_of(function))
    assert {question.text: question.answer for question in asked} == expected
    for question in asked:
        assert context_of(function)[question.start :].startswith(question.answer)


def test_positions_do_not_count_the_decorators_above(library_corpus: Callable[..., Path]) -> None:
    code = 'class A:\n    @ä(b=2)\n    def f(self, a=1, **é):\n        """Four words or more."""\n'
    (function,) = library_functions(library_corpus(train={"a.py": code}), "train")
    found = [context_of(function)[one.start : one.start + len(one.answer)] for one in questions_of(function)]
    assert found == [one.answer for one in questions_of(function)] == ["1", "é"]


def test_none_is_a_fifth_of_the_defaults_at_most_and_no_template_drowns_the_others(
    library_corpus: Callable[..., Path],
) -> None:
    defaults = [f"def d{n}(a={'None' if n % 2 else n}):\n    'Four words or more.'\n" for n in range(60)]
    raising = [f"def r{n}():\n    'Raise ValueError now, please.'\n" for n in range(5)]
    files = {"a.py": "".join(defaults + raising)}
    corpus = library_corpus(train=files, validation={"b.py": files["a.py"]}, test={"c.py": files["a.py"]})
    rows = signature_questions(corpus).to_pylist()
    asked = Counter(row["question"].split()[1] for row in rows if row["split"] == "train")
    assert asked == {"is": 15, "does": 5}
    answers = [row["answer"] for row in rows if row["split"] == "train"]
    assert 0 < answers.count(["None"]) <= 3
    assert rows == signature_questions(corpus).to_pylist()


@pytest.mark.parametrize(
    "question, answer",
    [
        ("What is the default of b?", "None"),
        ("Which parameter has the default 'x'?", "c"),
        ("What is the last parameter of f?", "c"),
        ("What does f raise?", "KeyError"),
        ("What does f return?", "all of it"),
        ("Who wrote it?", ""),
    ],
)
def test_patterns_know_the_templates(question: str, answer: str) -> None:
    context = "def f(a, b: str = None, c='x'):\nReturn all of it. KeyError is raised."
    assert answered_by_pattern(question, context) == answer


def test_the_first_literal_is_a_guess_for_any_context() -> None:
    assert first_literal("def f(a, b='x y', c=1): ...") == "'x y'"
    assert first_literal("It was 1905, then") == "1905"
    assert first_literal("no literal here") == "no"
