"""The audit: whatever is done to usage, lines, totals, sessions and histories are what the listed events come to."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.catalog_file import export, parse
from aforo_collector.domain.cost import cost_of
from aforo_collector.domain.submission import RECORDED
from aforo_collector.domain.upload import Upload
from aforo_collector.pipeline.admit import Refused
from aforo_collector.service.checking import check
from aforo_collector.service.corrections import Corrections, NotCorrectable
from aforo_collector.service.quarantine import Quarantine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .auditing import (
    CUSTOMERS,
    NOW_S,
    PERIODS,
    SESSIONS,
    UNITS,
    analysed,
    documents,
    events,
    invoiced,
    lines,
    sessions_add_up,
    spans,
    unit_of,
)
from .engine import RATES, Engine, body
from .readings import engine, every, reading
from .test_rebooking import bring_catalog

T = TypeVar("T")


@dataclass
class Fact:
    """An event as it stands: what it says, whether it counts, and how many bookings it has had."""

    event: dict[str, Any]
    counts: bool = True
    bookings: int = 1
    sent: dict[str, Any] = field(default_factory=dict)


class Audit(RuleBasedStateMachine):
    """Does to a collector what can be done to usage, and keeps its own books."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.made = Engine(Path(self.folder.name), Catalog(recorded_metrics=("*",)))
        self.facts: dict[str, Fact] = {}
        self.numbers = itertools.count(1)
        self.is_plain = True
        self.jobs: list[tuple[int, str]] = []

    def teardown(self) -> None:
        """In the end the bill is what it would be, had everything been sent right, and under the last catalog."""
        if self.is_plain:
            document: Any = export(self.made.catalog)
            document["billable_units"] = [unit_of(name) for name in UNITS]
            with engine(parse(document)) as fresh:
                fresh.now_ns = self.made.now_ns
                fresh.submit(*(fact.event for fact in self.facts.values() if fact.counts))
                for customer in CUSTOMERS:
                    assert lines(self.made, customer) == lines(fresh, customer)
        self.made.database.close()
        self.folder.cleanup()

    def work(self, run: Callable[[int], T]) -> T | None:
        """Something in a transaction of its own; None where it cannot be done, and then nothing is."""
        made = self.made
        made.store.begin()
        try:
            result = run(made.now_ns)
            made.intake.finish(made.now_ns)
            made.store.commit(made.policy)
        except (Refused, NotCorrectable):
            made.intake.forget()
            made.store.rollback()
            return None
        return result

    # What is done.

    @initialize(document=documents())
    def begin(self, document: dict[str, Any]) -> None:
        """The first catalog."""
        self.apply(document, 500)

    @rule(document=documents(), at_once=st.sampled_from((1, 3, 500)))
    def replace(self, document: dict[str, Any], at_once: int) -> None:
        """Another catalog."""
        self.apply(document, at_once)

    def apply(self, document: dict[str, Any], at_once: int) -> None:
        """Keep a catalog, and book again what it makes something else of."""
        catalog = parse(document)
        made = self.made
        made.store.begin()
        made.store.put_catalog(made.tenant_no, json.dumps(export(catalog)), made.now_ns)
        made.store.commit(made.policy)
        bring_catalog(made, catalog, at_once)

    @rule(
        found=st.lists(events(), min_size=1, max_size=4), how=st.sampled_from(("http", "webhook", "together"))
    )
    def submit(self, found: list[dict[str, Any]], how: str) -> None:
        """Events through any door, alone or side by side."""
        made = self.made
        sent = [{**event, "idempotencyKey": f"key-{next(self.numbers)}"} for event in found]
        if how == "together":
            reports = made.together(*(made.submission(event) for event in sent))
        elif how == "webhook":
            reports = [
                made.submit(*sent, door="webhook", keeps_refused=True, received_ns=made.now_ns - 5 * 10**9)
            ]
        else:
            reports = [made.submit(*sent)]
        self.note(sent, [fate.verdict for report in reports for fate in report.fates])

    @rule(found=st.lists(events(), min_size=1, max_size=4))
    def upload(self, found: list[dict[str, Any]]) -> None:
        """Rows of a file, which may be reverted."""
        made = self.made
        name = f"upload-{next(self.numbers)}"
        sent = [{**event, "idempotencyKey": f"{name}/{row}"} for row, event in enumerate(found)]

        def take(now_ns: int) -> list[str]:
            job = made.store.uploads.put(Upload(name, made.tenant_no, "f", "ndjson", name, 1, 1, now_ns))
            before_no = made.store.submitted.last_no()
            submission = made.submission(*sent, door="upload", origin=name, keeps_refused=True)
            report = made.intake.submissions.submit(submission, now_ns)
            made.store.events.flush_rows()
            last_no = made.store.submitted.since(before_no)[0]
            if last_no:
                made.store.uploads.remember(job.job_no, before_no + 1, last_no)
            self.jobs.append((job.job_no, name))
            return [fate.verdict for fate in report.fates]

        self.note(sent, self.work(take) or [])

    def note(self, sent: list[dict[str, Any]], verdicts: list[str]) -> None:
        """Keep what was recorded; what the conditions of its unit keep out is recorded, and counts nowhere."""
        for event, verdict in zip(sent, verdicts, strict=True):
            if verdict == RECORDED and not self.is_filtered(event):
                self.facts[event["idempotencyKey"]] = Fact(event, sent=event)

    def is_filtered(self, event: dict[str, Any]) -> bool:
        """Whether the conditions of an event's unit do not hold."""
        unit = self.made.catalog.unit(event["metricName"])
        conditions = unit is not None and unit.conditions
        return bool(conditions) and event.get("metadata", {}).get("ok") == "no"

    @rule(data=st.data())
    def trace(self, data: st.DataObject) -> None:
        """Spans, some of which may come again."""
        self.is_plain = False
        count = data.draw(st.integers(1, 3))
        first = data.draw(st.sampled_from((0, next(self.numbers) * 10)))
        self.made.send(body([data.draw(spans(first + number)) for number in range(1, count + 1)]))

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        """Take an event back, by its id or that of one of its metrics, or what a span is billed for."""
        ids = [view["eventId"] for view in self.listed() if view["door"] != "session"]
        if not ids:
            return
        event_id = data.draw(st.sampled_from(ids))
        corrections = Corrections(self.made.store, self.made.intake)
        done = self.work(lambda now_ns: corrections.void(self.made.tenant_no, event_id, now_ns))
        fact = self.facts.get(event_id.partition("#")[0])
        if fact is not None:
            assert done
            fact.counts = False

    @rule(data=st.data())
    def amend(self, data: st.DataObject) -> None:
        """Book an event again, also one that was taken back."""
        if not self.facts:
            return
        key = data.draw(st.sampled_from(sorted(self.facts)))
        changes = data.draw(st.fixed_dictionaries({}, optional={
            "quantity": st.sampled_from((0, 2, 5)), "customerId": st.sampled_from(CUSTOMERS),
            "sessionId": st.sampled_from(SESSIONS), "metricName": st.sampled_from(sorted(UNITS)),
            "occurredAt": st.sampled_from((NOW_S, NOW_S - 7200)), "toolName": st.sampled_from(("lookup", "write")),
            "metadata": st.sampled_from(({"ms": 50}, {"region": "us", "user": "cid"}, {})),
        }))  # fmt: skip
        corrections = Corrections(self.made.store, self.made.intake)
        done = self.work(lambda now_ns: corrections.amend(self.made.tenant_no, key, changes, now_ns))
        fact = self.facts[key]
        if done:
            fact.event = fact.event | changes
            fact.counts, fact.bookings = True, fact.bookings + 1

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Assign or replay something that was set aside."""
        made = self.made
        aside = every(reading(made).quarantine, tenant_no=made.tenant_no)
        if not aside:
            return
        one = data.draw(st.sampled_from(aside))
        number, who = int(one["quarantineId"]), data.draw(st.sampled_from(CUSTOMERS))
        quarantine = Quarantine(made.store, made.intake)
        found = made.store.set_aside(made.tenant_no, number)
        assert found is not None
        changes: dict[str, Any] = data.draw(
            st.sampled_from(({}, {"metadata": {"ok": "yes"}}, {"metricName": "pages"}))
        )
        if data.draw(st.booleans()):
            changes = {"customerId": who}
            fate = self.work(lambda now_ns: quarantine.assign(made.tenant_no, number, who, now_ns))
        else:
            fate = self.work(lambda now_ns: quarantine.replay(made.tenant_no, number, changes, now_ns))
        if fate is not None and not one.get("traceId") and fate.verdict == RECORDED:
            self.note([json.loads(found[1], parse_float=Decimal) | changes], [RECORDED])

    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        """Take back the events of an upload, as its job does."""
        if not self.jobs:
            return
        made = self.made
        job_no, name = self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))

        def take_back(now_ns: int) -> bool:
            keys = [
                key
                for first_no, last_no in made.store.uploads.ranges(job_no, 0)
                for _, key in made.store.submitted.keys_between(first_no, last_no, 500)
            ]
            for _, number in made.store.keys.find(made.tenant_no, keys).values():
                made.intake.bookings.take_back(made.tenant_no, made.intake.bookings.recall(number), now_ns)
            made.store.let_go_of(name)
            return True

        self.work(take_back)
        for key, fact in self.facts.items():
            if key.startswith(f"{name}/"):
                fact.counts = False

    @rule(customer=st.sampled_from(CUSTOMERS), session=st.sampled_from(SESSIONS))
    def close(self, customer: str, session: str) -> None:
        """Close a session, if it is there."""
        found = self.made.store.sessions.by_id(self.made.tenant_no, session, customer)
        self.work(lambda now_ns: [self.made.intake.finals.close(one.session_no, now_ns) for one in found])

    @rule(data=st.data(), quantity=st.sampled_from((None, 77)))
    def again(self, data: st.DataObject, quantity: int | None) -> None:
        """The same event once more, or another one under its key."""
        if not self.facts:
            return
        key = data.draw(st.sampled_from(sorted(self.facts)))
        changed = {} if quantity is None else {"quantity": quantity}
        report = self.made.submit(self.facts[key].sent | changed)
        assert not report.recorded

    @rule(seconds=st.sampled_from((30, 4000)))
    def wait(self, seconds: int) -> None:
        """Time goes by, and sessions are over."""
        self.made.now_ns += seconds * 10**9
        self.work(self.made.intake.finals.close_due)

    @rule()
    def reprice(self) -> None:
        """What the model costs of which nobody knew is known now."""
        made = self.made
        self.is_plain = False
        made.intake.contracts.use(
            made.tenant_no, made.catalog, lambda _p, _m, pools, _t: cost_of(pools, RATES)
        )
        for number in made.store.unpriced(made.tenant_no):
            self.work(lambda now_ns, number=number: made.intake.reprice(made.tenant_no, number, now_ns))

    @rule(found=st.lists(events(), min_size=1, max_size=2))
    def fail(self, found: list[dict[str, Any]]) -> None:
        """A transaction that is lost."""
        self.made.fail(self.made.submission(*found))

    @rule()
    def restart(self) -> None:
        """Another process."""
        self.made.restart()

    # What must hold.

    def listed(self, **parameters: Any) -> list[dict[str, Any]]:
        """All events, page by page."""
        return every(reading(self.made).usage_events, tenant_no=self.made.tenant_no, limit=7, **parameters)

    @invariant()
    def holds(self) -> None:
        """Everything adds up."""
        listed = self.listed()
        ids = Counter(view["eventId"] for view in listed)
        assert not ids or max(ids.values()) == 1, "an event is listed once"
        found = check(self.made.database)
        assert not found, found
        self.stands(listed)
        for customer in CUSTOMERS:
            own = [view for view in listed if view["customerId"] == customer]
            assert self.listed(customer_id=customer) == own
            for start, end in PERIODS:
                invoiced(self.made, customer, own, start, end)
        analysed(self.made, listed)
        sessions_add_up(self.made)

    def stands(self, listed: list[dict[str, Any]]) -> None:
        """What was sent and not taken back is listed as it says, and its history tells each step."""
        views = {view["eventId"]: view for view in listed}
        for key, fact in self.facts.items():
            assert (key in views) == fact.counts, (key, fact)
            history = reading(self.made).history(self.made.tenant_no, key)
            assert history is not None
            kinds = Counter(step["type"] for step in history)
            assert kinds["usage"] - kinds["void"] == fact.counts, history
            assert kinds["usage"] >= fact.bookings
            if fact.counts:
                view, event = views[key], fact.event
                for name in ("customerId", "metricName"):
                    assert view[name] == event[name]
                assert Decimal(view["quantity"]) == event["quantity"]
                expected = event.get("sessionId") or event.get("traceId")
                assert view["sessionId"] == expected, (view, event)
                assert datetime.fromisoformat(view["occurredAt"]).timestamp() == event["occurredAt"]


TestAudit = Audit.TestCase
TestAudit.settings = settings(
    max_examples=40,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
