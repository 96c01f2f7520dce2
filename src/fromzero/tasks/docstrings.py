"""Which package is this docstring from? A task with real labels that needs no file beside the library.

The names that would give the answer away are masked, so that what is learned is what a package is about:

- masked: the names in the path of a docstring's own module, its package among them (`asyncio` and
  `base_events` in `asyncio/base_events.py`), in any case, wherever letters or digits do not go on: alone,
  in a dotted name (`asyncio.run`), between underscores (`_asyncio_loop`);
- not masked: names inside words (`EmailMessage`, `HTTPConnection`, `emails`), which is what the classes
  of a package are called (about one docstring in a hundred has one), and names of other packages.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fromzero.errors import UserError
from fromzero.suggestions import hint
from fromzero.tasks.examples import SPLITS, Row, table_of

logger = logging.getLogger(__name__)

MASK = "…"
_NOT_NAMES = {"__init__", "__main__"}  # every package has them: they tell nothing
_COLUMNS = ["id", "group", "stratum", "text"]


def docstring_examples(corpus: Path, packages: Sequence[str]) -> pa.Table:
    """Docstrings of `packages`, in the corpus' own split, so that no test text was seen in pretraining.

    Masking makes some short texts equal across modules: a training text that also stands in the
    validation or test part is dropped, as is a validation text that stands in the test part.

    Raises:
        UserError: the corpus has no docstrings, or none of one of the packages.
    """
    kept: dict[str, list[Row]] = {}
    seen: set[str] = set()
    repeated = 0
    for split in reversed(SPLITS):
        found = [_example(document, split) for document in _documents(corpus, split, packages)]
        kept[split] = [row for row in found if row["text"] not in seen]
        seen.update(row["text"] for row in kept[split])
        repeated += len(found) - len(kept[split])
    if repeated:
        logger.info("%d docstrings are left out: once masked, they also stand in a later part", repeated)
    rows = [row for split in SPLITS for row in kept[split]]
    _refuse_absent(corpus, packages, {row["label"] for row in rows})
    return table_of(rows)


def masked(text: str, group: str) -> str:
    """`text` with the names of its module, given as a path such as `xml/dom/minidom.py`, replaced."""
    names = set(PurePosixPath(group).with_suffix("").parts) - _NOT_NAMES
    alternatives = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", MASK, text, flags=re.IGNORECASE)


def _example(document: Row, split: str) -> Row:
    return {
        "text": masked(document["text"], document["group"]),
        "label": document["stratum"],
        "split": split,
        "source": document["id"],
    }


def _documents(corpus: Path, split: str, packages: Sequence[str]) -> list[Row]:
    files = sorted(corpus.glob(f"{split}-*.parquet"))
    wanted = (pc.field("kind") == "docstring") & pc.field("stratum").isin(list(packages))
    rows: list[Row] = []
    for file in files:
        rows += pq.read_table(file, columns=_COLUMNS, filters=wanted).to_pylist()
    return rows


def _refuse_absent(corpus: Path, packages: Sequence[str], found: set[str]) -> None:
    absent = sorted(set(packages) - found)
    if not absent:
        return
    there: set[str] = set()
    for file in corpus.glob("*.parquet"):
        is_docstring = pc.field("kind") == "docstring"
        there.update(pq.read_table(file, columns=["stratum"], filters=is_docstring)["stratum"].to_pylist())
    if not there:
        raise UserError(
            "the corpus has no docstrings to classify: run with data=stdlib, "
            "or name a table of your own by task.data.train=FILE.csv"
        )
    names = ", ".join(map(repr, absent))
    raise UserError(f"task.packages: the corpus has no docstrings of {names}{hint(absent[0], there)}")
