"""Calls of customers that are told by more than one instrumentation, by the time they started."""

from __future__ import annotations

import sqlite3

from aforo_collector.domain.echoes import CALLS_WITHIN_NS, Call, struck, tells_of

_COLUMNS = "start_ns, trace_id, span_id, end_ns, role, source, label, call_id, input, output, worth"


class CallRows:
    """Reads and writes `sources` and `calls` on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def sources(self, customer_no: int) -> frozenset[str]:
        """The instrumentations that have told of a customer's calls."""
        rows = self._db.execute("SELECT source FROM sources WHERE customer_no = ?", (customer_no,))
        return frozenset(row[0] for row in rows)

    def add_source(self, customer_no: int, source: str) -> None:
        """Note an instrumentation; again changes nothing."""
        self._db.execute("INSERT OR IGNORE INTO sources VALUES (?, ?)", (customer_no, source))

    def put(self, customer_no: int, call: Call) -> None:
        """List a call."""
        self._db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", (customer_no, *call)
        )

    def remove(self, customer_no: int, call: Call) -> None:
        """List a call no longer."""
        self._db.execute(
            "DELETE FROM calls WHERE customer_no = ? AND start_ns = ? AND trace_id = ? AND span_id = ?",
            (customer_no, *call[:3]),
        )

    def retell(self, customer_no: int, call: Call) -> bool:
        """Let a listed call have used what is known of it by now; False if that is what was known before."""
        changed = self._db.execute(
            "UPDATE calls SET input = ?, output = ? WHERE customer_no = ? AND start_ns = ? AND trace_id = ?"
            " AND span_id = ? AND (input, output) <> (?, ?)",
            (call.input, call.output, customer_no, *call[:3], call.input, call.output),
        )
        return changed.rowcount > 0

    def strike(self, customer_no: int, call: Call) -> None:
        """Note that a listed call was taken back by hand; nothing if it is not listed."""
        self._db.execute(
            "UPDATE calls SET worth = ? WHERE customer_no = ? AND start_ns = ? AND trace_id = ? AND span_id = ?",
            (struck(call).worth, customer_no, *call[:3]),
        )

    def mark(self, customer_no: int, call: Call, echo: bool) -> None:
        """Note whether a call is an echo."""
        self._db.execute(
            "UPDATE calls SET echo = ? WHERE customer_no = ? AND start_ns = ? AND trace_id = ? AND span_id = ?",
            (echo, customer_no, *call[:3]),
        )

    def started(self, customer_no: int, first_ns: int, last_ns: int, count_max: int) -> dict[Call, bool]:
        """Listed calls that started from the first to the last of two times, and whether each is an echo."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS}, echo FROM calls WHERE customer_no = ? AND start_ns BETWEEN ? AND ? AND role != 3"
            " ORDER BY start_ns, trace_id, span_id LIMIT ?",
            (customer_no, first_ns, last_ns, count_max),
        )
        return {Call(*row[:-1]): bool(row[-1]) for row in rows}

    def agents(self, customer_no: int, first_ns: int, last_ns: int) -> dict[Call, bool]:
        """Listed agents that started from the first to the last of two times, and whether each is an echo."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS}, echo FROM calls WHERE customer_no = ? AND start_ns BETWEEN ? AND ? AND role = 3",
            (customer_no, first_ns, last_ns),
        )
        return {Call(*row[:-1]): bool(row[-1]) for row in rows}

    def telling_tools(self, customer_no: int, first_ns: int, last_ns: int) -> list[Call]:
        """Listed tool calls that tell of tokens, and that ran at a time between two."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM calls WHERE customer_no = ? AND start_ns BETWEEN ? AND ? AND role = 2"
            " AND input + output > 0 AND end_ns >= ?",
            (customer_no, first_ns - CALLS_WITHIN_NS, last_ns, first_ns),
        )
        return [Call(*row) for row in rows]

    def models(self, customer_no: int, first_ns: int, last_ns: int) -> list[Call]:
        """Listed calls of models, each told once, that started between two times."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM calls WHERE customer_no = ? AND start_ns BETWEEN ? AND ? AND role = 1"
            " AND echo = 0",
            (customer_no, first_ns, last_ns),
        )
        return [Call(*row) for row in rows]

    def is_told(self, customer_no: int, agent: Call) -> bool:
        """Whether another instrumentation tells of a call of a model that an agent made."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM calls WHERE customer_no = ? AND start_ns BETWEEN ? AND ? AND role = 1",
            (customer_no, agent.start_ns, agent.start_ns + CALLS_WITHIN_NS),
        )
        return any(tells_of(Call(*row), agent) for row in rows)
