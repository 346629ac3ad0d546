"""Submitted events: from what a door found to rows, inside the writer's transaction.

    admit ► claim keys ► enrich ► route ► attribute ► estimate ► record ► index

A submission is worked off as a batch: its keys are looked up together, and what events of one payer or one
session share is found once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import compress, repeat
from operator import attrgetter
from typing import Final, NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import sources_of
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.session import Session
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
from aforo_collector.domain.table import joined
from aforo_collector.pipeline.enrich import payer_of_event, session_of_event, whose_of_event
from aforo_collector.pipeline.wire_names import SESSION_END
from aforo_collector.store.interning import Bounded
from aforo_collector.store.sqlite_writer import SqliteWriter

from .admission import Admission
from .bookings import Bookings, Lane, Sitting
from .contracts import Contracts
from .event_texts import FILTERED, filtered, raw_text
from .finals import Finals
from .series import SERIES_MAX, Accepted, Series

QUARANTINE = "quarantine"
SENDERS_MAX = 64
"""Senders whose series are remembered."""
KEPT_OUT = -1
"""The number that the key of a filtered event has instead of its event's."""


Before = Callable[[str, bytes], bytes | None]
"""The digest that came with a key before this one, None for none."""


_fate_of: Final[Callable[[tuple[object, ...]], Fate]] = partial(tuple.__new__, Fate)


def _nothing(_key: str, _digest: bytes) -> None:
    """Nothing came before."""


class Seats(NamedTuple):
    """Who sits where in one submission: by payer and session, and by what events are alike."""

    sittings: dict[tuple[Identity, str], Sitting]
    lanes: dict[object, Lane]


