"""Delivered bodies as they are kept, with what is needed to read them the same way again."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from aforo_collector.domain.identity import Identity

from .callers import caller_of


class Batch(NamedTuple):
    """A delivered body, compressed; `caller` is what its credential said of who pays."""

    content_type: str
    body: bytes
    caller: Identity


def batch_of(connection: sqlite3.Connection, batch_no: int) -> Batch:
    """A batch by its number."""
    content_type, body, caller = connection.execute(
        "SELECT content_type, body, caller FROM batches WHERE batch_no = ?", (batch_no,)
    ).fetchone()
    return Batch(content_type, body, caller_of(caller))
