"""What a model has to beat: the most frequent class, and a linear model on weighted word counts."""

from __future__ import annotations

from collections import Counter

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
    """Word 1- and 2-grams, sublinear term frequency, logistic regression with C=10, run to convergence."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD),
        LogisticRegression(C=10, max_iter=2000),
    )
    classifier.fit(train["text"].to_pylist(), train["label"].to_pylist())
    return [str(label) for label in classifier.predict(test["text"].to_pylist())]
