"""Usage events: what one billable occurrence is, before and after it is written.

A model call is one occurrence with several measures (its token pools, its cost, one step), and each measure
reads as one usage event of the metric `<prefix>.<unit>`. The store keeps an occurrence as one row.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple

from .identity import Identity
from .money import ZERO


class Kind(IntEnum):
    """What happened."""

    MODEL = 1
    """A model call, or an agent's total that stands for calls nobody reported."""
    TOOL = 2
    """A tool execution."""
    USAGE = 3
    """A usage event of any metric of the catalog."""
    FINAL = 4
    """A session closed: its final billing event."""
    VOID = 5
    """An earlier occurrence does not count."""


UNITS: Final = (
    "tool_calls",
    "steps",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "provider_cost",
    "sessions",
    "session_seconds",
)
"""The measures of occurrences, in the order of their sequence numbers; a set of them is a bit mask."""

UNITS_OF_KIND: Final = {
    Kind.MODEL: ("steps", *UNITS[2:8]),
    Kind.TOOL: ("tool_calls", "steps", *UNITS[2:8]),
    Kind.USAGE: (),
    Kind.FINAL: ("sessions", "session_seconds"),
    Kind.VOID: (),
}


class Occurrence(NamedTuple):
    """One billable occurrence: counts, exclusive token pools, US dollars.

    `calls` is 1 for the record of a logical call and 0 where another span counts it; `cost` None with a
    `reason` is unpriced, None without one is no cost at all. `quantity` is used by USAGE and FINAL (active
    seconds). `revenue` is what the occurrence earns at list price, None where no plan prices it. A tool call that
    tells of tokens has one model call and its model as `metric`.
    """

    kind: int
    label: str = ""
    status: str = ""
    step_type: str = ""
    metric: str = ""
    calls: int = 0
    model_calls: int = 0
    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0
    quantity: Decimal = ZERO
    cost: Decimal | None = None
    reason: str = ""
    quality: str = ""
    revenue: Decimal | None = None


occurrence_from: Final[Callable[[tuple[object, ...]], Occurrence]] = partial(tuple.__new__, Occurrence)
"""`Occurrence` of all its fields in order; the named constructor takes three times as long."""


FIELDS: Final = {
    unit: Occurrence._fields.index(name)
    for unit, name in zip(
        UNITS,
        (
            "calls",
            "calls",
            "input",
            "output",
            "reasoning",
            "cache_read",
            "cache_write",
            "cost",
            "calls",
            "quantity",
        ),
        strict=True,
    )
}
"""Where an occurrence of the right kind keeps its quantity of a unit."""


class Sent(NamedTuple):
    """What an event that was submitted, not traced, has beside what every event has.

    `key` is its idempotency key, `part` is 0 for the event itself and more for what was derived of it, `trace_id`
    the sender's text, `details` JSON text of what else stood at its top level.
    """

    door: str
    key: str
    part: int
    trace_id: str
    details: str


class Entry(NamedTuple):
    """A booking as it is read back, with the names of all that its numbers stand for.

    `payer` is without session; a final event has no trace (empty bytes). `corrects` is the event that a VOID
    takes back, or the VOID that a new record follows; `voided_by` is the VOID that took this one back. Both
    are 0 for none. `metadata` is JSON text. `sent` is None for an event of a span or of a session's end.
    """

    event_no: int
    occurrence: Occurrence
    units: int
    payer: Identity
    session_id: str
    trace_id: bytes
    span_id: int
    occurred_ns: int
    duration_ns: int
    recorded_ns: int
    adjustment: bool
    corrects: int
    voided_by: int
    metadata: str | None
    sent: Sent | None = None


class Counts(NamedTuple):
    """How many occurrences of a roll-up have something: all of them, a call, tokens of a pool, a cost."""

    events: int
    called: int
    inputs: int
    outputs: int
    reasonings: int
    cache_reads: int
    cache_writes: int
    costs: int
    unpriced: int

    def of(self, kind: int, unit: str) -> int:
        """How many usage events of a unit the occurrences are; see `measure`."""
        if unit in ("sessions", "session_seconds"):
            return self.events if kind == Kind.FINAL else 0
        if unit == "steps" or (unit == "tool_calls" and kind == Kind.TOOL):
            return self.called
        if unit == "provider_cost":
            return self.costs
        counted: int = getattr(self, unit.removesuffix("_tokens") + "s", 0)
        return counted


class RollUp(NamedTuple):
    """Occurrences of one payer that agree in kind, names and written metrics, summed over some time.

    `total` has their sums in its counts and amounts.
    """

    payer_no: int
    units: int
    total: Occurrence
    counts: Counts


class SetAside(NamedTuple):
    """Something in quarantine: a stable code, the reason in words, the span where there is one."""

    quarantine_no: int
    door: str
    code: str
    detail: str
    trace_id: bytes
    span_id: int
    received_ns: int


def measure(occurrence: Occurrence, unit: str) -> Decimal | int | None:
    """The quantity that an occurrence has of one of its kind's units; None when it has none, which is no event."""
    quantity: Decimal | int | None = occurrence[FIELDS[unit]]  # type: ignore[assignment]  # a number by FIELDS
    return quantity or None


def model_of(occurrence: Occurrence) -> str:
    """The model that was called, "" where nobody says."""
    return occurrence.metric if occurrence.kind == Kind.TOOL else occurrence.label


def dimensions(occurrence: Occurrence, unit: str, agent_id: str = "") -> dict[str, str]:
    """What a price of this unit can depend on, by the names of the catalog file."""
    kind = occurrence.kind
    found: dict[str, str] = {}
    if unit == "steps":
        found = {"stepType": occurrence.step_type, "agentId": agent_id}
    elif kind == Kind.TOOL:
        if unit != "tool_calls":
            found = {"model": occurrence.metric}
        if not unit.endswith("_tokens"):
            found |= {"toolName": occurrence.label, "executionStatus": occurrence.status}
    elif kind == Kind.MODEL:
        found = {"model": occurrence.label}
    elif kind == Kind.FINAL and unit == "sessions":
        found = {"closeReason": occurrence.status}
    return {name: value for name, value in found.items() if value}
