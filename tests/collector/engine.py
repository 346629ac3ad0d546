"""A collector's writing side in this process, with a clock that the test sets."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.cost import Cost, Pools, Rates, Unpriced, cost_of
from aforo_collector.domain.money import CONTEXT
from aforo_collector.domain.session import Policy
from aforo_collector.domain.submission import IntakeReport, RawEvent, Submission
from aforo_collector.doors.otlp import PROTOBUF, decode
from aforo_collector.service.intake import Delivery, Intake, Receipt
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NOW_NS = 1_795_000_000_000_000_000
NS = 1_000_000_000
RATES = Rates(*(Decimal(n).scaleb(-8) for n in (15, 7, 19, 30, 60, 60, 100, 200)))


def price(provider: str, model: str, pools: Pools, at_ns: int) -> Cost:
    """A small price list: every model but `mystery` costs RATES."""
    return Unpriced("unknown_model") if model == "mystery" else cost_of(pools, RATES)


class Engine:
    """Takes batches of spans as one transaction each."""

    def __init__(self, folder: Path, catalog: Catalog | None = None, policy: Policy | None = None) -> None:
        decimal.setcontext(CONTEXT.copy())
        self.policy = policy or Policy()
        self.catalog = catalog or Catalog(recorded_metrics=("*",))
        self.now_ns = NOW_NS
        self.folder = folder
        self.open()

    def open(self) -> None:
        """Open the store, as a restarted process does."""
        self.database = Database(self.folder)
        self.store = SqliteWriter(self.database)
        self.intake = Intake(self.store, price, self.policy)
        self.store.begin()
        self.tenant_no = self.store.tenant("test")
        self.store.commit(self.policy)
        self.intake.contracts.use(self.tenant_no, self.catalog)

    def restart(self) -> None:
        """Lose all memory; what is committed stays."""
        self.database.close()
        self.open()

    def fail(self, *brought: bytes | Submission) -> None:
        """Do all the work of a transaction, and lose it at its commit, as with a full disk."""
        self.store.begin()
        for one in brought:
            self._take(one)
        self.intake.finish(self.now_ns)
        self.store.events.flush()
        self.intake.forget()
        self.store.rollback()

    def send(self, *bodies: bytes) -> list[Receipt]:
        """Deliver bodies of spans in one transaction."""
        return [receipt for receipt in self.bring(*bodies) if isinstance(receipt, Receipt)]

    def submit(self, *events: RawEvent, **how: Any) -> IntakeReport:
        """Submit events in one transaction; `how` are fields of the submission."""
        [report] = self.bring(self.submission(*events, **how))
        assert isinstance(report, IntakeReport)
        return report

    def submission(self, *events: RawEvent, door: str = "http", **how: Any) -> Submission:
        """A submission of this engine's tenant."""
        return Submission(self.tenant_no, door, events, **how)

    def bring(self, *brought: bytes | Submission) -> list[Receipt | IntakeReport]:
        """Bodies of spans and submissions of events, in one transaction."""
        self.store.begin()
        reports = [self._take(one) for one in brought]
        self.intake.finish(self.now_ns)
        self.store.commit(self.policy)
        return reports

    def together(self, *submissions: Submission) -> list[IntakeReport]:
        """Submissions that differ in nothing but their events, recorded together in one transaction."""
        self.store.begin()
        reports = self.intake.submissions.submit_all(submissions, self.now_ns)
        self.intake.finish(self.now_ns)
        self.store.commit(self.policy)
        return reports

    def _take(self, one: bytes | Submission) -> Receipt | IntakeReport:
        if isinstance(one, Submission):
            return self.intake.submissions.submit(one, self.now_ns)
        delivery = Delivery(self.tenant_no, PROTOBUF, one, decode(one, PROTOBUF, self.now_ns))
        return self.intake.take(delivery, self.now_ns)

    def query(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Rows of the store."""
        return self.database.write.execute(sql, args).fetchall()


def span(
    span_id: int, parent_id: int = 0, trace: int = 1, name: str = "span", start_s: float = 0, seconds: float = 1,
    error: bool = False, source: str = "test", **attributes: Any,
) -> Any:  # fmt: skip
    """A wire span as (span message factory arguments); attribute names use __ for the dot."""
    return {
        "trace_id": trace.to_bytes(16, "big"),
        "span_id": span_id.to_bytes(8, "big"),
        "parent_span_id": parent_id.to_bytes(8, "big") if parent_id else b"",
        "name": name,
        "start": NOW_NS - 3600 * NS + int(start_s * 1000) * 1_000_000,
        "end": NOW_NS - 3600 * NS + int((start_s + seconds) * 1000) * 1_000_000,
        "error": error,
        "source": source,
        "attributes": {key.replace("__", "."): value for key, value in attributes.items()},
    }


def body(spans: Sequence[dict[str, Any]], resource: dict[str, Any] | None = None) -> bytes:
    """An OTLP protobuf request of the spans, made with the official schema."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _attributes(group.resource.attributes, resource or {})
    scope = group.scope_spans.add()
    for given in spans:
        if scope.scope.name != given["source"]:
            scope = group.scope_spans.add() if scope.spans else scope
            scope.scope.name = given["source"]
        message = scope.spans.add(
            trace_id=given["trace_id"], span_id=given["span_id"], parent_span_id=given["parent_span_id"],
            name=given["name"], start_time_unix_nano=given["start"], end_time_unix_nano=given["end"],
        )  # fmt: skip
        message.status.code = 2 if given["error"] else 0
        _attributes(message.attributes, given["attributes"])
    data: bytes = request.SerializeToString()
    return data


def _attributes(target: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        entry = target.add()
        entry.key = key
        if isinstance(value, bool):
            entry.value.bool_value = value
        elif isinstance(value, int):
            entry.value.int_value = value
        elif isinstance(value, float):
            entry.value.double_value = value
        else:
            entry.value.string_value = value
