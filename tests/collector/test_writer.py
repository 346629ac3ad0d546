"""The writer when it is busy, and when it stops."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.submission import DUPLICATE, RECORDED, REJECTED, IntakeReport, Submission
from aforo_collector.service import rebooking, writer
from aforo_collector.service.catalogs import Catalogs
from aforo_collector.service.writer import QueueFull, Stopped, Writer

from . import readings
from .catalogs import catalog_for
from .engine import NOW_NS, Engine

EVENTS = 40
METRIC = "agentic_api.tool_calls"


@contextmanager
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A store with usage of a customer that the catalog does not have, which is booked again event by event."""
    monkeypatch.setattr(rebooking, "EVENTS_AT_ONCE", 1)
    with readings.engine() as made:
        made.intake.contracts.use(made.tenant_no, made.catalog)
        at = {"customerId": "later", "metricName": METRIC, "quantity": 1, "toolName": "lookup"}
        made.submit(*({**at, "idempotencyKey": f"k{number}"} for number in range(EVENTS)))
        yield made


def billed(made: Engine, catalogs: Catalogs) -> str:
    """What the customer owes."""
    made.catalog = catalogs.catalog(made.tenant_no)
    invoice = readings.reading(made).invoice_preview(made.tenant_no, "later")
    assert invoice is not None
    return str(invoice["total"])


def test_a_catalog_that_is_applied_while_the_collector_stops_is_finished_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for a writer that has stopped, and what it left is done at the next start."""
    with used(monkeypatch) as made:
        stopping: list[threading.Thread] = []

        def clock_ns() -> int:
            if first.commits == 5 and not stopping:
                stopping.append(threading.Thread(target=first.stop))
                stopping[0].start()
            return NOW_NS

        first = Writer(made.store, made.intake, made.policy, clock_ns)
        catalogs = Catalogs(made.store, first)
        ended: list[type[BaseException]] = []

        def apply() -> None:
            try:
                catalogs.apply(made.tenant_no, catalog_for("later"))
            except Stopped as error:
                ended.append(type(error))

        applying = threading.Thread(target=apply, daemon=True)
        first.start()
        applying.start()
        applying.join(20)
        assert ended == [Stopped]
        stopping[0].join()

        second = Writer(made.store, made.intake, made.policy, lambda: NOW_NS)
        second.start()
        again = Catalogs(made.store, second)
        again.start(made.tenant_no, catalogs.catalog(made.tenant_no))
        again.catch_up(made.tenant_no)
        second.stop()
        assert billed(made, again) == "0.04"


def test_a_catalog_that_is_applied_while_the_writer_is_behind_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Usage is booked again however much waits to be written; a request is told that there is no room."""
    monkeypatch.setattr(writer, "QUEUE_LENGTH_MAX", 1)
    with used(monkeypatch) as made:

        def clock_ns() -> int:
            if 2 <= busy.commits < 100 and not busy.waiting:
                busy.command(lambda _: None)
                with pytest.raises(QueueFull):
                    busy.command(lambda _: None)
            return NOW_NS

        busy = Writer(made.store, made.intake, made.policy, clock_ns)
        catalogs = Catalogs(made.store, busy)
        busy.start()
        try:
            meta = catalogs.apply(made.tenant_no, catalog_for("later"))
        finally:
            busy.stop()
        assert meta == {"changed": True, "rebooked": EVENTS, "repriced": 0}
        assert billed(made, catalogs) == "0.04"


def test_a_catalog_that_could_not_be_kept_rates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written right after a catalog that the disk had no room for is rated by the one before."""
    with used(monkeypatch) as made:
        behind = Writer(made.store, made.intake, made.policy, lambda: NOW_NS)
        catalogs = Catalogs(made.store, behind)
        catalogs.start(made.tenant_no, made.catalog)
        put = made.store.put_catalog

        def put_too_much(tenant_no: int, body: str, now_ns: int) -> None:
            put(tenant_no, body, now_ns)
            monkeypatch.setattr(made.store, "commit", fail)

        def fail(_policy: object) -> None:
            monkeypatch.undo()
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(made.store, "put_catalog", put_too_much)
        ended: list[str] = []

        def apply() -> None:
            try:
                catalogs.apply(made.tenant_no, catalog_for("acme"))
            except sqlite3.OperationalError as error:
                ended.append(str(error))

        applying = threading.Thread(target=apply, daemon=True)
        applying.start()
        while not behind.waiting:
            time.sleep(0.01)
        event = {"customerId": "acme", "metricName": "scans", "quantity": 1, "idempotencyKey": "k"}
        recorded = behind.submit(lambda: made.submission(event), 1)
        behind.start()
        assert recorded.result().recorded == 1
        applying.join()
        behind.stop()
        assert ended == ["database or disk is full"]
        assert catalogs.catalog(made.tenant_no) == made.catalog
        assert made.query("SELECT revenue FROM usage_events ORDER BY event_no DESC LIMIT 1") == [("1",)]


def test_each_of_the_submissions_of_a_transaction_is_answered_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of different senders, one that is malformed, and one that repeats another; each sender's together."""
    event = {"customerId": "acme", "metricName": "scans", "quantity": 1, "idempotencyKey": "k1"}
    other = {**event, "idempotencyKey": "k2"}
    teamed = Identity(team_id="science")

    def malformed() -> Submission:
        raise ValueError("no JSON")

    with readings.engine() as made:
        submit_all, together = made.intake.submissions.submit_all, []

        def counted(submissions: Sequence[Submission], now_ns: int) -> list[IntakeReport]:
            together.append(len(submissions))
            return submit_all(submissions, now_ns)

        monkeypatch.setattr(made.intake.submissions, "submit_all", counted)
        behind = Writer(made.store, made.intake, made.policy, lambda: NOW_NS)
        first, bad, second, repeated, refused = (
            behind.submit(make, 1)
            for make in (
                lambda: made.submission(event), malformed, lambda: made.submission(other, caller=teamed),
                lambda: made.submission(other, event), lambda: made.submission({**event, "quantity": -1}),
            )
        )  # fmt: skip
        behind.start()
        behind.stop()
        assert together == [3, 1]
        with pytest.raises(ValueError, match="no JSON"):
            bad.result()
        told = [future.result() for future in (first, second, repeated, refused)]
        assert [[fate.verdict for fate in report.fates] for report in told] == [
            [RECORDED], [DUPLICATE], [RECORDED, DUPLICATE], [REJECTED],
        ]  # fmt: skip
        assert made.query("SELECT code, position FROM quarantine") == [("INVALID_QUANTITY", 0)]
