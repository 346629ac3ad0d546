"""Corrections on request: one transaction each, answered after the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from aforo_collector.domain.submission import Fate
from aforo_collector.store.sqlite_writer import SqliteWriter

from .corrections import Corrections
from .quarantine import Quarantine
from .writer import Writer

T = TypeVar("T")


class Correcting:
    """Asked by any thread; see `Corrections` and `Quarantine` for what each does and raises.

    Everything raises `QueueFull` when the writer is behind; then nothing was changed.
    """

    def __init__(self, store: SqliteWriter, writer: Writer) -> None:
        self._writer = writer
        self._corrections = Corrections(store, writer.intake)
        self._quarantine = Quarantine(store, writer.intake)

    def _done(self, run: Callable[[int], T]) -> T:
        done: T = self._writer.command(run).result()
        return done

    def void(self, tenant_no: int, event_id: str) -> bool:
        """Take an event back; False if it was taken back before."""
        return self._done(lambda now_ns: self._corrections.void(tenant_no, event_id, now_ns))

    def amend(self, tenant_no: int, event_id: str, changes: Mapping[str, object]) -> bool:
        """Book an event again with some fields changed; False if that changes nothing."""
        return self._done(lambda now_ns: self._corrections.amend(tenant_no, event_id, changes, now_ns))

    def assign(self, tenant_no: int, quarantine_no: int, customer_id: str) -> Fate | None:
        """Let a customer pay for something in quarantine; None when it is not there."""
        return self._done(
            lambda now_ns: self._quarantine.assign(tenant_no, quarantine_no, customer_id, now_ns)
        )

    def replay(self, tenant_no: int, quarantine_no: int, changes: Mapping[str, object]) -> Fate | None:
        """Submit something in quarantine again; None when it is not there."""
        return self._done(lambda now_ns: self._quarantine.replay(tenant_no, quarantine_no, changes, now_ns))