class Submissions:
    """Records what the doors for events bring."""

    def __init__(self, store: SqliteWriter, contracts: Contracts, finals: Finals, bookings: Bookings) -> None:
        self._store = store
        self._contracts = contracts
        self._finals = finals
        self._bookings = bookings
        self._admissions: Bounded[tuple[int, Identity], Admission] = Bounded(SENDERS_MAX)
        self._series: Bounded[object, Series] = Bounded(SERIES_MAX)
        self._lanes: Bounded[Series, Lane] = Bounded(SERIES_MAX)

    def forget(self) -> None:
        """Drop memory that a rollback may have made wrong."""
        self._lanes.clear()

    def submit(self, submission: Submission, now_ns: int) -> IntakeReport:
        """Record a submission; every event has its fate, and what is refused is kept aside."""
        return self.submit_all([submission], now_ns)[0]

    def submit_all(self, submissions: Sequence[Submission], now_ns: int) -> list[IntakeReport]:
        """Record submissions that differ in nothing but their events, which cost less together; a report of each.

        Signals are honoured when all events are recorded: of what waits side by side nothing came first.
        """
        whole = submissions[0]._replace(events=joined([one.events for one in submissions]))
        catalog = self._contracts.catalog(whole.tenant_no)
        fates: list[Fate | None] = [None] * len(whole.events)
        accepted, signals = self._admit(whole, catalog, fates, now_ns)
        fresh = self._claim(whole.tenant_no, whole.door, accepted, fates)
        numbers = self._record(submissions, whole, fresh, catalog, now_ns)
        self._store.keys.put(
            whole.tenant_no,
            [(item.key, item.digest, number) for item, number in zip(fresh, numbers, strict=True)],
        )
        if whole.received_ns:
            self._store.submitted.receive(numbers, whole.received_ns)
        recorded = map(_fate_of, zip(repeat(RECORDED), map(_key_of, fresh), repeat(None), strict=False))
        for place, fate in zip(map(_place_of, fresh), recorded, strict=True):
            fates[place] = fate
        killed = self._killed(whole.tenant_no, accepted)
        killed.update(self._signal(whole, signals, now_ns))
        return self._reports(submissions, whole, fates, signals, killed, now_ns)

    def check(self, submission: Submission, now_ns: int, before: Before = _nothing) -> IntakeReport:
        """What would become of a submission; nothing is recorded or kept.

        `before` knows what was checked before this, and would have been recorded.
        """
        catalog = self._contracts.catalog(submission.tenant_no)
        fates: list[Fate | None] = [None] * len(submission.events)
        accepted, signals = self._admit(submission, catalog, fates, now_ns)
        for item in self._claim(submission.tenant_no, submission.door, accepted, fates):
            again = _again(item, before(item.key, item.digest))
            fates[item.place] = again or Fate(RECORDED, item.key)
        said = _told(fates)
        return IntakeReport(len(said), *_counted(said), said, len(signals))

    def _admit(
        self, submission: Submission, catalog: Catalog, fates: list[Fate | None], now_ns: int
    ) -> tuple[list[Accepted], dict[int, UsageEvent]]:
        """The events that are admitted, and the signals among them by their place."""
        past_ns, future_ns = submission.window_ns
        received_ns = submission.received_ns
        bounds_ns = (received_ns or now_ns) - past_ns, now_ns + future_ns
        accepted: list[Accepted] = []
        signals: dict[int, UsageEvent] = {}
        admitted = self._admission(submission, catalog).admit(submission.events, bounds_ns)
        for index, item in enumerate(admitted):
            if isinstance(item, Refusal):
                fates[index] = Fate(REJECTED, refusal=item)
            elif item.shared.boundary:
                signals[index] = item.event
                fates[index] = Fate(RECORDED, item.event.key)
            elif received_ns and not item.occurred_ns:  # its digest says still that it states no time
                accepted.append(item._replace(occurred_ns=received_ns))
            else:
                accepted.append(item)
        return accepted, signals

    def _admission(self, submission: Submission, catalog: Catalog) -> Admission:
        whose = submission.tenant_no, submission.caller
        admission = self._admissions.get(whose)
        if admission is None or admission.catalog is not catalog:
            admission = Admission(catalog, submission.caller, self._series)
            self._admissions.put(whose, admission)
        return admission

    def _claim(
        self, tenant_no: int, door: str, accepted: list[Accepted], fates: list[Fate | None]
    ) -> list[Accepted]:
        """Those whose key is new; the others are duplicates or conflicts, also of one another.

        An event that the conditions of its unit kept out may come again from the quarantine.
        """
        stored = self._store.keys.find(tenant_no, [item.key for item in accepted if item.is_keyed])
        if not stored and len(set(map(_key_of, accepted))) == len(accepted):
            return accepted
        known = {
            key: found for key, (found, number) in stored.items() if number != KEPT_OUT or door != QUARANTINE
        }
        fresh = []
        for item in accepted:
            again = _again(item, known.get(item.key))
            if again is None:
                known[item.key] = item.digest
                fresh.append(item)
            fates[item.place] = again
        return fresh

    def _record(
        self, parts: Sequence[Submission], submission: Submission, fresh: list[Accepted], catalog: Catalog, now_ns: int
    ) -> list[int]:  # fmt: skip
        """Append the events; the number of each, KEPT_OUT where the conditions of its unit do not hold."""
        seats = Seats({}, {})
        lanes: list[Lane | None] = []
        for item in fresh:
            lane = self._lanes.get(item.series) if item.series is not None else None
            if (lane is None or lane.has_conditions) and not routed(item.event, catalog):
                detail = filtered(item.shared.metric)
                self._aside(parts, item.place, Refusal(FILTERED, detail), now_ns)
                lanes.append(None)
            else:
                lanes.append(lane or self._lane(submission, item, catalog, seats, now_ns))
        taken = list(map(bool, lanes))
        numbers = self._bookings.append_all(
            submission, compress(fresh, taken), filter(None, lanes), catalog, now_ns
        )
        for sitting in seats.sittings.values():
            self._bookings.settle(sitting, now_ns)
        if len(numbers) == len(fresh):
            return numbers
        found = iter(numbers)
        return [next(found) if is_taken else KEPT_OUT for is_taken in taken]

    def _lane(
        self, submission: Submission, item: Accepted, catalog: Catalog, seats: Seats, now_ns: int
    ) -> Lane:
        """Where an event is booked; a series without session stays there until its terms change."""
        event, series = item.event, item.series
        alike = series or whose_of_event(event)
        lane = seats.lanes.get(alike)
        if lane is None:
            place = payer_of_event(event, catalog, submission.caller), session_of_event(event)
            sitting = seats.sittings.get(place)
            if sitting is None:
                sitting = seats.sittings[place] = self._bookings.sit(submission.tenant_no, *place, now_ns)
            lane = Lane(sitting)
            if series is not None:
                lane = self._bookings.lane(submission.tenant_no, event, sitting, catalog)
                if sitting.session is None:
                    self._lanes.put(series, lane)
            seats.lanes[alike] = lane
        return lane

    def _killed(self, tenant_no: int, accepted: list[Accepted]) -> dict[int, str]:
        """The sessions of events that were closed before, by the events' places."""
        shared = {id(item.shared): item.shared for item in accepted}.values()
        said = {(event.session_id, event.customer_id) for event in shared if event.session_id}
        closed = {
            one for one in said if any(session.closed_ns for session in self._store.sessions.by_id(tenant_no, *one))
        }  # fmt: skip
        if not closed:
            return {}
        return {
            item.place: item.shared.session_id
            for item in accepted
            if (item.shared.session_id, item.shared.customer_id) in closed
        }

    def _signal(
        self, submission: Submission, signals: Mapping[int, UsageEvent], now_ns: int
    ) -> dict[int, str]:
        """Honour heartbeats and session ends; returns the sessions that were closed before, by the signals' places."""
        killed: dict[int, str] = {}
        for place, event in signals.items():
            for session in self._meant(submission, event):
                session = self._finals.current(session, now_ns)  # noqa: PLW2901
                if event.boundary == SESSION_END:
                    self._finals.close(session.session_no, now_ns)
                elif session.closed_ns:
                    killed[place] = event.session_id
                else:
                    session.touched_ns = max(session.touched_ns, now_ns)
                    self._store.sessions.changed(session)
        return killed

    def _meant(self, submission: Submission, signal: UsageEvent) -> list[Session]:
        """The sessions that a signal is about: of the customer it names if that has one of the id, else all.

        Clients name a customer in their heartbeats only when they were told one, else they say `system`.
        """
        named = submission.caller.customer_id
        found = self._store.sessions.by_id(submission.tenant_no, signal.session_id, named or None)
        return [session for session in found if session.customer_id == signal.customer_id] or found

    def _reports(
        self,
        parts: Sequence[Submission],
        whole: Submission,
        fates: list[Fate | None],
        signals: Mapping[int, UsageEvent],
        killed: Mapping[int, str],
        now_ns: int,
    ) -> list[IntakeReport]:
        """What became of each submission; what is refused is kept aside."""
        told = _told(fates)
        if not whole.keeps_refused:
            for place, fate in enumerate(told):
                if fate.refusal is not None:
                    self._aside(parts, place, fate.refusal, now_ns)
        self._store.count(whole.tenant_no, whole.door, (len(told), *_counted(told)))
        reports = []
        first = 0
        for part in parts:
            places = range(first, first + len(part.events))
            own = told[places.start : places.stop]
            ended = dict.fromkeys(session for place, session in killed.items() if place in places)
            count = sum(place in places for place in signals)
            reports.append(IntakeReport(len(own), *_counted(own), own, count, tuple(ended)))
            first = places.stop
        return reports

    def _aside(self, parts: Sequence[Submission], place: int, why: Refusal, now_ns: int) -> None:
        """Keep aside what stands at a place of all that some submissions bring, as the one that brings it."""
        for submission in parts:
            if place < len(submission.events):
                break
            place -= len(submission.events)
        raw = submission.events[place]
        received_ns = submission.received_ns or now_ns
        self._store.quarantine(
            submission.tenant_no, submission.door, why.code, why.detail, None, 0, 0, place, received_ns,
            "" if isinstance(raw, Refusal) else raw_text(raw), submission.caller,
            submission.origin,
        )  # fmt: skip


