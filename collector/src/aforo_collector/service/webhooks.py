"""Deliveries of webhooks: verified, recorded and logged in one transaction, and replayed from the log.

    prepare (any thread: verify, split, map) ─► record (writer: submit the events, log the delivery)

An event's identity is the provider's id for it, whatever the mapping makes of it: what was recorded first
stands, and every later delivery or replay of it is a duplicate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from aforo_collector.domain.submission import DUPLICATE, RECORDED, REJECTED, RawEvent, Refusal, Submission
from aforo_collector.doors.webhooks.extraction import Extracted, extract
from aforo_collector.doors.webhooks.provider import BadSignature, Challenge, Incoming
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.webhook_rows import Source, Stored, WebhookRows
from aforo_collector.views import Wire, instant

from .webhook_log import ACCEPTED, FILTERED, OUTCOMES, WebhookLog, incoming_of
from .webhook_sources import WebhookSources, public_url_of, terms_of_source
from .writer import Writer

DOOR: Final = "webhook"

UNVERIFIED_BYTES_MAX: Final = 65_536
SWEEP_INTERVAL_NS: Final = 60_000_000_000
SWEEP_LENGTH: Final = 500
_NS_PER_S: Final = 1_000_000_000
_NOT_KEPT: Final = frozenset(("authorization", "cookie", "proxy-authorization", "x-api-key"))
_AGAIN: Final = "recorded before under this event id; the first one stands, whatever the mapping gives now"
logger = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class UnknownSource(LookupError):
    """There is no such source, or it is not active; nothing was recorded."""


class Prepared(NamedTuple):
    """A delivery of a known source, ready to be recorded; `problem` says why nobody known has signed it."""

    source: Source
    stored: Stored
    events: Sequence[Extracted]
    problem: str = ""


def unprocessable(prepared: Prepared) -> Prepared:
    """A delivery that the collector itself fails on, as one that is rejected."""
    detail = "the collector fails on this delivery, its log says why; replay it once that is mended"
    return prepared._replace(events=[Extracted("", "", Refusal("UNPROCESSABLE", detail))])


class Receipt(NamedTuple):
    """What became of a delivery: its number in the log, its outcome, and each event's."""

    delivery_no: int
    outcome: str
    events: list[Wire]

    def view(self) -> Wire:
        """The receipt as it travels."""
        counts = {name: sum(event["outcome"] == name for event in self.events) for name in OUTCOMES}
        return {"deliveryId": str(self.delivery_no), "outcome": self.outcome, **counts, "events": self.events}


