"""Sessions of the writer: found by id, kept warm, saved once per transaction."""

from __future__ import annotations

import sqlite3

import msgspec

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.session import Policy, Session

from .interning import Bounded, Interning
from .session_keys import SessionKeys

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(Session)


def encode(session: Session) -> bytes:
    """The stored form of a session: MessagePack, amounts as decimal text."""
    return _encoder.encode(session)


def decode(body: bytes) -> Session:
    """A session from its stored form."""
    return _decoder.decode(body)


class SessionRows:
    """Reads and writes sessions on the writing connection."""

    def __init__(self, connection: sqlite3.Connection, interning: Interning) -> None:
        self._db = connection
        self._interning = interning
        self._sessions: Bounded[int, Session] = Bounded(1_000)
        self._numbers: Bounded[tuple[int, str], int] = Bounded(4_000)
        self._changed: dict[int, Session] = {}
        self._fresh: set[int] = set()
        self._keys = SessionKeys(connection)
        self.forget()

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._sessions.clear()
        self._numbers.clear()
        self._changed.clear()
        self._fresh.clear()
        self._keys.forget()
        # The bookings of a session that was taken away still say its number: no other session may have it.
        numbers = (
            self._db.execute(f"SELECT max(session_no) FROM {table} WHERE session_no > 0").fetchone()[0] or 0
            for table in ("sessions", "session_due", "strands")
        )
        self._next_no = max(numbers) + 1

    def open(self, tenant_no: int, identity: Identity, session_id: str, now_ns: int) -> Session:
        """The session of a customer by its id, made if it does not exist; CLOSED ones are returned too."""
        customer_no = self._interning.customer(tenant_no, identity.customer_id)
        key = (customer_no, session_id)
        number = self._numbers.get(key)
        if number is not None:
            return self.load(number)
        whose = tenant_no, identity.customer_id, session_id
        numbers = self._keys.numbers(tenant_no, session_id)
        for number in numbers:
            known = self.find(number)
            if known and (known.tenant_no, known.customer_id, known.session_id) == whose:
                self._numbers.put(key, number)
                return known
        number = self._next_no
        self._next_no += 1
        self._numbers.put(key, number)
        if number not in numbers:  # a session that was taken away may have had it
            self._keys.put(tenant_no, session_id, number, is_namesake=bool(numbers))
        lead = identity._replace(session_id="")
        session = Session(number, tenant_no, identity.customer_id, session_id, lead, created_ns=now_ns)
        self._sessions.put(number, session)
        self._fresh.add(number)
        self._changed[number] = session
        return session

    def load(self, session_no: int) -> Session:
        """A session by number; the same object for as long as it is remembered."""
        session = self._changed.get(session_no) or self._sessions.get(session_no)
        if session is None:
            row = self._db.execute("SELECT body FROM sessions WHERE session_no = ?", (session_no,)).fetchone()
            session = decode(row[0])
            self._sessions.put(session_no, session)
        return session

    def changed(self, session: Session) -> None:
        """Remember to save a session."""
        self._changed[session.session_no] = session

    def save(self, policy: Policy) -> None:
        """Write what changed; a new session also gets the moment when it has to be looked at."""
        inserts, updates, dues = [], [], []
        for number, session in self._changed.items():
            if number in self._fresh:
                if not session.spans and not session.totals.events:
                    self._numbers.pop((self._customer_no(session), session.session_id), None)
                    self._sessions.pop(number, None)
                    continue  # made and emptied again within one transaction
                inserts.append((
                    number, session.tenant_no, self._customer_no(session), session.session_id,
                    session.touched_ns, session.closed_ns, encode(session),
                ))  # fmt: skip
                dues.append((session.deadline_ns(policy)[0], number))
            else:
                updates.append((session.touched_ns, session.closed_ns, encode(session), number))
        self._db.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", inserts)
        self._db.executemany("INSERT OR IGNORE INTO session_due VALUES (?, ?)", dues)
        self._db.executemany(
            "UPDATE sessions SET touched_ns = ?, closed_ns = ?, body = ? WHERE session_no = ?", updates
        )
        self._keys.flush()
        self._changed.clear()
        self._fresh.clear()

    def _customer_no(self, session: Session) -> int:
        return self._interning.customer(session.tenant_no, session.customer_id)

    def remove(self, session: Session) -> None:
        """Take away a session that has no span left, as if it had never been."""
        number = session.session_no
        self._numbers.pop((self._customer_no(session), session.session_id), None)
        self._sessions.pop(number, None)
        if number not in self._fresh:
            self._db.execute("DELETE FROM sessions WHERE session_no = ?", (number,))
        self._fresh.discard(number)
        self._changed.pop(number, None)

    def due(self, now_ns: int, count_max: int) -> list[tuple[int, int]]:
        """(due time, session number) of sessions that have to be looked at by now, earliest first."""
        return self._db.execute(
            "SELECT due_ns, session_no FROM session_due WHERE due_ns <= ? ORDER BY due_ns LIMIT ?",
            (now_ns, count_max),
        ).fetchall()

    def looked_at(self, due_ns: int, session_no: int, again_ns: int | None) -> None:
        """Strike a look off, and set the next one if the session lives on."""
        self._db.execute("DELETE FROM session_due WHERE due_ns = ? AND session_no = ?", (due_ns, session_no))
        if again_ns is not None:
            self._db.execute("INSERT OR IGNORE INTO session_due VALUES (?, ?)", (again_ns, session_no))

    def find(self, session_no: int) -> Session | None:
        """A session by number, or None if it was removed."""
        if session_no in self._changed or session_no in self._sessions:
            return self.load(session_no)
        row = self._db.execute("SELECT 1 FROM sessions WHERE session_no = ?", (session_no,)).fetchone()
        return self.load(session_no) if row else None

    def by_id(self, tenant_no: int, session_id: str, customer_id: str | None) -> list[Session]:
        """Sessions of a tenant by their id; more than one when several customers use the same id."""
        found = []
        for number in self._keys.numbers(tenant_no, session_id):
            session = self.find(number)
            if session and (session.session_id, session.tenant_no) == (session_id, tenant_no):
                found.append(session)
        return [s for s in found if customer_id is None or s.customer_id == customer_id]
