"""What comes through a door, and what becomes of it.

    a door's bytes ─► Submission ─► admit ► enrich ► route ► record ► estimate ► index ─► IntakeReport

Doors for usage events (HTTP, webhooks, uploads) read their own format and name what they found as the wire
does (`customerId`, `metricName`, `quantity`, …); everything after that is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from .identity import NOBODY, Identity

RawEvent = Mapping[str, object]
"""One usage event as a door found it: canonical wire names or their aliases; numbers exact (int, Decimal)."""

WINDOW_NS: Final = (90 * 86_400_000_000_000, 300_000_000_000)
"""How long ago, and how far in the future, an event may have happened, in ns."""

RECORDED: Final = "recorded"
DUPLICATE: Final = "duplicate"
CONFLICT: Final = "conflict"
REJECTED: Final = "rejected"


class Refusal(NamedTuple):
    """Why something was not recorded: a stable code, a sentence, the field on the wire where there is one."""

    code: str
    detail: str
    field: str = ""


class UsageEvent(NamedTuple):
    """One billable fact that was admitted, not yet priced.

    `occurred_ns` is 0 when the sender left the time to the collector; `duration_ns` is 0 for none. `metadata`
    and `details` (what else stood at the top level, with product type, tool and status as they were stated)
    are by wire name. `product_type` is one of the four that bill. An empty string means "not said".
    """

    customer_id: str
    metric: str
    quantity: Decimal
    occurred_ns: int
    key: str
    product_type: str
    session_id: str
    agent_id: str
    trace_id: str
    tool: str
    status: str
    duration_ns: int
    boundary: str
    metadata: Mapping[str, object]
    details: Mapping[str, object]


class Submission(NamedTuple):
    """What one request, delivery or stretch of a file brought.

    `door` names the way in (`http`, `webhook`, `upload`) and `origin` the sender within it (a source, a
    file), "" for none. `caller` is what the credential says of who pays; it wins over what an event says.
    An event that the door itself could not read stands as a `Refusal` in its place. `window_ns` are how far
    an event may lie in the past and in the future. What is refused is kept aside, unless the door keeps it
    itself (`keeps_refused`). `received_ns` is when it came, 0 for now: the past of the window ends there, and what
    states no time happened then.
    """

    tenant_no: int
    door: str
    events: Sequence[RawEvent | Refusal]
    caller: Identity = NOBODY
    origin: str = ""
    window_ns: tuple[int, int] = WINDOW_NS
    keeps_refused: bool = False
    received_ns: int = 0


class Fate(NamedTuple):
    """What became of one event: RECORDED, DUPLICATE, CONFLICT or REJECTED, and why where it is not recorded.

    `key` is the idempotency key in force, also one that was minted here.
    """

    verdict: str
    key: str = ""
    refusal: Refusal | None = None


class IntakeReport(NamedTuple):
    """What became of a submission: received = recorded + duplicates + conflicts + rejected.

    `fates` are in the order of the events. `signals` counts heartbeats and session ends, which are honoured
    and never billed; they count as recorded. `killed_session_ids` are sessions of the submission that are
    closed.
    """

    received: int
    recorded: int
    duplicates: int
    conflicts: int
    rejected: int
    fates: list[Fate]
    signals: int = 0
    killed_session_ids: tuple[str, ...] = ()
