"""What was set aside, dealt with: assigned to a customer, or submitted again with what was wrong put right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from aforo_collector.domain.submission import CONFLICT, RECORDED, REJECTED, WINDOW_NS, Fate, Submission
from aforo_collector.domain.usage import SetAside
from aforo_collector.pipeline.wire_names import NAMES
from aforo_collector.store.sqlite_writer import SqliteWriter

from .corrections import NotCorrectable
from .event_texts import FILTERED
from .intake import Intake
from .submissions import QUARANTINE

REVIEWED: Final = "reviewed"
"""What became of spans: what they count for was looked at again."""


class Quarantine:
    """Works inside the writer's transaction."""

    def __init__(self, store: SqliteWriter, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    def assign(self, tenant_no: int, quarantine_no: int, customer_id: str, now_ns: int) -> Fate | None:
        """Let a customer pay: for all spans of the trace that name none, or for the one event, which is replayed.

        None when nothing of that number is in quarantine. Raises `NotCorrectable`.
        """
        found = self._store.set_aside(tenant_no, quarantine_no)
        if found is None:
            return None
        aside, _, caller, _ = found
        if not aside.trace_id:
            if caller.customer_id not in ("", customer_id):
                raise NotCorrectable(
                    f"the event came by a key of customer {caller.customer_id!r}, who pays for it"
                )
            return self.replay(tenant_no, quarantine_no, {"customerId": customer_id}, now_ns)
        if aside.code != "NO_CUSTOMER":
            raise NotCorrectable(
                f"a span that was set aside as {aside.code} cannot be assigned to a customer"
            )
        self._store.assign(tenant_no, aside.trace_id, customer_id)
        self._intake.review(tenant_no, aside.trace_id)
        return Fate(REVIEWED)

    def replay(
        self, tenant_no: int, quarantine_no: int, changes: Mapping[str, object], now_ns: int
    ) -> Fate | None:
        """Submit an event again, with some fields changed; None when nothing of that number is in quarantine.

        It leaves the quarantine unless it is refused again. The spans of a trace are looked at again instead
        (REVIEWED), and leave the quarantine where nothing stands against them any more. Raises
        `NotCorrectable` for what was not kept.
        """
        found = self._store.set_aside(tenant_no, quarantine_no)
        if found is None:
            return None
        aside, body, caller, origin = found
        if aside.trace_id:
            self._intake.review(tenant_no, aside.trace_id)
            return Fate(REVIEWED)
        event = self._event(aside, body, changes)
        window_ns = WINDOW_NS
        if aside.code == FILTERED:  # an upload may have admitted what is older
            window_ns = aside.received_ns, WINDOW_NS[1]
        submission = Submission(
            tenant_no, QUARANTINE, [event], caller, origin, window_ns, keeps_refused=True,
            received_ns=aside.received_ns,
        )  # fmt: skip
        fate = self._intake.submissions.submit(submission, now_ns).fates[0]
        if fate.verdict not in (CONFLICT, REJECTED):
            self._store.let_go(quarantine_no)
        if fate.verdict == RECORDED:
            self._belongs(tenant_no, fate.key, origin)
        return fate

    def _belongs(self, tenant_no: int, key: str, origin: str) -> None:
        """Let a row of an upload be taken back with the others."""
        job = self._store.uploads.find(tenant_no, origin) if origin else None
        if job is not None:
            [(_, event_no)] = self._store.keys.find(tenant_no, [key]).values()
            if event_no > 0:
                self._store.uploads.remember(job.job_no, event_no, event_no)

    def _event(self, aside: SetAside, body: str, changes: Mapping[str, object]) -> dict[str, object]:
        """The event as it came, with each changed field in place of all spellings that it had."""
        if not body:
            raise NotCorrectable(f"what was set aside as {aside.code} was not kept; send it again")
        event: dict[str, object] = json.loads(body, parse_float=Decimal)
        named = {NAMES.get(name, name): value for name, value in changes.items()}
        kept = {name: value for name, value in event.items() if NAMES.get(name, name) not in named}
        return kept | named
