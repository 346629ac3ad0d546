"""The numbers of traces: an index of (tenant, trace id), which is random on the wire."""

from __future__ import annotations

import sqlite3

from .key_index import KeyIndex, KeyReads
from .key_pages import key_of

NAME = "trace_keys"
_SIZE_BYTES = 8


def trace_key(tenant_no: int, trace_id: bytes) -> bytes:
    """The key of a tenant's trace."""
    return key_of(b"%d" % tenant_no, trace_id)


def trace_index(connection: sqlite3.Connection) -> KeyIndex:
    """The index for the writer; its values are the numbers, as 8 bytes."""
    return KeyIndex(connection, NAME, _SIZE_BYTES)


def trace_number(connection: sqlite3.Connection, tenant_no: int, trace_id: bytes) -> int | None:
    """The number of a trace, for a reader."""
    value = KeyReads(connection, NAME, _SIZE_BYTES).find(trace_key(tenant_no, trace_id))
    return None if value is None else int.from_bytes(value)