class Webhooks:
    """Takes deliveries in and replays them; `sources` are where from, `log` what came.

    `prepare` is for any thread, `record` queues for the writer.
    """

    def __init__(
        self, database: Database, store: SqliteWriter, writer: Writer, sources: WebhookSources
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self.sources = sources
        self.log = WebhookLog(database)
        self._swept_ns = 0

    def prepare(self, source_id: str, incoming: Incoming, now_ns: int) -> Prepared | Challenge:
        """Verify a delivery and find its events; raises `UnknownSource` and `SealBroken`."""
        source = self.sources.find(source_id)
        if source is None or not source.active:
            raise UnknownSource(source_id)
        if url := public_url_of(source):
            _, mark, query = incoming.url.partition("?")
            incoming = incoming._replace(url=url.partition("?")[0] + mark + query)
        return self._prepared(source, incoming, now_ns)

    def _prepared(
        self, source: Source, incoming: Incoming, received_ns: int, stored: Stored | None = None
    ) -> Prepared | Challenge:
        terms = terms_of_source(source)
        if stored is None or not stored.verified:
            secrets = self.sources.secrets(source, received_ns)
            try:
                if not secrets:
                    raise BadSignature("the source has no secret yet; set the provider's, and replay this")
                terms.provider.verify(secrets, incoming, received_ns // _NS_PER_S)
            except BadSignature as error:
                stored = stored or _logged(source, incoming, received_ns, verified=False)
                return Prepared(source, stored, (), str(error))
            stored = stored or _logged(source, incoming, received_ns, verified=True)
            stored = stored._replace(verified=True)
        try:
            found = extract(terms, source.source_id, incoming)
        except Exception:
            # The provider would send it again for ever; kept in the log it can be replayed once this is mended.
            logger.exception("a webhook could not be processed")
            return unprocessable(Prepared(source, stored, ()))
        return found if isinstance(found, Challenge) else Prepared(source, stored, _timed(found, received_ns))

    def record(self, prepared: Prepared) -> Future[Receipt]:
        """Queue a delivery: its events and its place in the log are one transaction. Raises `QueueFull`."""
        return self._writer.join(partial(self._record, prepared), len(prepared.events))

    def _record(self, prepared: Prepared, now_ns: int) -> Receipt | UnknownSource:
        source, stored = prepared.source, prepared.stored
        rows = self._store.webhooks
        if rows.source(source.source_id) is None:
            return UnknownSource(source.source_id)  # nothing is written yet: it costs the others nothing
        if prepared.problem:
            return self._refuse(source, stored, prepared.problem)
        events = self._submit(source, prepared.events, stored.received_ns, now_ns)
        outcome = _outcome(events)
        if stored.delivery_no:
            # A replay of what was accepted changes nothing: it stays accepted.
            if (stored.outcome, outcome) == (ACCEPTED, DUPLICATE):
                return Receipt(stored.delivery_no, outcome, events)
            stored = stored._replace(replayed_ns=now_ns)
        detail = next((event["detail"] for event in events if event["outcome"] == REJECTED), "")
        stored = stored._replace(outcome=outcome, detail=detail, events=_encode(events).decode())
        return Receipt(rows.put_delivery(source.tenant_no, stored), outcome, events)

    def _refuse(self, source: Source, stored: Stored, problem: str) -> Receipt:
        if not stored.delivery_no:
            rows = self._store.webhooks
            stored = stored._replace(outcome=REJECTED, detail=problem)
            stored = stored._replace(delivery_no=rows.put_delivery(source.tenant_no, stored))
            rows.trim_unverified(source.source_no)
        return Receipt(stored.delivery_no, REJECTED, [])

    def _submit(
        self, source: Source, events: Sequence[Extracted], received_ns: int, now_ns: int, *, dry: bool = False
    ) -> list[Wire]:
        """Submit what is new of a delivery that came at `received_ns`.

        What is known by its key is a duplicate before anybody compares contents.
        """
        keyed = [one.event["idempotencyKey"] for one in events if isinstance(one.event, Mapping)]
        known: set[object] = set(self._store.keys.find(source.tenant_no, [str(key) for key in keyed]))
        fresh: list[RawEvent | Refusal] = []
        places: list[int | None] = []
        for one in events:
            again = isinstance(one.event, Mapping) and one.event["idempotencyKey"] in known
            if one.event is None or again:
                places.append(None)
                continue
            places.append(len(fresh))
            fresh.append(one.event)
            if isinstance(one.event, Mapping):
                known.add(one.event["idempotencyKey"])
        submission = Submission(
            source.tenant_no,
            DOOR,
            fresh,
            origin=source.source_id,
            keeps_refused=True,
            received_ns=received_ns,
        )
        submissions = self._writer.intake.submissions
        report = (submissions.check if dry else submissions.submit)(submission, now_ns)
        told = []
        for one, place in zip(events, places, strict=True):
            fate = None if place is None else report.fates[place]
            if fate is not None and fate.refusal is not None:
                told.append(_told(one, REJECTED, fate.refusal))
            elif fate is not None and fate.verdict == RECORDED:
                told.append(_told(one, ACCEPTED))
            else:
                told.append(_told(one, FILTERED if one.event is None else DUPLICATE))
        again_count = sum(event["outcome"] == DUPLICATE for event in told)
        if again_count and not dry:
            self._store.count(source.tenant_no, DOOR, (again_count, 0, again_count, 0, 0))
        return told

    def tried(self, source: Source, incoming: Incoming, now_ns: int) -> Future[Wire]:
        """What a payload would become, signed or not; nothing is recorded. Raises `QueueFull`."""
        found = extract(terms_of_source(source), source.source_id, incoming)
        if isinstance(found, Challenge):
            found = []
        return self._tried(source, _timed(found, now_ns), now_ns)

    def _tried(self, source: Source, events: Sequence[Extracted], received_ns: int) -> Future[Wire]:
        def check(now_ns: int) -> Wire:
            told = self._submit(source, events, received_ns, now_ns, dry=True)
            shown = [
                {**said, "event": one.event if isinstance(one.event, Mapping) else None}
                for said, one in zip(told, events, strict=True)
            ]
            return {**Receipt(0, _outcome(told), shown).view(), "deliveryId": None, "dryRun": True}

        return self._writer.command(check)

    def replay(self, tenant_no: int, delivery_no: int, *, dry: bool = False) -> Future[Any] | None:
        """Make of a delivery what its source's terms make of it now; None where the tenant has none.

        The result is a `Receipt`, of a dry run what it would say. Raises `BadSignature` for one that none of
        the secrets of now has signed, `QueueFull` and `SealBroken`.
        """
        with self._database.reading() as connection:
            found = WebhookRows(connection).delivery(tenant_no, delivery_no)
        if found is None:
            return None
        stored, source = found
        prepared = self._prepared(source, incoming_of(stored), stored.received_ns, stored)
        if isinstance(prepared, Challenge):
            prepared = Prepared(source, stored, ())
        if prepared.problem:
            raise BadSignature(prepared.problem)
        return self._tried(source, prepared.events, stored.received_ns) if dry else self.record(prepared)

    def replay_rejected(self, source: Source, after_no: int, limit: int) -> tuple[Wire, int | None]:
        """Replay rejected deliveries of a source, oldest first; the counts, and after which one to go on."""
        with self._database.reading() as connection:
            numbers = WebhookRows(connection).rejected(source.source_no, after_no, limit + 1)
        counts = dict.fromkeys((*OUTCOMES, "unverified"), 0)
        for delivery_no in numbers[:limit]:
            try:
                future = self.replay(source.tenant_no, delivery_no)
            except BadSignature:
                counts["unverified"] += 1
                continue
            if future is not None:
                counts[future.result().outcome] += 1
        more = numbers[limit - 1] if len(numbers) > limit else None
        return {"replayed": sum(counts.values()), **counts}, more

    def sweep(self, now_ns: int) -> bool:
        """A chore: delete deliveries whose retention is over; whether there are more."""
        if now_ns - self._swept_ns < SWEEP_INTERVAL_NS:
            return False
        if self._store.webhooks.sweep(now_ns, SWEEP_LENGTH) >= SWEEP_LENGTH:
            return True
        self._swept_ns = now_ns
        return False


def _logged(source: Source, incoming: Incoming, received_ns: int, *, verified: bool) -> Stored:
    """A delivery as the log keeps it; the body of a stranger only where it is small."""
    headers = {name: value for name, value in incoming.headers.items() if name not in _NOT_KEPT}
    kept = verified or len(incoming.body) <= UNVERIFIED_BYTES_MAX
    packed = zstandard.compress(incoming.body) if kept else b""
    return Stored(
        0, source.source_no, received_ns, verified, "", "", incoming.url, json.dumps(headers), packed,
        len(incoming.body), "[]", 0,
    )  # fmt: skip


def _timed(events: Sequence[Extracted], received_ns: int) -> list[Extracted]:
    """What has no time of its own happened when it came in, also where it is replayed later."""
    return [
        one._replace(event={"occurredAt": instant(received_ns), **one.event})
        if isinstance(one.event, Mapping)
        else one
        for one in events
    ]


def _told(one: Extracted, outcome: str, refusal: Refusal | None = None) -> Wire:
    said: Wire = {"eventId": one.event_id, "type": one.type, "outcome": outcome}
    if refusal is not None:
        said |= {"code": refusal.code, "detail": refusal.detail}
        if refusal.field:
            said["field"] = refusal.field
    elif outcome == DUPLICATE:
        said["detail"] = _AGAIN
    elif outcome == FILTERED:
        said["detail"] = "the source does not bill events of this type; eventFilter names those that it does"
    return said


def _outcome(events: Sequence[Wire]) -> str:
    found = {event["outcome"] for event in events}
    return next((outcome for outcome in OUTCOMES if outcome in found), FILTERED)
