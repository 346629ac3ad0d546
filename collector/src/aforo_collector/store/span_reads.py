"""Spans as readers see them: the rows of a session's trees, and the bodies they came in."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from aforo_collector.domain.trace import Node

from .batch_reads import Batch, batch_of
from .texts import Texts


class StoredSpan(NamedTuple):
    """A span of a session: its trace, and its node with everything but identity and span."""

    trace_no: int
    trace_id: bytes
    node: Node


class SpanReads:
    """Finds spans, in order of arrival."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._db = connection
        self._texts = texts

    def of_session(self, session_no: int, count_max: int) -> tuple[list[StoredSpan], int]:
        """The first `count_max` spans of a session to arrive, and how many there are."""
        spans = (
            "FROM strands st JOIN spans sp ON sp.trace_no = st.trace_no AND sp.strand_no = st.strand_no"
            " WHERE st.session_no = ? AND st.session_no > 0 AND st.trace_no > 0"
        )
        count = self._db.execute(f"SELECT count(*) {spans}", (session_no,)).fetchone()[0]
        rows = self._db.execute(
            "SELECT sp.trace_no, st.trace_id, span_id, parent_id, flags, label_no, within_no, sp.strand_no,"
            f" event_no, batch_no, position {spans} ORDER BY batch_no, position LIMIT ?",
            (session_no, count_max),
        )
        return [self._stored(row) for row in rows], count

    def _stored(self, row: tuple[Any, ...]) -> StoredSpan:
        trace_no, trace_id, span_id, parent_id, flags, label_no, within_no, strand_no, event_no, *place = row
        node = Node(span_id)
        node.parent_id, node.flags, node.strand_no, node.event_no = parent_id, flags, strand_no, event_no
        node.label, node.within = self._texts(label_no), self._texts(within_no)
        node.batch_no, node.position = place
        node.stored = True
        return StoredSpan(trace_no, trace_id, node)

    def batch(self, batch_no: int) -> Batch:
        """A batch."""
        return batch_of(self._db, batch_no)
