"""Delivered bodies as they are kept, with what is needed to read them the same way again."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

from aforo_collector.domain.identity import NOBODY, Identity


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
    return Batch(content_type, body, Identity(*json.loads(caller)) if caller else NOBODY)


def caller_text(caller: Identity) -> str:
    """What a credential says as it is kept with a batch; nothing for one that says nothing."""
    return "" if caller == NOBODY else json.dumps(caller)
