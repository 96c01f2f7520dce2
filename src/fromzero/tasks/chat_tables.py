"""Chats from the user's own tables: of a column of messages, or of columns with what a user asks."""

from __future__ import annotations

from typing import Any

from fromzero.errors import UserError
from fromzero.tasks.chats import chat_of
from fromzero.tasks.tables import Tables

Row = dict[str, Any]


def chat_rows(data: Tables) -> list[Row]:
    """The rows of `data`, each with its `messages` in our form, from its field `messages` or `prompt`.

    Raises:
        UserError: both of these have a column, or none, or what is in it is no chat.
    """
    unnamed = [field for field, columns in data.columns.items() if not columns]
    named = [field for field in ("messages", "prompt") if data.columns.get(field)]
    if len(named) != 1:
        raise UserError(
            "task.data.columns must name a column for one of `messages` (a list of who says what) and "
            f"`prompt` (what the user asks), and null for the other; it does for {len(named)}"
        )
    rows: list[Row] = data.read(optional=unnamed).to_pylist()
    return [{**row, "messages": chat_of(row[named[0]], row["source"])} for row in rows]


def origin(row: Row) -> Row:
    """The part that a row is of, where it stands, and its group where it has one."""
    return {name: row[name] for name in ("split", "source", "group") if name in row}
