"""Closing a session on request, after everything that was acknowledged before."""

from __future__ import annotations

from aforo_collector.store.sqlite_writer import SqliteWriter

from .reading import InvalidQuery
from .writer import Writer


def close_session(
    store: SqliteWriter, writer: Writer, tenant_no: int, session_id: str, customer_id: str | None
) -> bool:
    """Close a session and wait for the commit; False when there is none of that id.

    Closing again changes nothing. Raises `InvalidQuery` when several customers use the id and none is named,
    and `QueueFull` when the writer is behind; then nothing was closed.
    """

    def close(now_ns: int) -> bool:
        found = store.sessions.by_id(tenant_no, session_id, customer_id)
        if len(found) > 1:
            raise InvalidQuery("customerId", "several customers use this session id; name one")
        for session in found:
            writer.intake.finals.close(session.session_no, now_ns)
        return bool(found)

    closed: bool = writer.command(close).result()
    return closed
