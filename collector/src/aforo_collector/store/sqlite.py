"""Opening a collector's SQLite file: one writing connection, short-lived reading ones.

WAL mode, so that readers see the last commit and never wait; `synchronous=FULL`, so that a commit is on
disk before it is answered; checkpoints on a thread of their own, so that no commit waits for one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from .checkpoints import Checkpoints
from .roll_up_count import count_due
from .sqlite_schema import STEPS, take_steps

CACHE_KIB = 65_536
FILE_NAME = "aforo.db"


class StoreError(Exception):
    """The store cannot be used as it is; says why and what to do. Nothing was changed."""


class Database:
    """One SQLite file. `write` is for the writer thread alone; `reading` lends a connection to any thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self.write = self._connect()
        self._idle: list[sqlite3.Connection] = []
        self._lock = Lock()
        try:
            self.write.execute("PRAGMA journal_mode=WAL")
            self.write.execute("PRAGMA synchronous=FULL")
            self.write.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self.write.execute("PRAGMA wal_autocheckpoint=0")
            self._migrate()
            count_due(self.write)
            self.checkpoints = Checkpoints(self._connect)
        except sqlite3.DatabaseError as error:
            self.write.close()
            raise StoreError(
                f"{self.path} cannot be opened: {error}. Nothing was changed; give another --data folder "
                "or restore the file from a backup."
            ) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256
        )

    def _migrate(self) -> None:
        found = self.write.execute("PRAGMA user_version").fetchone()[0]
        if found == len(STEPS):
            return
        if found > len(STEPS):
            raise StoreError(
                f"{self.path} has schema version {found} and this program knows {len(STEPS)}. Nothing was "
                "changed; use the version of aforo-collector that wrote it."
            )
        take_steps(self.write, found, len(STEPS))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction: everything read through it is of one moment."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA cache_size=-4096")
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
            with self._lock:
                if len(self._idle) < 4:
                    self._idle.append(connection)
                    connection = None
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Close every idle connection and, last, the writer, which folds the log into the file."""
        self.checkpoints.stop()
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        self.write.close()
