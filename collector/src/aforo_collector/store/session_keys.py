"""The numbers of sessions: an index of (tenant, session id), and beside it those that share an id with another.

Nearly always one customer uses a session id; its session is the one in the index. The sessions of other
customers under the same id stand in `namesakes`, and so does one that takes an id up again whose session was
taken away. A number counts only if its session is there and has that id.
"""

from __future__ import annotations

import sqlite3

from .key_index import KeyIndex, KeyReads
from .key_pages import key_of

NAME = "session_keys"
_SIZE_BYTES = 8


def session_key(tenant_no: int, session_id: str) -> bytes:
    """The key of a session id of a tenant."""
    return key_of(b"%d" % tenant_no, session_id.encode())


class SessionKeys:
    """The writer's side."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._index = KeyIndex(connection, NAME, _SIZE_BYTES)

    def numbers(self, tenant_no: int, session_id: str) -> list[int]:
        """The numbers that sessions of an id may have."""
        key = session_key(tenant_no, session_id)
        first = self._index.find_many([key]).get(key)
        return [] if first is None else _with_namesakes(self._db, first, tenant_no, session_id)

    def put(self, tenant_no: int, session_id: str, session_no: int, is_namesake: bool) -> None:
        """Add a session; it is a namesake if `numbers` gave any."""
        if is_namesake:
            self._db.execute("INSERT INTO namesakes VALUES (?, ?, ?)", (tenant_no, session_id, session_no))
        else:
            self._index.put_many({session_key(tenant_no, session_id): session_no.to_bytes(_SIZE_BYTES)})

    def flush(self) -> None:
        """Write what is held, before the commit."""
        self._index.flush()

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._index.forget()


def session_numbers(connection: sqlite3.Connection, tenant_no: int, session_id: str) -> list[int]:
    """The numbers that sessions of an id may have, for a reader."""
    first = KeyReads(connection, NAME, _SIZE_BYTES).find(session_key(tenant_no, session_id))
    return [] if first is None else _with_namesakes(connection, first, tenant_no, session_id)


def _with_namesakes(db: sqlite3.Connection, first: bytes, tenant_no: int, session_id: str) -> list[int]:
    rows = db.execute(
        "SELECT session_no FROM namesakes WHERE tenant_no = ? AND session_id = ?", (tenant_no, session_id)
    ).fetchall()
    return [int.from_bytes(first), *(row[0] for row in rows)]
