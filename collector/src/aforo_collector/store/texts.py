"""The texts behind the numbers of names, for reading."""

from __future__ import annotations

import sqlite3


class Texts:
    """Looks names up once per reading transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._texts = {0: ""}

    def __call__(self, number: int) -> str:
        """The name of a number; 0 is the empty one."""
        text = self._texts.get(number)
        if text is None:
            row = self._db.execute("SELECT name FROM names WHERE name_no = ?", (number,)).fetchone()
            text = self._texts[number] = row[0]
        return text

    def number(self, text: str) -> int:
        """The number of a name, -1 if nothing has it."""
        row = self._db.execute("SELECT name_no FROM names WHERE name = ?", (text,)).fetchone()
        return row[0] if row else -1
