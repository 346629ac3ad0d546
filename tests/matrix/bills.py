"""What the collector makes of a cell's spans, and what it should make of what the server served."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.usage import Kind
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector.engine import RATES, Engine
from tests.collector.readings import every, reading
from tests.collector.test_intake_properties import net_events, roll_ups, sessions
from tests.fake_openai import Served
from tests.matrix import story
from tests.matrix.cells import CUSTOMER
from tests.matrix.expectations import Expected, Models, Tools

UNKNOWN = {"missing", "zero_on_success", "partial"}
POOLS = ("input", "cacheRead", "cacheWrite", "output", "reasoning")
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Bill:
    """Exclusive token pools; USD; model calls; how many of them are flagged as unknown, and how many because
    their pools are estimated; tools as (calls, succeeded) by name.
    """

    tokens: dict[str, int]
    cost: Decimal
    model_calls: int
    unknown: int
    estimated: int
    tools: dict[str, tuple[int, int]]


def bill_of(bodies: Sequence[bytes]) -> Bill:
    """Take the bodies in one by one and add up what all sessions of the customer say, adjustments included.

    Raises:
        AssertionError: when a call is billed to nobody.
    """
    with _collector(bodies) as made:
        for body in bodies:
            made.send(body)
        assert not every(reading(made).quarantine, tenant_no=made.tenant_no), "every span says who pays"
        totals = [
            view[part]
            for view in every(reading(made).sessions, tenant_no=made.tenant_no, customer_id=CUSTOMER)
            for part in ("totals", "adjustments")
            if part in view
        ]
        qualities = [
            occurrence.quality
            for _, _, occurrence in net_events(made).values()
            if occurrence.kind == Kind.MODEL
        ]
    tools: Counter[str] = Counter()
    succeeded: Counter[str] = Counter()
    for total in totals:
        for name, by_name in total["toolCallsByName"].items():
            tools[name] += by_name["calls"]
            succeeded[name] += by_name["succeeded"]
    return Bill(
        {pool: sum(total["tokens"][pool] for total in totals) for pool in POOLS},
        sum((Decimal(total["providerCost"]) for total in totals), Decimal(0)),
        sum(total["modelCalls"] for total in totals),
        sum(quality in UNKNOWN for quality in qualities),
        qualities.count("estimated"),
        {name: (calls, succeeded[name]) for name, calls in tools.items()},
    )


def due(served: Sequence[Served], expected: Expected) -> Bill:
    """The bill for what the server served, as far as the instrumentations can know it."""
    seen = expected.models in {Models.EXACT, Models.TOTALS, Models.FLAGGED}
    told = [call for call in served if seen and call.usage_sent]
    tokens = dict.fromkeys(POOLS, 0)
    for call in told:
        split = 0 if expected.models is Models.TOTALS else call.reasoning_tokens
        tokens["input"] += call.prompt_tokens - call.cached_tokens
        tokens["cacheRead"] += call.cached_tokens
        tokens["output"] += call.completion_tokens - split
        tokens["reasoning"] += split
    rates = (RATES.input, RATES.cache_read, RATES.cache_write_5m, RATES.output, RATES.reasoning)
    cost = sum(
        (tokens[pool] * (rate or Decimal(0)) for pool, rate in zip(POOLS, rates, strict=True)), Decimal(0)
    )
    tools = {} if expected.tools is Tools.UNSEEN else {story.RESEARCH: (1, 1), story.CONVERT: (1, 0)}
    calls = len(served) if seen else 0
    return Bill(tokens, cost, calls, calls - len(told), 0, tools)


def statement(transactions: Sequence[Sequence[bytes]]) -> bytes:
    """Everything that users see of the spans, as bytes: usage, sessions, roll-ups."""
    with _collector([body for bodies in transactions for body in bodies]) as made:
        for bodies in transactions:
            made.send(*bodies)
        everything = (sorted(net_events(made).items()), sorted(sessions(made).items()), roll_ups(made))
        return repr(everything).encode()


def shuffled(bodies: Sequence[bytes], seed: int) -> list[list[bytes]]:
    """The same spans in another order, some of them twice, in other batches, in other transactions.

    Those that close a session stay last: what comes after them is an adjustment, as it should be.
    """
    chance = random.Random(seed)
    spans = [one for body in bodies for one in _single(body)]
    spans += chance.sample(spans, k=len(spans) // 4)
    chance.shuffle(spans)
    spans.sort(key=_closes, reverse=True)  # they are taken from the end
    transactions: list[list[bytes]] = [[]]
    while spans:
        batch = ExportTraceServiceRequest()
        for _ in range(min(len(spans), chance.randint(1, 6))):
            batch.MergeFrom(spans.pop())
        if chance.random() < 0.5:
            transactions.append([])
        transactions[-1].append(batch.SerializeToString())
    return [bodies for bodies in transactions if bodies]


def _single(body: bytes) -> Iterator[ExportTraceServiceRequest]:
    """One request for each span of a body, with its scope and its resource."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                alone = ExportTraceServiceRequest()
                group = alone.resource_spans.add(resource=resource.resource)
                group.scope_spans.add(scope=scope.scope).spans.append(span)
                yield alone


def closing_last(bodies: Sequence[bytes]) -> list[bytes]:
    """The bodies as they came, but for the spans that close a session: those stand alone at the end."""
    spans = [one for body in bodies for one in _single(body)]
    closing = [one.SerializeToString() for one in spans if _closes(one)]
    if not closing:
        return list(bodies)
    return [one.SerializeToString() for one in spans if not _closes(one)] + closing


def _closes(alone: ExportTraceServiceRequest) -> bool:
    return alone.resource_spans[0].scope_spans[0].spans[0].name == "session_end"


@contextmanager
def _collector(bodies: Sequence[bytes]) -> Iterator[Engine]:
    """A fresh engine whose clock stands a second after the last span."""
    ends: list[Any] = [
        span.end_time_unix_nano
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    with TemporaryDirectory() as folder:
        made = Engine(Path(folder), Catalog(recorded_metrics=("*",)))
        made.now_ns = max(ends) + SECOND_NS
        try:
            yield made
        finally:
            made.database.close()
