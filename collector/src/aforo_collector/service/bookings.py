"""Bookings of submitted events: appended under their payer and session, taken back whole, recalled as they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import sources_of
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.ids import moment_no
from aforo_collector.domain.measures import measures_of
from aforo_collector.domain.metrics import BillableUnit, Counted
from aforo_collector.domain.session import NS_PER_S, Policy, Session
from aforo_collector.domain.submission import Submission, UsageEvent
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.pipeline.admit import billed_type, label_of, stated_fields, status_of
from aforo_collector.pipeline.attribution import counted_by_one, counts_only_itself, parts_of
from aforo_collector.pipeline.enrich import payer_of_event, session_of_event
from aforo_collector.pipeline.terms import Terms
from aforo_collector.store.event_rows import occurrence_of
from aforo_collector.store.interning import Bounded
from aforo_collector.store.roll_up_rows import Track
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.trace_rows import Strand

from .contracts import Contracts
from .finals import Finals
from .series import Accepted, accepted


class Moment(NamedTuple):
    """The time that a submitted event took, as a session counts it."""

    start_ns: int
    end_ns: int
    span_id: int


class Sitting(NamedTuple):
    """What the events of one payer in one session share; no session where an event names none."""

    strand: Strand
    session: Session | None
    terms: Terms
    payer: Identity
    joined: list[Moment]
    booked: list[Occurrence]


class Alike(NamedTuple):
    """What USAGE events of one series are but for their times, quantity and revenue."""

    usage: Occurrence
    track: Track
    revenue_of: Callable[[Decimal], Decimal | None]


class Lane(NamedTuple):
    """Where the events of one series are booked; each has to be looked at where `alike` and `by_one` are None.

    `by_one` is what events that count calls are for a single one, and the bit mask of the metrics that are written
    of it. `has_conditions` says that its unit's conditions decide on each event whether it is booked at all.
    """

    sitting: Sitting
    alike: Alike | None = None
    by_one: tuple[Occurrence, int] | None = None
    has_conditions: bool = False


class Booked(NamedTuple):
    """One occurrence of an event, the bit mask of the metrics that are written of it, what its unit keeps of it."""

    occurrence: Occurrence
    units: int
    sample: str | None = None


class Recalled(NamedTuple):
    """An event as it was booked: enough to book it again, under terms that have changed."""

    item: Accepted
    door: str
    caller: Identity
    parts: list[tuple[int, Any]]


class Bookings:
    """Writes and takes back rows of submitted events, inside the writer's transaction."""

    def __init__(self, store: SqliteWriter, contracts: Contracts, finals: Finals, policy: Policy) -> None:
        self._store = store
        self._contracts = contracts
        self._finals = finals
        self._idle_ns = policy.idle_s * NS_PER_S
        self._strands: Bounded[tuple[int, Identity, int], Strand] = Bounded(4_096)

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._strands.clear()

    def sit(self, tenant_no: int, payer: Identity, session_id: str, now_ns: int) -> Sitting:
        """Where the events of a payer, as it was said, are booked in a session; "" for no session."""
        session: Session | None = None
        if session_id:
            session = self._store.sessions.open(tenant_no, payer, session_id, now_ns)
            if session.spans:
                session = self._finals.current(session, now_ns)
            self._store.sessions.changed(session)
        session_no = session.session_no if session is not None else 0
        placed = self._contracts.payer(tenant_no, payer)
        numbers = self._store.interning.payer(tenant_no, placed)
        strand = self._strands.get((tenant_no, payer, session_no))
        if strand is None or strand.payer_no != numbers[0]:
            is_all = placed == payer
            strand = self._store.traces.new_strand(0, b"", payer, numbers, session_no, is_all)
            self._strands.put((tenant_no, payer, session_no), strand)
        terms = self._contracts.terms(tenant_no, strand.payer_no, placed)
        return Sitting(strand, session, terms, payer, [], [])

    def lane(self, tenant_no: int, event: UsageEvent, sitting: Sitting, catalog: Catalog) -> Lane:
        """Where the events of the series of an event are booked; good until `forget`, or for as long as the session."""
        strand, _, terms, payer, _, _ = sitting
        metric = event.metric
        unit = catalog.unit(metric)
        has_conditions = unit is not None and bool(unit.conditions)
        looked_at = terms.sold_ns is not None or (unit is not None and unit.sampled)
        if looked_at:
            return Lane(sitting, has_conditions=has_conditions)
        if not counts_only_itself(event, unit, payer.product_type):
            one = counted_by_one(event, unit, payer.product_type)
            by_one = (
                (one.occurrence, terms.mask_of(one.occurrence.kind, one.own)) if one is not None else None
            )
            return Lane(sitting, None, by_one, has_conditions)
        usage = Occurrence(Kind.USAGE, status=event.status, metric=metric)
        revenue_of: Callable[[Decimal], Decimal | None] = _nothing
        if terms.prices_usage(metric):
            usage = usage._replace(label=terms.dimension(metric, stated_fields(event)))
            revenue_of = terms.usage_revenues(usage)
        track = self._store.events.track(tenant_no, strand, usage)
        return Lane(sitting, Alike(usage, track, revenue_of), None, has_conditions)

    def append_all(
        self, submission: Submission, items: Iterable[Accepted], lanes: Iterable[Lane], catalog: Catalog, now_ns: int
    ) -> list[int]:  # fmt: skip
        """Book events, each in its lane; returns the number of each, in the same order."""
        tenant_no, door = submission.tenant_no, submission.door
        append_alike = self._store.events.append_alike
        submitted = self._store.submitted.append
        numbers = []
        for item, lane in zip(items, lanes, strict=True):
            sitting, alike, _, _ = lane
            if alike is None or sitting.session is not None:
                numbers.append(self.append(tenant_no, door, item, lane, catalog, now_ns))
                continue
            quantity = item.quantity
            event_no = append_alike(
                alike.track, item.occurred_ns or now_ns, item.duration_ns, quantity, alike.revenue_of(quantity),
                False, now_ns, item.metadata or None,
            )  # fmt: skip
            submitted(event_no, 0, door, item.key, 0, item.shared.trace_id, item.details)
            numbers.append(event_no)
        return numbers

    def append(
        self,
        tenant_no: int,
        door: str,
        item: Accepted,
        lane: Lane,
        catalog: Catalog,
        now_ns: int,
        corrects: int = 0,
    ) -> int:
        """Book an event and what is derived of it; returns its number. `corrects` is the VOID that it follows."""
        sitting, alike, by_one, _ = lane
        session = sitting.session
        occurred_ns, duration_ns, trace_id = (
            item.occurred_ns or now_ns,
            item.duration_ns,
            item.shared.trace_id,
        )
        late = session is not None and session.closed_ns > 0
        session_no = session.session_no if session is not None else 0
        submitted = self._store.submitted.append
        if alike is None or corrects:
            event_no = 0
            parts = (
                [_by_so_many(by_one, item.quantity, sitting.terms)]
                if by_one is not None and item.quantity and item.quantity == int(item.quantity)
                else self._rated_parts(
                    tenant_no, item.event, sitting.payer, sitting.terms, catalog, occurred_ns
                )
            )
            for number, (rated, units, sample) in enumerate(parts):
                metadata = None if number else item.metadata or None
                part_no = self._store.events.append(
                    tenant_no, sitting.strand, 0, occurred_ns, duration_ns, units, rated, late, now_ns, corrects,
                    metadata, sample,
                )  # fmt: skip
                event_no = event_no or part_no
                submitted(
                    part_no,
                    number,
                    door,
                    item.key,
                    session_no,
                    trace_id,
                    "" if number else item.details,
                )
                if session is not None:
                    sitting.booked.append(rated)
        else:
            usage, track, revenue_of = alike
            revenue = revenue_of(item.quantity)
            event_no = self._store.events.append_alike(
                track, occurred_ns, duration_ns, item.quantity, revenue, late, now_ns, item.metadata or None
            )
            submitted(event_no, 0, door, item.key, session_no, trace_id, item.details)
            if session is not None:
                sitting.booked.append(usage._replace(quantity=item.quantity, revenue=revenue))
        if session is not None and not late and not corrects:
            sitting.joined.append(Moment(occurred_ns - duration_ns, occurred_ns, moment_no(item.key)))
        return event_no

    def _rated_parts(
        self, tenant_no: int, event: UsageEvent, payer: Identity, terms: Terms, catalog: Catalog, occurred_ns: int
    ) -> list[Booked]:  # fmt: skip
        """What an event is under these terms."""
        terms = terms.at(occurred_ns)
        cost_of = self._contracts.cost_of(tenant_no)
        unit = catalog.unit(event.metric)
        parts: list[Booked] = []
        for occurrence, own in parts_of(event, unit, payer.product_type, cost_of, occurred_ns):
            if occurrence.kind == Kind.USAGE:
                parts.append(_rated(occurrence, event, unit, terms))
            else:
                units = terms.mask_of(occurrence.kind, own)
                parts.append(Booked(terms.rated_as(occurrence, units), units))
        return parts

    def settle(self, sitting: Sitting, now_ns: int) -> None:
        """Count what was booked into the session."""
        _, session, _, payer, joined, booked = sitting
        if session is None:
            return
        if joined:
            session.join(joined, payer, now_ns, self._idle_ns)
        (session.late if session.closed_ns else session.totals).add(booked)
        self._store.sessions.changed(session)

    def recall(self, event_no: int) -> Recalled:
        """An event as it was booked, by the number of any of its parts."""
        submitted = self._store.submitted.load(event_no)
        assert submitted is not None, "a submitted event has its row"
        main_no = event_no - submitted.part
        main = self._store.submitted.load(main_no) or submitted
        parts = []
        number = main_no
        while (part := self._store.submitted.load(number)) is not None and part.part == number - main_no:
            parts.append((number, self._store.events.load(number)))
            number += 1
        row = parts[0][1]
        payer = self._store.traces.identity(row["strand_no"])
        occurrence = occurrence_of(row, self._store.interning.text)
        own = measures_of(occurrence, row["units"], payer)[0]
        details = json.loads(main.details, parse_float=Decimal) if main.details else {}
        metadata = json.loads(row["metadata"], parse_float=Decimal) if row["metadata"] else {}
        session_id = self._store.sessions.load(main.session_no).session_id if main.session_no else ""
        if session_id == main.trace_id[:64]:
            session_id = ""  # it was not said, but follows from the trace
        event = UsageEvent(
            payer.customer_id, own.metric, own.quantity, row["occurred_ns"], main.key,
            billed_type(str(details.get("productType", ""))), session_id, payer.agent_id, main.trace_id,
            label_of(details, metadata, "toolName"), status_of(details, metadata), row["duration_ns"], "",
            metadata, details,
        )  # fmt: skip
        item = accepted(event, row["metadata"] or "", main.details)
        return Recalled(item, main.door, Identity(team_id=payer.team_id, app_id=payer.app_id), parts)

    def metrics_of(self, event_no: int) -> set[str]:
        """The metrics under which an event and what is derived of it are written."""
        return {
            measure.metric
            for _, row in self.recall(event_no).parts
            for measure in measures_of(
                occurrence_of(row, self._store.interning.text),
                row["units"],
                self._store.traces.identity(row["strand_no"]),
            )
        }

    def take_back(self, tenant_no: int, recalled: Recalled, now_ns: int) -> int:
        """Void every part of an event; returns the number of the first VOID, 0 if it was voided before."""
        first = 0
        for event_no, row in recalled.parts:
            if self._store.events.voided_by(event_no):
                return 0
            occurrence = occurrence_of(row, self._store.interning.text)
            strand, _ = self._store.traces.stored_strand(row["strand_no"])
            late = False
            if strand.session_no:
                session = self._finals.current(self._store.sessions.load(strand.session_no), now_ns)
                late = session.closed_ns > 0
                (session.late if late else session.totals).add([occurrence], -1)
                self._store.sessions.changed(session)
            void_no = self._store.events.take_back(event_no, tenant_no, strand, row, occurrence, late, now_ns)
            first = first or void_no
        return first

    def book_again(
        self, tenant_no: int, recalled: Recalled, corrects: int, now_ns: int, *, joins: bool = False
    ) -> int:
        """Book an event that was taken back under the terms of now; returns its new number.

        It `joins` its session if that has not counted its time yet.
        """
        catalog = self._contracts.catalog(tenant_no)
        item, door, caller, _ = recalled
        payer = payer_of_event(item.event, catalog, caller)
        sitting = self.sit(tenant_no, payer, session_of_event(item.event), now_ns)
        number = self.append(tenant_no, door, item, Lane(sitting), catalog, now_ns, corrects)
        event = item.event
        if joins and sitting.session is not None and not sitting.session.closed_ns:
            begun_ns = event.occurred_ns - event.duration_ns
            sitting.joined.append(Moment(begun_ns, event.occurred_ns, moment_no(item.key)))
        elif sitting.session is not None and sitting.session.lead_span_id == moment_no(item.key):
            sitting.session.lead = payer
        self.settle(sitting, now_ns)
        self._store.keys.move(tenant_no, item.key, number)
        return number

    def rebook(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Book an event again if the terms of now make something else of it than what was booked."""
        if self._store.events.voided_by(event_no):
            return False  # its session may be gone
        recalled = self.recall(event_no)
        main_no, row = recalled.parts[0]
        if event_no != main_no:
            return False
        item = recalled.item
        catalog = self._contracts.catalog(tenant_no)
        payer = self._contracts.payer(tenant_no, payer_of_event(item.event, catalog, recalled.caller))
        strand, _ = self._store.traces.stored_strand(row["strand_no"])
        payer_no, _ = self._store.interning.payer(tenant_no, payer)
        terms = self._contracts.terms(tenant_no, payer_no, payer)
        found = self._rated_parts(tenant_no, item.event, payer, terms, catalog, row["occurred_ns"])
        booked = [
            (occurrence_of(each, self._store.interning.text), each["units"]) for _, each in recalled.parts
        ]
        if payer_no == strand.payer_no and [(part.occurrence, part.units) for part in found] == booked:
            return False
        corrects = self.take_back(tenant_no, recalled, now_ns)
        self.book_again(tenant_no, recalled, corrects, now_ns)
        return True

    def reprice(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Book an event again whose cost was unknown, if it is known by now."""
        if self._store.events.voided_by(event_no):
            return False  # taken back meanwhile
        recalled = self.recall(event_no)
        row = recalled.parts[0][1]
        strand, _ = self._store.traces.stored_strand(row["strand_no"])
        payer = self._store.interning.payer_identity(strand.payer_no)[1]
        event = recalled.item.event
        unit = self._contracts.catalog(tenant_no).unit(event.metric)
        cost_of = self._contracts.cost_of(tenant_no)
        parts = parts_of(event, unit, payer.product_type, cost_of, event.occurred_ns)
        if any(part.occurrence.reason for part in parts):
            return False
        corrects = self.take_back(tenant_no, recalled, now_ns)
        self.book_again(tenant_no, recalled, corrects, now_ns)
        return True


def _nothing(_: Decimal) -> None:
    """What an event earns that no plan prices."""


def _by_so_many(by_one: tuple[Occurrence, int], quantity: Decimal, terms: Terms) -> Booked:
    one, units = by_one
    return Booked(terms.rated_as(one._replace(calls=int(quantity)), units), units)


def _rated(occurrence: Occurrence, event: UsageEvent, unit: BillableUnit | None, terms: Terms) -> Booked:
    counted = Counted(occurrence.quantity)
    if unit is not None and unit.sampled:
        counted = unit.counted(occurrence.quantity, *sources_of(event))
    if terms.prices_usage(occurrence.metric):
        occurrence = occurrence._replace(label=terms.dimension(occurrence.metric, stated_fields(event)))
        occurrence = occurrence._replace(revenue=terms.usage_revenue(occurrence, counted.value))
    return Booked(occurrence, 0, counted.sample)
