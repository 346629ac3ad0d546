"""Everything the one writer needs of the store, in one transaction at a time."""

from __future__ import annotations

from collections.abc import Iterator
from operator import add

from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.session import Policy
from aforo_collector.domain.usage import SetAside

from .answer_rows import AnswerRows
from .call_rows import CallRows
from .callers import caller_of, caller_text
from .credential_rows import CredentialRows
from .event_keys import KeyRows
from .event_reads import EventReads
from .event_rows import EventRows
from .interning import Interning
from .session_rows import SessionRows
from .sqlite import Database
from .sqlite_schema import STEPS
from .submitted_rows import SubmittedRows
from .texts import Texts
from .trace_rows import TraceRows
from .upload_rows import UploadRows
from .webhook_rows import WebhookRows


class SqliteWriter:
    """The writing side of a SQLite store; for one thread.

    Its parts remember what they wrote; `rollback` makes them forget, because it may not be there.
    """

    def __init__(self, database: Database) -> None:
        self._db = database.write
        self._checkpoints = database.checkpoints
        self.interning = Interning(self._db)
        self.traces = TraceRows(self._db, self.interning)
        self.sessions = SessionRows(self._db, self.interning)
        self.events = EventRows(self._db, self.interning)
        self.calls = CallRows(self._db)
        self.credentials = CredentialRows(self._db)
        self.answers = AnswerRows(self._db)
        self.submitted = SubmittedRows(self._db, self.interning)
        self.keys = KeyRows(self._db)
        self.uploads = UploadRows(self._db)
        self._counts: dict[tuple[int, str], tuple[int, ...]] = {}
        self.webhooks = WebhookRows(self._db)

    def begin(self) -> None:
        """Start a transaction."""
        if self._checkpoints.log_is_long:
            self._checkpoints.help(self._db)
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self, policy: Policy) -> None:
        """Write what is held and commit; on return it is on disk."""
        self.traces.flush()
        self.events.flush()
        self.submitted.flush()
        self.keys.flush()
        self.sessions.save(policy)
        self._flush_counts()
        self._db.execute("COMMIT")

    def rewrite(self) -> None:
        """Write a page as it is: an empty transaction would be committed on a full disk, too."""
        self._db.execute(f"PRAGMA user_version = {len(STEPS)}")

    def rollback(self) -> None:
        """Undo the transaction and forget."""
        self._counts.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        for part in (self.interning, self.traces, self.sessions, self.events, self.submitted, self.keys):
            part.forget()

    def count(self, tenant_no: int, door: str, counts: tuple[int, int, int, int, int]) -> None:
        """Add (received, recorded, duplicates, conflicts, rejected) to the books of a door."""
        before = self._counts.get((tenant_no, door), (0, 0, 0, 0, 0))
        self._counts[tenant_no, door] = tuple(map(add, before, counts))

    def _flush_counts(self) -> None:
        self._db.executemany(
            "INSERT INTO intake VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " received = received + excluded.received, recorded = recorded + excluded.recorded,"
            " duplicates = duplicates + excluded.duplicates, conflicts = conflicts + excluded.conflicts,"
            " rejected = rejected + excluded.rejected",
            [(*door, *counts) for door, counts in self._counts.items()],
        )
        self._counts.clear()

    def quarantine(
        self, tenant_no: int, door: str, code: str, detail: str, trace_id: bytes | None, span_id: int,
        batch_no: int, position: int, now_ns: int, body: str = "", caller: Identity = NOBODY, origin: str = "",
    ) -> None:  # fmt: skip
        """Set something aside with its reason.

        `body` is the event where there is no span to read again, `caller` what its credential said of it, `origin`
        the sender within its door.
        """
        row = self._db.execute(
            "INSERT INTO quarantine (tenant_no, door, code, detail, trace_id, span_id, batch_no, position, received_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tenant_no, door, code, detail[:1000], trace_id, span_id, batch_no, position, now_ns),
        )
        if body:
            kept = (row.lastrowid, body, caller_text(caller), origin)
            self._db.execute("INSERT INTO set_aside VALUES (?, ?, ?, ?)", kept)

    def release(self, batch_no: int, position: int, codes: tuple[str, ...]) -> None:
        """Take a span out of the quarantine: what was missing has arrived."""
        marks = ", ".join("?" * len(codes))
        self._db.execute(
            f"DELETE FROM quarantine WHERE batch_no = ? AND position = ? AND code IN ({marks})",
            (batch_no, position, *codes),
        )

    def set_aside(self, tenant_no: int, quarantine_no: int) -> tuple[SetAside, str, Identity, str] | None:
        """Something in quarantine, the event that was kept of it ("" for none), what its credential said, its origin.

        None if it is not there.
        """
        row = self._db.execute(
            "SELECT quarantine_no, door, code, detail, coalesce(trace_id, x''), span_id, received_ns,"
            " coalesce(body, ''), coalesce(caller, ''), coalesce(origin, '')"
            " FROM quarantine LEFT JOIN set_aside USING (quarantine_no)"
            " WHERE quarantine_no = ? AND tenant_no = ?",
            (quarantine_no, tenant_no),
        ).fetchone()
        return None if row is None else (SetAside(*row[:-3]), row[-3], caller_of(row[-2]), row[-1])

    def let_go(self, quarantine_no: int) -> None:
        """Take something out of the quarantine: it has been dealt with."""
        for table in ("quarantine", "set_aside"):
            self._db.execute(f"DELETE FROM {table} WHERE quarantine_no = ?", (quarantine_no,))

    def let_go_of(self, origin: str) -> None:
        """Take everything of an origin out of the quarantine."""
        of_origin = "SELECT quarantine_no FROM set_aside WHERE origin = ? AND origin <> ''"
        for table in ("quarantine", "set_aside"):
            self._db.execute(f"DELETE FROM {table} WHERE quarantine_no IN ({of_origin})", (origin,))

    def assignment(self, tenant_no: int, trace_id: bytes) -> str:
        """The customer that a trace was assigned to by hand, "" for none."""
        row = self._db.execute(
            "SELECT customer_id FROM assignments WHERE trace_id = ? AND tenant_no = ?", (trace_id, tenant_no)
        ).fetchone()
        return row[0] if row is not None else ""

    def assign(self, tenant_no: int, trace_id: bytes, customer_id: str) -> None:
        """Let a customer pay for the spans of a trace that name none."""
        self._db.execute(
            "INSERT OR REPLACE INTO assignments VALUES (?, ?, ?)", (trace_id, tenant_no, customer_id)
        )

    def unpriced(self, tenant_no: int) -> list[int]:
        """Numbers of the events whose cost is unknown."""
        rows = self._db.execute("SELECT event_no FROM unpriced WHERE tenant_no = ?", (tenant_no,)).fetchall()
        return [row[0] for row in rows]

    def catalogs(self, tenant_no: int) -> Iterator[str]:
        """The texts of a tenant's catalogs, latest first."""
        rows = self._db.execute(
            "SELECT body FROM catalogs WHERE tenant_no = ? ORDER BY catalog_no DESC", (tenant_no,)
        )
        return (row[0] for row in rows)

    def used_metrics(self, tenant_no: int) -> set[str]:
        """The metrics that a tenant has usage events of."""
        rows = self._db.execute(
            "SELECT name FROM used_metrics JOIN names ON name_no = metric_no WHERE tenant_no = ?",
            (tenant_no,),
        )
        return {row[0] for row in rows}

    def plan_rebooking(self, tenant_no: int, customer_id: str) -> None:
        """Note that all events of a customer are to be looked at again; nothing if there are none."""
        self._db.execute(
            "INSERT OR REPLACE INTO rebookings SELECT customer_no, tenant_no, 0 FROM customers"
            " WHERE tenant_no = ? AND customer_id = ?",
            (tenant_no, customer_id),
        )

    def rebooking(self, tenant_no: int, count_max: int) -> tuple[int, list[int]] | None:
        """(customer number, next event numbers) of a rebooking that is under way; None when all are done."""
        row = self._db.execute(
            "SELECT customer_no, next_event_no FROM rebookings WHERE tenant_no = ? LIMIT 1", (tenant_no,)
        ).fetchone()
        if row is None:
            return None
        self.events.flush_rows()
        events = EventReads(self._db, tenant_no, Texts(self._db))
        return row[0], events.numbers(row[0], row[1], count_max)

    def rebooked(self, customer_no: int, next_event_no: int | None) -> None:
        """Note how far a rebooking has come; None when it is done."""
        if next_event_no is None:
            self._db.execute("DELETE FROM rebookings WHERE customer_no = ?", (customer_no,))
        else:
            self._db.execute(
                "UPDATE rebookings SET next_event_no = ? WHERE customer_no = ?", (next_event_no, customer_no)
            )

    def put_catalog(self, tenant_no: int, body: str, now_ns: int) -> None:
        """Append a version of a tenant's catalog."""
        self._db.execute(
            "INSERT INTO catalogs (tenant_no, applied_ns, body) VALUES (?, ?, ?)", (tenant_no, now_ns, body)
        )

    def tenant(self, tenant_id: str) -> int:
        """The number of a tenant, made if it does not exist."""
        row = self._db.execute(
            "INSERT INTO tenants (tenant_id) VALUES (?) ON CONFLICT DO UPDATE SET tenant_id = tenant_id"
            " RETURNING tenant_no",
            (tenant_id,),
        ).fetchone()
        return int(row[0])
