"""Accuracy and macro averages, as scikit-learn defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Classes = npt.NDArray[Any]


def classification_metrics(truth: Classes, predicted: Classes) -> dict[str, float]:
    """`accuracy`, `macro_precision`, `macro_recall`, `macro_f1` of class names or indices, both [examples].

    Averages run over the classes that occur in `truth`, whatever was predicted, so that all models scored
    on the same examples are averaged over the same classes. A class never predicted has precision 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=np.unique(truth), average="macro", zero_division=0
    )
    return {
        "accuracy": float(np.mean(truth == predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
    }
