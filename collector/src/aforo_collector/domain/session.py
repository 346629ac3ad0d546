"""Sessions: one long-running agent thread, its state from stored times, its totals from occurrences.

Times: `first_ns` and `last_ns` are when the work happened (earliest start, latest end of its spans);
`touched_ns` is when the collector last received some of it, and the only time that idling and timeout look
at, so that history sent today is not closed while it is still arriving. `closed_ns` is when the session
closed by rule, which for a timeout is the deadline and not the moment somebody noticed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import Protocol

from .identity import Identity
from .money import CONTEXT, ZERO
from .usage import Kind, Occurrence

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
DURATION_NS_MAX = 90 * 86_400 * NS_PER_S
"""Work that is said to have taken longer has a start that nobody set, such as 1970: it counts as a moment."""
_MODEL, _TOOL = int(Kind.MODEL), int(Kind.TOOL)
_add = CONTEXT.add
_start_of, _end_of = itemgetter(0), itemgetter(1)


def duration_of(milliseconds: object) -> int:
    """A duration in ns; 0 for what can be none, because the seconds of a session are billed."""
    if type(milliseconds) is not int or not 0 < milliseconds <= DURATION_NS_MAX // NS_PER_MS:
        return 0
    return milliseconds * NS_PER_MS


class State(StrEnum):
    """Where a session stands."""

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"
    IDLE = "IDLE"
    CLOSED = "CLOSED"


class CloseReason(StrEnum):
    """Why a session closed."""

    EXPLICIT = "EXPLICIT"
    TIMEOUT = "TIMEOUT"
    MAX_AGE = "MAX_AGE"


@dataclass(frozen=True, slots=True)
class Policy:
    """When a session idles and closes, in seconds; no maximum age by default."""

    idle_s: int = 60
    timeout_s: int = 3600
    age_s_max: int | None = None


@dataclass(slots=True)
class Totals:
    """Sums over occurrences: exclusive token pools, US dollars, calls of any outcome.

    `tools` is {name: [calls, succeeded]}. Every field is a sum, so taking an occurrence back is exact.
    """

    tool_calls: int = 0
    tools: dict[str, list[int]] = field(default_factory=dict)
    steps: int = 0
    model_calls: int = 0
    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0
    provider_cost: Decimal = ZERO
    unpriced_calls: int = 0
    revenue: Decimal = ZERO
    events: int = 0

    def add(self, occurrences: Sequence[Occurrence], sign: int = 1) -> None:
        """Count occurrences, or with sign -1 take them back."""
        calls = model_calls = input_ = output = reasoning = cache_read = cache_write = unpriced = 0
        provider_cost = revenue = ZERO
        for occurrence in occurrences:
            (kind, _, _, _, _, each, each_model, each_input, each_output, each_reasoning, each_read, each_write, _,
             cost, reason, _, earned) = occurrence  # fmt: skip
            calls += each
            if each_model or kind == _MODEL:
                model_calls += each_model
                input_ += each_input
                output += each_output
                reasoning += each_reasoning
                cache_read += each_read
                cache_write += each_write
                if reason:
                    unpriced += 1
            if kind == _TOOL:
                self._add_tool(occurrence, sign)
            if cost:
                provider_cost = _add(provider_cost, cost)
            if earned:
                revenue = _add(revenue, earned)
        self.events += sign * len(occurrences)
        self.steps += sign * calls
        self.model_calls += sign * model_calls
        self.input += sign * input_
        self.output += sign * output
        self.reasoning += sign * reasoning
        self.cache_read += sign * cache_read
        self.cache_write += sign * cache_write
        self.unpriced_calls += sign * unpriced
        if sign < 0:
            provider_cost, revenue = provider_cost.copy_negate(), revenue.copy_negate()
        self.provider_cost = _add(self.provider_cost, provider_cost)
        self.revenue = _add(self.revenue, revenue)

    def _add_tool(self, occurrence: Occurrence, sign: int) -> None:
        calls = sign * occurrence.calls
        if not calls:
            return
        self.tool_calls += calls
        tool = self.tools.setdefault(occurrence.label, [0, 0])
        tool[0] += calls
        tool[1] += calls * (occurrence.status == "SUCCESS")
        if not tool[0]:
            del self.tools[occurrence.label]


class Work(Protocol):
    """Something that took time in a session: a span, or an event that was submitted."""

    @property
    def start_ns(self) -> int:
        """When it began, in ns since 1970."""

    @property
    def end_ns(self) -> int:
        """When it ended."""

    @property
    def span_id(self) -> int:
        """Breaks ties between what began at the same time."""


@dataclass(slots=True)
class Session:
    """A session as it is stored; see the module for its times.

    `active` are the stretches of work as (start, end) in ns, in order: gaps no longer than the idle
    timeout belong to them, longer ones were pauses. `spans` counts spans and submitted events, `lead` is the
    earliest of them, whose identity the session shows. `late` sums what arrived after the close and was
    booked as adjustments.
    """

    session_no: int
    tenant_no: int
    customer_id: str
    session_id: str
    lead: Identity
    lead_start_ns: int = 0
    lead_span_id: int = 0
    spans: int = 0
    first_ns: int = 0
    last_ns: int = 0
    active: list[tuple[int, int]] = field(default_factory=list)
    created_ns: int = 0
    touched_ns: int = 0
    closed_ns: int = 0
    close_reason: str = ""
    final_event_no: int = 0
    totals: Totals = field(default_factory=Totals)
    late: Totals = field(default_factory=Totals)

    def deadline_ns(self, policy: Policy) -> tuple[int, CloseReason]:
        """When the session closes by itself if nothing more comes, and why."""
        deadline = self.touched_ns + policy.timeout_s * NS_PER_S
        if policy.age_s_max is not None:
            oldest = self.created_ns + policy.age_s_max * NS_PER_S
            if oldest <= deadline:
                return oldest, CloseReason.MAX_AGE
        return deadline, CloseReason.TIMEOUT

    def state(self, now_ns: int, policy: Policy) -> State:
        """The state at a moment, from stored times alone."""
        if self.closed_ns:
            return State.CLOSED
        if not self.spans:
            return State.CREATED
        idle_ns = policy.idle_s * NS_PER_S
        return State.IDLE if now_ns - self.touched_ns >= idle_ns else State.ACTIVE

    def join(self, spans: Sequence[Work], identity: Identity, now_ns: int, idle_ns: int) -> None:
        """Take in spans, or events, of one identity that have just arrived."""
        first = spans[0]
        begun, ended = first.start_ns, first.end_ns
        for span in spans:
            start_ns, end_ns = span.start_ns, span.end_ns
            if start_ns <= ended + idle_ns and end_ns >= begun - idle_ns:
                begun, ended = min(begun, start_ns), max(ended, end_ns)
            else:
                self.cover(start_ns, end_ns, idle_ns)
            if start_ns <= first.start_ns and (start_ns, span.span_id) < (first.start_ns, first.span_id):
                first = span
        self.cover(begun, ended, idle_ns)
        self.leads(first.start_ns, first.span_id, identity)
        self.spans += len(spans)
        self.touched_ns = now_ns

    def cover(self, start_ns: int, end_ns: int, idle_ns: int) -> None:
        """Count a span's time as activity; the order of calls does not matter."""
        active = self.active
        if len(active) == 1:  # nearly always: work without a pause
            begun, ended = active[0]
            if start_ns >= begun and end_ns <= ended:
                return
            if start_ns <= ended + idle_ns and end_ns >= begun - idle_ns:
                self.first_ns = begun = min(begun, start_ns)
                self.last_ns = ended = max(ended, end_ns)
                active[0] = (begun, ended)
                return
        elif not active:
            self.first_ns, self.last_ns = start_ns, end_ns
            active.append((start_ns, end_ns))
            return
        self.first_ns = min(self.first_ns, start_ns)
        self.last_ns = max(self.last_ns, end_ns)
        # Those that it touches, pauses too short to be one included; a long session may have thousands.
        begin = bisect_left(active, start_ns - idle_ns, key=_end_of)
        behind = bisect_right(active, end_ns + idle_ns, key=_start_of)
        if begin < behind:
            start_ns, end_ns = min(start_ns, active[begin][0]), max(end_ns, active[behind - 1][1])
        active[begin:behind] = [(start_ns, end_ns)]

    def leads(self, start_ns: int, span_id: int, identity: Identity) -> None:
        """Show the identity of the earliest span, ties broken by span id."""
        if self.spans and start_ns > self.lead_start_ns:
            return
        if not self.spans or (start_ns, span_id) < (self.lead_start_ns, self.lead_span_id):
            self.lead, self.lead_start_ns, self.lead_span_id = identity, start_ns, span_id

    @property
    def active_ns(self) -> int:
        """Time at work, pauses left out."""
        return sum(end - start for start, end in self.active)
