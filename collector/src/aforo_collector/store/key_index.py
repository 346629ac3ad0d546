"""An index of random keys in SQLite that costs nearly as little at the twenty-millionth key as at the first.

In a B-tree each random key lands on a page of its own: past the size of the cache every key reads a page, and
writes it to the log and to the file. Here new keys are appended, and kept in memory until enough of them
become a sorted run; runs are merged into longer ones, a slice with each flush. So a key is written a few
times, always among its neighbours, and filters in memory tell of nearly every new key that no run has it
(the log-structured merge tree of O'Neil, Cheng, Gawlick and O'Neil, 1996). All of it is part of the caller's
transactions: what is committed is there, what is rolled back or cut off by a crash never was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from operator import add

from .key_pages import KEY_SIZE_BYTES, Pages
from .key_runs import KeyRuns

REGION_KEYS = 5_120
"""New keys that are kept in memory until they become a run: some 1 MB of it."""
HASTE = 6
"""Keys that each merge moves for every new key: the more, the fewer runs there are to look into, and the longer
a commit may take."""


class KeyIndex:
    """An index as the writer sees it, for the one thread and connection that write.

    Keys are digests, as of `key_of`; values have one size, of a byte or more. Inside a transaction of the
    caller's: put what is not found, `flush` before the commit, `forget` after a rollback.
    """

    def __init__(
        self, connection: sqlite3.Connection, name: str, value_size_bytes: int, region_keys: int = REGION_KEYS
    ) -> None:
        self._db = connection
        self._name = name
        self._region_keys = region_keys
        self._value_size_bytes = value_size_bytes
        self._pages = Pages(connection, name, value_size_bytes)
        self._pending: dict[bytes, bytes] = {}
        self._load()

    def _load(self) -> None:
        rows = self._db.execute(f"SELECT records FROM {self._name}_fresh").fetchall()
        joined, size = b"".join(row[0] for row in rows), KEY_SIZE_BYTES + self._value_size_bytes
        self._fresh = {
            joined[at : at + KEY_SIZE_BYTES]: joined[at + KEY_SIZE_BYTES : at + size]
            for at in range(0, len(joined), size)
        }
        self._runs = KeyRuns(self._db, self._name, self._pages, self._value_size_bytes)
        self._credit = 0
        self._state: tuple[int | None, int | None] | None = self._stored_state()
        """Where the file has to be for what is in memory to be true; None while they are being changed."""

    def _stored_state(self) -> tuple[int | None, int | None]:
        """What no two flushes leave alike: it tells whether what is in memory was committed."""
        latest: tuple[int | None, int | None] = self._db.execute(
            f"SELECT (SELECT max(flush_no) FROM {self._name}_fresh), (SELECT max(run_no) FROM {self._name}_runs)"
        ).fetchone()
        return latest

    def find_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that were put, in this transaction or before."""
        found: dict[bytes, bytes] = {}
        others: list[bytes] = []
        pending, fresh = self._pending.get, self._fresh.get
        for key in keys:
            value = pending(key) or fresh(key)
            if value is None:
                others.append(key)
            else:
                found[key] = value
        found.update(self._runs.find_many(others))
        return found

    def put_many(self, items: Mapping[bytes, bytes]) -> None:
        """Add keys that `find_many` does not find."""
        self._pending.update(items)

    def replace(self, key: bytes, value: bytes) -> None:
        """Give a key that `find_many` finds another value; writes a page for it, so it is for rare cases."""
        if key in self._pending:
            self._pending[key] = value
        elif key in self._fresh:
            rows = self._db.execute(f"SELECT flush_no, records FROM {self._name}_fresh").fetchall()
            for flush_no, old in rows:
                records = self._pages.replaced(old, key, value)
                if records is not None:
                    self._db.execute(
                        f"UPDATE {self._name}_fresh SET records = ? WHERE flush_no = ?", (records, flush_no)
                    )
            self._fresh[key] = value
            self._state = None
        else:
            self._runs.replace(key, value)

    def flush(self) -> None:
        """Write what was put, and do a share of the merging."""
        if not self._pending:
            return
        self._state = None
        self._credit += HASTE * self._runs.merges * len(self._pending)
        if len(self._fresh) + len(self._pending) >= self._region_keys:
            self._db.execute(f"DELETE FROM {self._name}_fresh")
            self._pending |= self._fresh
            self._fresh = {}
            while len(self._pending) >= self._region_keys:
                self._runs.add([add(*self._pending.popitem()) for _ in range(self._region_keys)])
        if self._pending:
            records = b"".join(map(add, self._pending, self._pending.values()))
            self._db.execute(f"INSERT INTO {self._name}_fresh (records) VALUES (?)", (records,))
            self._fresh |= self._pending
            self._pending = {}
        while self._credit >= self._region_keys:
            self._credit = self._credit - self._region_keys if self._runs.merge() else 0
        self._state = self._stored_state()

    def forget(self) -> None:
        """Drop what was put in a transaction that was rolled back, flushed or not."""
        self._pending.clear()
        if self._state != self._stored_state():
            self._load()


class KeyReads:
    """An index as a reader sees it inside its transaction; `value_size_bytes` as the writer's."""

    def __init__(self, connection: sqlite3.Connection, name: str, value_size_bytes: int) -> None:
        self._db = connection
        self._name = name
        self._pages = Pages(connection, name, value_size_bytes)

    def find(self, key: bytes) -> bytes | None:
        """The value of a key, None if it was never put."""
        rows = self._db.execute(f"SELECT records FROM {self._name}_fresh WHERE instr(records, ?)", (key,))
        for (records,) in rows:
            if (value := self._pages.within(records, key)) is not None:
                return value
        for run_no, level in self._db.execute(f"SELECT run_no, level FROM {self._name}_runs"):
            if (value := self._pages.find(run_no, level, key)) is not None:
                return value
        return None
