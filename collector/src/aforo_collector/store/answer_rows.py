"""Answers to requests that carry an idempotency key, kept so that asking again gives the same."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

KEPT_NS: Final = 7 * 86_400_000_000_000


class StoredAnswer(NamedTuple):
    """What was asked, as a digest, and what was answered, as JSON."""

    digest: bytes
    body: bytes


class AnswerRows:
    """Keeps answers on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def put(self, tenant_no: int, key: str, answer: StoredAnswer, now_ns: int) -> None:
        """Keep an answer, and forget those that are older than a week."""
        self._db.execute("DELETE FROM answers WHERE answered_ns < ?", (now_ns - KEPT_NS,))
        self._db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", (tenant_no, key, *answer, now_ns))


def stored_answer(connection: sqlite3.Connection, tenant_no: int, key: str) -> StoredAnswer | None:
    """The answer that was given to a tenant's key, if it is still kept."""
    row = connection.execute(
        "SELECT digest, body FROM answers WHERE tenant_no = ? AND key = ?", (tenant_no, key)
    ).fetchone()
    return StoredAnswer(*row) if row is not None else None
