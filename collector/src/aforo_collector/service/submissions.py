"""Submitted events: from what a door found to rows, inside the writer's transaction.

    admit ► claim keys ► enrich ► route ► attribute ► estimate ► record ► index

A submission is worked off as a batch: its keys are looked up together, and what events of one payer or one
session share is found once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import sources_of
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.metrics import BillableUnit, Counted
from aforo_collector.domain.session import NS_PER_S, Policy, Session
from aforo_collector.domain.submission import (
    CONFLICT,
    DUPLICATE,
    RECORDED,
    REJECTED,
    Fate,
    IntakeReport,
    Refusal,
    Submission,
    UsageEvent,
)
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.pipeline.admit import Refused, admit, digest, stated_fields
from aforo_collector.pipeline.attribution import parts_of
from aforo_collector.pipeline.enrich import payer_of_event, session_of_event
from aforo_collector.pipeline.terms import Terms
from aforo_collector.pipeline.wire_names import SESSION_END
from aforo_collector.store.interning import Bounded
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.submitted_rows import Submitted
from aforo_collector.store.trace_rows import Strand

from .contracts import Contracts
from .event_texts import FILTERED, fields_text, filtered, raw_text
from .finals import Finals


class Accepted(NamedTuple):
    """An admitted event in its submission, with the texts that are stored of it and the hash of what it says."""

    place: int
    event: UsageEvent
    key: str
    metadata: str
    details: str
    digest: bytes


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


class Submissions:
    """Records what the doors for events bring."""

    def __init__(self, store: SqliteWriter, contracts: Contracts, finals: Finals, policy: Policy) -> None:
        self._store = store
        self._contracts = contracts
        self._finals = finals
        self._idle_ns = policy.idle_s * NS_PER_S
        self._strands: Bounded[tuple[int, Identity, int], Strand] = Bounded(4_096)

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._strands.clear()

    def submit(self, submission: Submission, now_ns: int) -> IntakeReport:
        """Record a submission; every event has its fate, and what is refused is kept aside."""
        catalog = self._contracts.catalog(submission.tenant_no)
        fates: list[Fate | None] = [None] * len(submission.events)
        accepted, signals = self._admit(submission, catalog, fates, now_ns)
        fresh = self._claim(submission.tenant_no, accepted, fates)
        numbers = self._record(submission, fresh, catalog, now_ns)
        self._store.keys.put(
            submission.tenant_no,
            [(item.key, item.digest, number) for item, number in zip(fresh, numbers, strict=True)],
        )
        for item in fresh:
            fates[item.place] = Fate(RECORDED, item.key)
        killed = self._signal(submission, signals, accepted, now_ns)
        return self._report(submission, fates, len(signals), killed, now_ns)

    def check(self, submission: Submission, now_ns: int) -> IntakeReport:
        """What would become of a submission; nothing is recorded or kept."""
        catalog = self._contracts.catalog(submission.tenant_no)
        fates: list[Fate | None] = [None] * len(submission.events)
        accepted, signals = self._admit(submission, catalog, fates, now_ns)
        for item in self._claim(submission.tenant_no, accepted, fates):
            fates[item.place] = Fate(RECORDED, item.key)
        said, outcome = _counted(fates)
        return IntakeReport(len(said), *outcome, said, len(signals))

    def _admit(
        self, submission: Submission, catalog: Catalog, fates: list[Fate | None], now_ns: int
    ) -> tuple[list[Accepted], list[UsageEvent]]:
        past_ns, future_ns = submission.window_ns
        bounds_ns = now_ns - past_ns, now_ns + future_ns
        accepted: list[Accepted] = []
        signals: list[UsageEvent] = []
        for index, raw in enumerate(submission.events):
            if isinstance(raw, Refusal):
                fates[index] = Fate(REJECTED, refusal=raw)
                continue
            try:
                event = admit(raw, catalog, bounds_ns, submission.caller)
                if event.boundary:
                    signals.append(event)
                    fates[index] = Fate(RECORDED, event.key)
                    continue
                metadata, details = fields_text(event.metadata), fields_text(event.details)
            except Refused as refused:
                fates[index] = Fate(REJECTED, refusal=refused.refusal)
                continue
            key = event.key or f"minted-{uuid4().hex}"
            accepted.append(Accepted(index, event, key, metadata, details, digest(event, metadata, details)))
        return accepted, signals

    def _claim(self, tenant_no: int, accepted: list[Accepted], fates: list[Fate | None]) -> list[Accepted]:
        """Those whose key is new; the others are duplicates or conflicts, also of one another."""
        stored = self._store.keys.find(tenant_no, [item.key for item in accepted if item.event.key])
        known = {key: found for key, (found, _) in stored.items()}
        fresh = []
        for item in accepted:
            before = known.get(item.key)
            if before is None:
                known[item.key] = item.digest
                fresh.append(item)
            elif before == item.digest:
                fates[item.place] = Fate(DUPLICATE, item.key)
            else:
                detail = f"idempotency key {item.key!r} was used for other contents; the first event stands"
                fates[item.place] = Fate(
                    CONFLICT, item.key, Refusal(CONFLICT.upper(), detail, "idempotencyKey")
                )
        return fresh

    def _record(
        self, submission: Submission, fresh: list[Accepted], catalog: Catalog, now_ns: int
    ) -> list[int]:
        """Append the events; the number of each, 0 for one that its unit's conditions keep out of the bill."""
        tenant_no = submission.tenant_no
        sittings: dict[tuple[Identity, str], Sitting] = {}
        numbers = []
        for item in fresh:
            event = item.event
            unit = catalog.unit(event.metric)
            if unit is not None and unit.conditions and not unit.admits(*sources_of(event)):
                numbers.append(0)
                self._aside(submission, item.place, Refusal(FILTERED, filtered(event.metric)), now_ns)
                continue
            payer = payer_of_event(event, catalog, submission.caller)
            session_id = session_of_event(event)
            sitting = sittings.get((payer, session_id))
            if sitting is None:
                sitting = sittings[payer, session_id] = self._sit(tenant_no, payer, session_id, now_ns)
            numbers.append(self._append(tenant_no, submission.door, item, sitting, catalog, now_ns))
        for sitting in sittings.values():
            self._settle(sitting, now_ns)
        return numbers

    def _sit(self, tenant_no: int, payer: Identity, session_id: str, now_ns: int) -> Sitting:
        session: Session | None = None
        if session_id:
            session = self._store.sessions.open(tenant_no, payer, session_id, now_ns)
            if session.spans:
                session = self._finals.current(session, now_ns)
            self._store.sessions.changed(session)
        session_no = session.session_no if session is not None else 0
        strand = self._strands.get((tenant_no, payer, session_no))
        if strand is None:
            numbers = self._store.interning.payer(tenant_no, payer)
            strand = self._store.traces.new_strand(0, b"", payer, numbers, session_no)
            self._strands.put((tenant_no, payer, session_no), strand)
        terms = self._contracts.terms(tenant_no, strand.payer_no, payer)
        return Sitting(strand, session, terms, payer, [], [])

    def _append(
        self, tenant_no: int, door: str, item: Accepted, sitting: Sitting, catalog: Catalog, now_ns: int
    ) -> int:
        event = item.event
        strand, session, terms, payer, joined, booked = sitting
        occurred_ns = event.occurred_ns or now_ns
        late = session is not None and session.closed_ns > 0
        cost_of = self._contracts.cost_of(tenant_no)
        session_no = session.session_no if session is not None else 0
        main_no = 0
        unit = catalog.unit(event.metric)
        parts = parts_of(event, unit, payer.product_type, cost_of, occurred_ns)
        for number, (occurrence, own) in enumerate(parts):
            metadata = None if number else item.metadata or None
            sample = None
            if occurrence.kind == Kind.USAGE:
                units, (rated, sample) = 0, self._usage(occurrence, event, unit, terms)
            else:
                units = terms.mask_of(occurrence.kind, own)
                rated = terms.rated_as(occurrence, units)
            event_no = self._store.events.append(
                tenant_no, strand, 0, occurred_ns, event.duration_ns, units, rated, late, now_ns, 0, metadata,
                sample,
            )  # fmt: skip
            main_no = main_no or event_no
            details = "" if number else item.details
            self._store.submitted.append(
                event_no, Submitted(number, door, item.key, session_no, event.trace_id, details)
            )
            booked.append(rated)
        if session is not None and not late:
            joined.append(Moment(occurred_ns - event.duration_ns, occurred_ns, moment_no(item.key)))
        return main_no

    def _usage(
        self, occurrence: Occurrence, event: UsageEvent, unit: BillableUnit | None, terms: Terms
    ) -> tuple[Occurrence, str | None]:
        """The occurrence as its price sees it, and what its unit keeps of it."""
        counted = Counted(occurrence.quantity)
        if unit is not None and unit.sampled:
            counted = unit.counted(occurrence.quantity, *sources_of(event))
        known = stated_fields(event)
        return occurrence._replace(
            label=terms.dimension(occurrence.metric, known),
            revenue=terms.usage_revenue(occurrence.metric, known, counted.value),
        ), counted.sample

    def _settle(self, sitting: Sitting, now_ns: int) -> None:
        _, session, _, payer, joined, booked = sitting
        if session is None:
            return
        if joined:
            session.join(joined, payer, now_ns, self._idle_ns)
        (session.late if session.closed_ns else session.totals).add(booked)

    def _signal(
        self, submission: Submission, signals: list[UsageEvent], accepted: Iterable[Accepted], now_ns: int
    ) -> tuple[str, ...]:
        """Honour heartbeats and session ends; returns which sessions of the submission were closed before."""
        tenant_no = submission.tenant_no
        customer = submission.caller.customer_id or None
        killed: dict[str, None] = {}
        for event in signals:
            for session in self._store.sessions.by_id(tenant_no, event.session_id, customer):
                session = self._finals.current(session, now_ns)  # noqa: PLW2901
                if event.boundary == SESSION_END:
                    self._finals.close(session.session_no, now_ns)
                elif session.closed_ns:
                    killed[event.session_id] = None
                else:
                    session.touched_ns = max(session.touched_ns, now_ns)
                    self._store.sessions.changed(session)
        for session_id in {item.event.session_id: None for item in accepted if item.event.session_id}:
            for session in self._store.sessions.by_id(tenant_no, session_id, customer):
                if session.closed_ns:
                    killed[session_id] = None
        return tuple(killed)

    def _report(
        self,
        submission: Submission,
        fates: list[Fate | None],
        signals: int,
        killed: tuple[str, ...],
        now_ns: int,
    ) -> IntakeReport:
        said, outcome = _counted(fates)
        if not submission.keeps_refused:
            for index, fate in enumerate(said):
                if fate.refusal is not None:
                    self._aside(submission, index, fate.refusal, now_ns)
        self._store.count(submission.tenant_no, submission.door, (len(said), *outcome))
        return IntakeReport(len(said), *outcome, said, signals, killed)

    def _aside(self, submission: Submission, index: int, why: Refusal, now_ns: int) -> None:
        raw = submission.events[index]
        self._store.quarantine(
            submission.tenant_no, submission.door, why.code, why.detail, None, 0, 0, index, now_ns,
            "" if isinstance(raw, Refusal) else raw_text(raw),
        )  # fmt: skip


def _counted(fates: list[Fate | None]) -> tuple[list[Fate], tuple[int, int, int, int]]:
    """All fates, and how many were recorded, duplicates, conflicts and rejected."""
    said = [fate for fate in fates if fate is not None]
    assert len(said) == len(fates), "every event has a fate"
    counts = Counter(fate.verdict for fate in said)
    return said, (counts[RECORDED], counts[DUPLICATE], counts[CONFLICT], counts[REJECTED])


def moment_no(key: str) -> int:
    """A number for an event that breaks ties between events of the same moment, whatever order they came in."""
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True
    )
