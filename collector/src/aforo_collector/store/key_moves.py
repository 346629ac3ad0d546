"""A step of the schema: traces and sessions are found through indexes of keys, no longer through B-trees."""

from __future__ import annotations

import sqlite3

from .key_pages import tables
from .session_keys import NAME as SESSIONS
from .session_keys import SessionKeys
from .trace_keys import NAME as TRACES
from .trace_keys import trace_index, trace_key

_ROWS = 10_000


def index_keys(connection: sqlite3.Connection) -> None:
    """Make the indexes and move into them what there is, inside the caller's transaction."""
    for statement in (tables(TRACES) + tables(SESSIONS)).split(";"):
        connection.execute(statement)
    connection.execute(
        "CREATE TABLE namesakes (tenant_no INTEGER NOT NULL, session_id TEXT NOT NULL, session_no INTEGER NOT NULL,"
        " PRIMARY KEY (tenant_no, session_id, session_no)) WITHOUT ROWID"
    )
    traces = trace_index(connection)
    rows = connection.execute("SELECT tenant_no, trace_id, trace_no FROM traces")
    while some := rows.fetchmany(_ROWS):
        traces.put_many(
            {trace_key(tenant, trace_id): number.to_bytes(8) for tenant, trace_id, number in some}
        )
        traces.flush()
    sessions = SessionKeys(connection)
    rows = connection.execute("SELECT tenant_no, session_id, session_no FROM sessions ORDER BY session_no")
    while some := rows.fetchmany(_ROWS):
        for tenant_no, session_id, session_no in some:
            is_namesake = bool(sessions.numbers(tenant_no, session_id))
            sessions.put(tenant_no, session_id, session_no, is_namesake)
        sessions.flush()
    connection.execute("DROP TABLE traces")
    connection.execute("DROP INDEX sessions_by_id")
