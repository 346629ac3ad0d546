"""Keys that a dry run has seen in its file, beside what came under them: in a temporary file of SQLite's own."""

from __future__ import annotations

import sqlite3
from typing import Self


class SeenKeys:
    """Tells a key that comes again; whatever the number of keys, memory stays flat."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def digest(self, key: str, digest: bytes) -> bytes | None:
        """The digest that came with a key before; None when it is new, and is noted."""
        row = self._db.execute("SELECT digest FROM seen WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return bytes(row[0])
        self._db.execute("INSERT INTO seen VALUES (?, ?)", (key, digest))
        return None
