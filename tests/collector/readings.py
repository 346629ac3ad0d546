"""What the tests of reading share: a catalog, a reading over an engine, pages walked to their end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.catalog_file import parse
from aforo_collector.service.reading import Reading

from .engine import Engine, span

ACME = {"aforo__customer__id": "acme", "aforo__session__id": "s-1"}
HOUR_NS = 3_600_000_000_000


def catalog() -> Catalog:
    """Two customers, a plan by tool and cost for agents' calls, a plan of its own for agents."""
    return parse({
        "currency": "USD",
        "recorded_metrics": ["*"],
        "billable_units": [{"name": "pages"}, {"name": "scans", "aggregation": "COUNT"}],
        "rate_plans": [
            {
                "code": "pro",
                "base_fee": "5",
                "prices": [
                    {
                        "metric": "agentic_api.tool_calls", "model": "PER_UNIT", "unit_price": "0.002",
                        "dimension": "toolName", "prices": {"lookup": "0.001"},
                    },
                    {"metric": "agentic_api.provider_cost", "model": "COST_PLUS", "markup": "0.20"},
                    {"metric": "agentic_api.sessions", "model": "PER_UNIT", "unit_price": "0.5"},
                    {"metric": "agentic_api.session_seconds", "model": "PER_UNIT", "unit_price": "0.01"},
                    {"metric": "pages", "model": "PER_UNIT", "unit_price": "0.1", "dimension": "size"},
                    {"metric": "scans", "model": "PER_UNIT", "unit_price": "1"},
                ],
            },
            {
                "code": "agents",
                "prices": [
                    {"metric": "ai_agent.output_tokens", "model": "PER_UNIT", "unit_price": "0.00001"},
                    {
                        "metric": "ai_agent.steps", "model": "PER_UNIT", "unit_price": "0.01",
                        "dimension": "agentId",
                    },
                ],
            },
        ],
        "products": [
            {"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"},
            {"code": "bots", "type": "AI_AGENT", "rate_plan": "agents"},
        ],
        "customers": [
            {"id": "acme", "products": ["research", "bots"], "teams": [{"id": "science", "agents": ["a-1"]}]},
            {"id": "globex", "products": ["research"], "teams": [{"id": "ops", "agents": ["a-2"]}]},
        ],
    })  # fmt: skip


@contextmanager
def engine(made_of: Catalog | None = None) -> Iterator[Engine]:
    """A fresh engine in a folder of its own, under the catalog of this module."""
    with TemporaryDirectory() as folder:
        made = Engine(Path(folder), made_of or catalog())
        try:
            yield made
        finally:
            made.database.close()


def reading(made: Engine) -> Reading:
    """The reading side over an engine's store, on the engine's clock."""
    return Reading(made.database, lambda _: made.catalog, made.policy, lambda: made.now_ns)


def chat(
    span_id: int, parent_id: int = 0, model: str = "m-1", tokens: int = 100, **more: Any
) -> dict[str, Any]:
    """A model call with some output and some cached input."""
    usage = {
        "gen_ai__usage__input_tokens": tokens,
        "gen_ai__usage__output_tokens": tokens // 2,
        "gen_ai__usage__cache_read__input_tokens": tokens // 4,
    }
    return span(
        span_id, parent_id, name=f"chat {model}", gen_ai__operation__name="chat", gen_ai__request__model=model,
        **usage, **more,
    )  # fmt: skip


def tool(span_id: int, parent_id: int = 0, name: str = "lookup", **more: Any) -> dict[str, Any]:
    """A tool execution."""
    return span(
        span_id, parent_id, name=f"execute_tool {name}", gen_ai__operation__name="execute_tool",
        gen_ai__tool__name=name, **more,
    )  # fmt: skip


def recorded(span_id: int, metric: str, quantity: str, metadata: str = "{}", **more: Any) -> dict[str, Any]:
    """Usage that a program recorded by hand."""
    return span(
        span_id, name="record_usage", aforo__operation__name="record_usage", aforo__metric__name=metric,
        aforo__quantity=quantity, aforo__metadata=metadata, **more,
    )  # fmt: skip


def every(read: Callable[..., dict[str, Any] | None], **parameters: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        found = read(cursor=cursor, **parameters)
        assert found is not None
        assert len(found["items"]) <= parameters.get("limit", 100)
        items += found["items"]
        cursor = found["nextCursor"]
        if cursor is None:
            return items
        assert found["items"], "a page with a next one has items"


def as_bytes(value: object) -> bytes:
    """The JSON of a wire value."""
    return json.dumps(value).encode()
