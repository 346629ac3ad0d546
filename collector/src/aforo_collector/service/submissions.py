"""Submitted events: from what a door found to rows, inside the writer's transaction.

    admit ► claim keys ► enrich ► route ► attribute ► estimate ► record ► index

A submission is worked off as a batch: its keys are looked up together, and what events of one payer or one
session share is found once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
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
        catalog = self._contracts.catalog(submission.tenant_no)
        fates: list[Fate | None] = [None] * len(submission.events)
        accepted, signals = self._admit(submission, catalog, fates, now_ns)
        fresh = self._claim(submission.tenant_no, submission.door, accepted, fates)
        numbers = self._record(submission, fresh, catalog, now_ns)
        self._store.keys.put(
            submission.tenant_no,
            [(item.key, item.digest, number) for item, number in zip(fresh, numbers, strict=True)],
        )
        if submission.received_ns:
            self._store.submitted.receive(numbers, submission.received_ns)
        recorded = map(_fate_of, zip(repeat(RECORDED), map(_key_of, fresh), repeat(None), strict=False))
        for place, fate in zip(map(_place_of, fresh), recorded, strict=True):
            fates[place] = fate
        killed = self._signal(submission, signals, accepted, now_ns)
        return self._report(submission, fates, len(signals), killed, now_ns)

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
        said, outcome = _counted(fates)
        return IntakeReport(len(said), *outcome, said, len(signals))

    def _admit(
        self, submission: Submission, catalog: Catalog, fates: list[Fate | None], now_ns: int
    ) -> tuple[list[Accepted], list[UsageEvent]]:
        past_ns, future_ns = submission.window_ns
        received_ns = submission.received_ns
        bounds_ns = (received_ns or now_ns) - past_ns, now_ns + future_ns
        accepted: list[Accepted] = []
        signals: list[UsageEvent] = []
        admitted = self._admission(submission, catalog).admit(submission.events, bounds_ns)
        for index, item in enumerate(admitted):
            if isinstance(item, Refusal):
                fates[index] = Fate(REJECTED, refusal=item)
            elif item.shared.boundary:
                signals.append(item.event)
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
        self, submission: Submission, fresh: list[Accepted], catalog: Catalog, now_ns: int
    ) -> list[int]:
        """Append the events; the number of each, KEPT_OUT where the conditions of its unit do not hold."""
        seats = Seats({}, {})
        lanes: list[Lane | None] = []
        for item in fresh:
            lane = self._lanes.get(item.series) if item.series is not None else None
            if (lane is None or lane.has_conditions) and not routed(item.event, catalog):
                detail = filtered(item.shared.metric)
                self._aside(submission, item.place, Refusal(FILTERED, detail), now_ns)
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

    def _signal(
        self, submission: Submission, signals: list[UsageEvent], accepted: Iterable[Accepted], now_ns: int
    ) -> tuple[str, ...]:
        """Honour heartbeats and session ends; returns which sessions of the submission were closed before."""
        tenant_no = submission.tenant_no
        killed: dict[str, None] = {}
        shared = {id(item.shared): item.shared for item in accepted}.values()
        said = {(event.session_id, event.customer_id): None for event in shared}
        for session_id, customer_id in said:
            if session_id and any(
                session.closed_ns
                for session in self._store.sessions.by_id(tenant_no, session_id, customer_id)
            ):
                killed[session_id] = None
        for event in signals:
            for session in self._meant(submission, event):
                session = self._finals.current(session, now_ns)  # noqa: PLW2901
                if event.boundary == SESSION_END:
                    self._finals.close(session.session_no, now_ns)
                elif session.closed_ns:
                    killed[event.session_id] = None
                else:
                    session.touched_ns = max(session.touched_ns, now_ns)
                    self._store.sessions.changed(session)
        return tuple(killed)

    def _meant(self, submission: Submission, signal: UsageEvent) -> list[Session]:
        """The sessions that a signal is about: of the customer it names if that has one of the id, else all.

        Clients name a customer in their heartbeats only when they were told one, else they say `system`.
        """
        named = submission.caller.customer_id
        found = self._store.sessions.by_id(submission.tenant_no, signal.session_id, named or None)
        return [session for session in found if session.customer_id == signal.customer_id] or found

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
        received_ns = submission.received_ns or now_ns
        self._store.quarantine(
            submission.tenant_no, submission.door, why.code, why.detail, None, 0, 0, index, received_ns,
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


def _counted(fates: list[Fate | None]) -> tuple[list[Fate], tuple[int, int, int, int]]:
    """All fates, and how many were recorded, duplicates, conflicts and rejected."""
    said = [fate for fate in fates if fate is not None]
    assert len(said) == len(fates), "every event has a fate"
    counts = Counter(fate.verdict for fate in said)
    return said, (counts[RECORDED], counts[DUPLICATE], counts[CONFLICT], counts[REJECTED])
