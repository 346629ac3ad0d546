"""Traces, strands and spans of the writer: numbers for traces, nodes loaded one by one, nodes saved in bulk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.trace import ROLE_MASK, Node

from .batch_reads import Batch, batch_of
from .callers import caller_text
from .interning import Bounded, Interning
from .trace_keys import trace_index, trace_key

_SPAN_COLUMNS = (
    "trace_no, span_id, parent_id, flags, first_child, next_sibling, label_no, within_no, strand_no, event_no,"
    " batch_no, position"
)
_INSERT = f"INSERT INTO spans ({_SPAN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = (
    "UPDATE spans SET parent_id = ?3, flags = ?4, first_child = ?5, next_sibling = ?6, label_no = ?7,"
    " within_no = ?8, strand_no = ?9, event_no = ?10, batch_no = ?11, position = ?12"
    " WHERE trace_no = ?1 AND span_id = ?2"
)


class Strand(NamedTuple):
    """The spans of one trace that share a payer and a session; `session_no` is 0 while nobody pays."""

    strand_no: int
    payer_no: int
    customer_no: int
    session_no: int


class TraceRows:
    """Reads and writes the rows of trace trees on the writing connection."""

    def __init__(self, connection: sqlite3.Connection, interning: Interning) -> None:
        self._db = connection
        self._interning = interning
        self._traces: Bounded[tuple[bytes, int], int] = Bounded(4_000)
        self._strands: Bounded[tuple[int, Identity], Strand] = Bounded(2_000)
        self._identities: Bounded[int, Identity] = Bounded(4_000)
        self._new_strands: list[tuple[int, int, bytes, int, int, str | None]] = []
        self._index = trace_index(connection)
        self.forget()

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._traces.clear()
        self._strands.clear()
        self._identities.clear()
        self._new_strands.clear()
        self._index.forget()
        row = self._db.execute("SELECT next_no FROM counters WHERE name = 'trace'").fetchone()
        self._next_trace_no = self._stored_next_no = int(row[0]) if row is not None else 1
        self._next_strand_no = self._next("strands", "strand_no")
        self._next_batch_no = self._next("batches", "batch_no")

    def _next(self, table: str, column: str) -> int:
        row = self._db.execute(f"SELECT max({column}) FROM {table}").fetchone()
        return int(row[0] or 0) + 1

    def trace(self, trace_id: bytes, tenant_no: int) -> tuple[int, bool]:
        """(trace number, whether the store may already hold spans of it)."""
        return self.numbers([trace_id], tenant_no)[trace_id]

    def numbers(self, trace_ids: Iterable[bytes], tenant_no: int) -> dict[bytes, tuple[int, bool]]:
        """(trace number, whether the store may already hold spans of it) of each of different traces."""
        found: dict[bytes, tuple[int, bool]] = {}
        keys: dict[bytes, bytes] = {}
        for trace_id in trace_ids:
            number = self._traces.get((trace_id, tenant_no))
            if number is None:
                keys[trace_id] = trace_key(tenant_no, trace_id)
            else:
                found[trace_id] = number, True
        stored = self._index.find_many(keys.values())
        new: dict[bytes, bytes] = {}
        for trace_id, key in keys.items():
            value = stored.get(key)
            if value is None:
                number = self._next_trace_no
                self._next_trace_no += 1
                new[key] = number.to_bytes(8)
            else:
                number = int.from_bytes(value)
            found[trace_id] = number, value is not None
            self._traces.put((trace_id, tenant_no), number)
        self._index.put_many(new)
        return found

    def next_batch_no(self) -> int:
        """A number for a delivered body; a number that is not used leaves a gap."""
        number = self._next_batch_no
        self._next_batch_no += 1
        return number

    def put_batch(
        self, batch_no: int, tenant_no: int, received_ns: int, content_type: str, spans: int, body: bytes,
        caller: Identity,
    ) -> None:  # fmt: skip
        """Keep a delivered body, compressed, and what its credential said of who pays."""
        self._db.execute(
            "INSERT INTO batches (batch_no, tenant_no, received_ns, content_type, spans, body, caller)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (batch_no, tenant_no, received_ns, content_type, spans, body, caller_text(caller)),
        )

    def batch(self, batch_no: int) -> Batch:
        """A batch."""
        return batch_of(self._db, batch_no)

    def strand(self, trace_no: int, identity: Identity) -> Strand | None:
        """The strand of an effective identity in a trace, if it is remembered."""
        return self._strands.get((trace_no, identity))

    def new_strand(
        self, trace_no: int, trace_id: bytes, identity: Identity, payer: tuple[int, int], session_no: int,
        is_all: bool = True,
    ) -> Strand:  # fmt: skip
        """Start a strand; the same identity may get another one later, which means the same.

        The identity is what its spans say and hand down to spans below; `is_all` if that is all of the payer and
        the session, and nothing was filled in for the bill, which is nobody else's.
        """
        number = self._next_strand_no
        self._next_strand_no += 1
        self._new_strands.append(
            (number, trace_no, trace_id, payer[0], session_no, None if is_all else json.dumps(identity))
        )
        strand = Strand(number, payer[0], payer[1], session_no)
        self._strands.put((trace_no, identity), strand)
        self._identities.put(number, identity)
        return strand

    def flush(self) -> None:
        """Write the strands and keys that are held, and which number the next trace gets."""
        self._index.flush()
        if self._next_trace_no != self._stored_next_no:
            self._db.execute("INSERT OR REPLACE INTO counters VALUES ('trace', ?)", (self._next_trace_no,))
            self._stored_next_no = self._next_trace_no
        if self._new_strands:
            self._db.executemany("INSERT INTO strands VALUES (?, ?, ?, ?, ?, ?)", self._new_strands)
            self._new_strands.clear()

    def stored_strand(self, strand_no: int) -> tuple[Strand, bytes]:
        """(strand, trace id) by number."""
        self.flush()
        row = self._db.execute(
            "SELECT payer_no, session_no, trace_id FROM strands WHERE strand_no = ?", (strand_no,)
        ).fetchone()
        customer_no = self._db.execute(
            "SELECT customer_no FROM payers WHERE payer_no = ?", (row[0],)
        ).fetchone()[0]
        return Strand(strand_no, row[0], customer_no, row[1]), row[2]

    def identity(self, strand_no: int) -> Identity:
        """What the spans of a strand hand down; the session is empty where it fell back to the trace id."""
        identity = self._identities.get(strand_no)
        if identity is None:
            self.flush()
            payer_no, session_id, trace_id, said = self._db.execute(
                "SELECT payer_no, session_id, trace_id, said FROM strands st"
                " LEFT JOIN sessions USING (session_no) WHERE strand_no = ?",
                (strand_no,),
            ).fetchone()
            if said is not None:
                identity = Identity(*json.loads(said))
            else:
                identity = self._interning.payer_identity(payer_no)[1]
                if session_id and session_id != trace_id.hex():
                    identity = identity._replace(session_id=session_id)
            self._identities.put(strand_no, identity)
        return identity

    def load(self, trace_no: int, span_id: int) -> Node | None:
        """A stored node, or None."""
        row = self._db.execute(
            f"SELECT {_SPAN_COLUMNS} FROM spans WHERE trace_no = ? AND span_id = ?", (trace_no, span_id)
        ).fetchone()
        if row is None:
            return None
        node = Node(span_id)
        node.stored = True
        (_, _, node.parent_id, node.flags, node.first_child, node.next_sibling, label_no, within_no,
         node.strand_no, node.event_no, node.batch_no, node.position) = row  # fmt: skip
        node.label = self._interning.text(label_no)
        node.within = self._interning.text(within_no)
        if node.strand_no:
            node.identity = self.identity(node.strand_no)
        return node

    def span_ids(self, trace_no: int) -> list[int]:
        """The ids of the stored spans of a trace."""
        return [
            row[0] for row in self._db.execute("SELECT span_id FROM spans WHERE trace_no = ?", (trace_no,))
        ]

    def save(self, trace_no: int, nodes: Iterable[Node], inserts: list[tuple[int, ...]]) -> None:
        """Update stored nodes; append new ones to `inserts`, which goes to `insert` in one piece."""
        name = self._interning.name
        for node in nodes:
            label, within = node.label, node.within
            row = (
                trace_no, node.span_id, node.parent_id, node.flags, node.first_child, node.next_sibling,
                name(label) if label else 0, name(within) if within else 0, node.strand_no, node.event_no,
                node.batch_no, node.position,
            )  # fmt: skip
            if node.stored:
                self._db.execute(_UPDATE, row)
            else:
                inserts.append(row)

    def insert(self, rows: list[tuple[int, ...]]) -> None:
        """Write new nodes."""
        self._db.executemany(_INSERT, rows)

    def spans_of_session(self, session_no: int) -> list[tuple[int, Node]]:
        """(strand number, node with batch and position) of every stored span of a session."""
        self.flush()
        rows = self._db.execute(
            "SELECT sp.strand_no, sp.span_id, sp.batch_no, sp.position FROM strands st"
            " JOIN spans sp ON sp.trace_no = st.trace_no AND sp.strand_no = st.strand_no WHERE st.session_no = ?",
            (session_no,),
        ).fetchall()
        found = []
        for strand_no, span_id, batch_no, position in rows:
            node = Node(span_id)
            node.batch_no, node.position = batch_no, position
            found.append((strand_no, node))
        return found

    def latest_calls(self, trace_no: int, roles: tuple[int, ...], count_max: int) -> list[Node]:
        """The nodes of a trace's latest stored spans that have one of these role flags."""
        rows = self._db.execute(
            "SELECT span_id, flags, batch_no, position FROM spans WHERE trace_no = ? AND flags & 1"
            f" AND flags & {ROLE_MASK} IN ({', '.join(map(str, roles))}) ORDER BY batch_no DESC, position LIMIT ?",
            (trace_no, count_max),
        ).fetchall()
        found = []
        for span_id, flags, batch_no, position in rows:
            node = Node(span_id)
            node.flags, node.batch_no, node.position = flags, batch_no, position
            found.append(node)
        return found
