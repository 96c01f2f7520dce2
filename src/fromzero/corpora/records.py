"""How a record becomes a document, and what is done about one that cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.formats import LARGEST, TOO_LARGE, Bad, Record, no_column
from fromzero.errors import UserError

EMPTY = "is empty"

Columns = str | Sequence[str] | None
"""One column, several that are joined, or none."""

Rule = Literal["refuse", "skip"]


class Fields:
    """Which columns of a record are its text, its id and its group."""

    def __init__(self, text: Columns, id: Columns = None, group: Columns = None) -> None:
        """
        Args:
            text: several are joined by line ends, without those that are empty.
            id: unique in the corpus; several are joined by `/`. None: the place of the record.
            group: the unit of splitting; several are joined by `/`. None: the record's id.
        """
        self.text, self.id, self.group = _listed(text), _listed(id), _listed(group)
        self.columns = list(dict.fromkeys([*self.text, *self.id, *self.group]))

    def missing(self, record: Record) -> str | None:
        """The first column that the record lacks."""
        return next((column for column in self.columns if column not in record), None)

    def document(self, place: str, record: Record) -> Document | Bad:
        """`place` is where a person finds the record: its file and number."""
        missing = self.missing(record)
        if missing is not None:
            return Bad(no_column(missing, record))
        text = _text(record, self.text)
        id = _name(record, self.id) if self.id else place
        group = _name(record, self.group) if self.group else id
        for value in (text, id, group):
            if isinstance(value, Bad):
                return value
        return Document(cast(str, id), cast(str, group), "", "text", place, cast(str, text))


def rule(bad: str | None) -> Rule | None:
    """Checks the option `data.bad`.

    Raises:
        UserError: it is no rule.
    """
    if bad not in (None, "refuse", "skip"):
        raise UserError(f"data.bad is {bad!r}: it should be 'refuse' or 'skip'")
    return cast("Rule | None", bad)


def judge(rule: Rule | None, skipped: Skipped, where: str, *, harmless: bool) -> Skipped:
    """What is passed over; without a rule, that is what is harmless.

    Raises:
        UserError: it is refused. `where` names it in full.
    """
    if rule == "refuse" or (rule is None and not harmless):
        raise UserError(f"{where} {skipped.reason}; data.bad=skip passes over what is bad")
    return skipped


def _listed(columns: Columns) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns or ())


def _text(record: Record, columns: Sequence[str]) -> str | Bad:
    values = [record[column] for column in columns if record[column] is not None]
    for value in values:
        if not isinstance(value, str):
            return Bad(f"has no text in {' or '.join(columns)}, but {type(value).__name__}: {value!r:.60}")
    if len(values) > 1:
        values = [value for value in values if value.strip()]
    text = "\n".join(values)
    return Bad(EMPTY) if not text or text.isspace() else _checked(text)


def _name(record: Record, columns: Sequence[str]) -> str | Bad:
    for column in columns:
        if record[column] in (None, ""):
            return Bad(f"has no value in column {column!r}")
    return _checked("/".join(str(record[column]) for column in columns))


def _checked(text: str) -> str | Bad:
    """What is to be written must be UTF-8, which JSON's `\\ud83d` alone is not."""
    if (nul := text.find("\0")) >= 0:
        return Bad(f"is not text (character {nul} is NUL)")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        return Bad(f"is not text (character {error.start} is half a surrogate pair)")
    return text if size <= LARGEST else Bad(TOO_LARGE)
