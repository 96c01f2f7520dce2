"""What a model has to beat: the most frequent class, and a linear model on weighted word counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

# A word, or one character of a script written without spaces (kana, Han): for those scikit-learn's own
# pattern would take a whole sentence for a word, and the baseline would be a straw man.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"


def majority_class(train: pa.Table, test: pa.Table) -> list[str]:
    counts = Counter(train["label"].to_pylist())
    largest = max(sorted(counts), key=counts.__getitem__)
    return [largest] * len(test)


def tfidf_logistic_regression(train: pa.Table, test: pa.Table) -> list[str]:
    """Logistic regression with C=10 on `tfidf`, run to convergence."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(tfidf(), LogisticRegression(C=10, max_iter=2000))
    classifier.fit(train["text"].to_pylist(), train["label"].to_pylist())
    return [str(label) for label in classifier.predict(test["text"].to_pylist())]


def tfidf() -> Any:
    """scikit-learn's vectoriser of word 1- and 2-grams, with sublinear term frequency."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
