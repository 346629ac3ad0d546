"""Requests that carry an idempotency key: done once, and answered the same however often they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Lock
from typing import Any

from aforo_collector.store.answer_rows import StoredAnswer, stored_answer
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter

Keep = Callable[[Any, int], None]
"""Keeps the answer (as JSON values) in the transaction that does what was asked, with its time in ns."""


class KeyReused(Exception):
    """An idempotency key that came with another request before; nothing was done for this one."""


class Repeats:
    """Remembers answers for a week; for any thread."""

    def __init__(self, database: Database, store: SqliteWriter) -> None:
        self._database = database
        self._store = store
        self._one_at_a_time = Lock()

    def answer(
        self, tenant_no: int, key: str | None, digest: bytes, do: Callable[[Keep], Any]
    ) -> tuple[Any, bool]:
        """(answer, whether it was given before) to the request with this digest.

        `do` does what is asked and hands what may be kept of its answer to `Keep`. Without a key nothing is
        kept. Raises `KeyReused`, and whatever `do` raises: then the key is as free as before.
        """
        if key is None:
            return do(lambda _answer, _now_ns: None), False

        def keep(answer: Any, now_ns: int) -> None:
            self._store.answers.put(tenant_no, key, StoredAnswer(digest, json.dumps(answer).encode()), now_ns)

        with self._one_at_a_time:
            with self._database.reading() as connection:
                known = stored_answer(connection, tenant_no, key)
            if known is None:
                return do(keep), False
        if known.digest != digest:
            raise KeyReused(
                f"Idempotency-Key {key!r} came with another request before; nothing was changed, use a key "
                "for one request only"
            )
        return json.loads(known.body), True
