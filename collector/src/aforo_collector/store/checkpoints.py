"""Folding SQLite's write-ahead log into the file beside the writer, so that no commit waits for it.

A checkpoint that a commit triggers holds up everything that waits for an answer while megabytes are copied
and synced. Here a thread of its own copies what is committed, and the writer only finishes the little that
is left, between two transactions, when the log has grown long: then the log starts again from its beginning.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from threading import Event, Thread

logger = logging.getLogger(__name__)

INTERVAL_S = 1
LOG_PAGES_MAX = 32_768
"""128 MiB of log, after which the writer helps."""


class Checkpoints:
    """Runs passive checkpoints on a connection of its own until it is stopped."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._stopped = Event()
        self.log_is_long = False
        """Whether the writer should finish a checkpoint before its next transaction."""
        self._thread = Thread(target=self._run, name="aforo-checkpoints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; whoever closes the database last folds in the rest."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        connection = self._connect()
        try:
            while not self._stopped.wait(INTERVAL_S):
                try:
                    _, log_pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error:
                    logger.warning("a checkpoint failed; it is tried again", exc_info=True)
                else:
                    self.log_is_long = log_pages > LOG_PAGES_MAX
        finally:
            connection.close()

    def help(self, connection: sqlite3.Connection) -> None:
        """Finish a checkpoint on the writer's connection, outside of a transaction."""
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.log_is_long = False