_key_of = attrgetter("key")
_place_of = attrgetter("place")


def _again(item: Accepted, before: bytes | None) -> Fate | None:
    """What becomes of an event whose key came with a digest before; None where it did not."""
    if before is None:
        return None
    if before == item.digest:
        return Fate(DUPLICATE, item.key)
    detail = f"idempotency key {item.key!r} was used for other contents; the first event stands"
    return Fate(CONFLICT, item.key, Refusal(CONFLICT.upper(), detail, "idempotencyKey"))


def routed(event: UsageEvent, catalog: Catalog) -> bool:
    """Whether the conditions of its billable unit let an event count."""
    unit = catalog.unit(event.metric)
    return unit is None or not unit.conditions or unit.admits(*sources_of(event))


def _told(fates: list[Fate | None]) -> list[Fate]:
    told = [fate for fate in fates if fate is not None]
    assert len(told) == len(fates), "every event has a fate"
    return told


def _counted(fates: list[Fate]) -> tuple[int, int, int, int]:
    """How many were recorded, duplicates, conflicts and rejected."""
    verdicts = [fate.verdict for fate in fates]
    recorded, duplicates, conflicts, rejected = map(verdicts.count, (RECORDED, DUPLICATE, CONFLICT, REJECTED))
    return recorded, duplicates, conflicts, rejected
