"""`aforo event list`: usage events."""

from __future__ import annotations

import click

from .client import Client, asking
from .exits import run
from .printing import formatted, print_list

_COLUMNS = (
    "occurredAt", "customerId", "metricName", "quantity", "toolName", "model", "executionStatus", "sessionId",
    "eventId",
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Show usage events: list."""
    return run(event, "event", argv)


@click.group(help=main.__doc__)
def event() -> None:
    """Show usage events."""


@event.command("list")
@click.option("--customer", help="Only of this customer.")
@click.option("--metric", help="Only of this metric.")
@click.option("--session", help="Only of this session.")
@click.option("--trace", help="Only of this trace.")
@click.option("--corrections", is_flag=True, help="With the events that were taken back, and by what.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most events to show.")
@formatted
@asking
def list_events(
    client: Client,
    customer: str | None,
    metric: str | None,
    session: str | None,
    trace: str | None,
    corrections: bool,
    limit: int,
    shape: str,
) -> None:
    """Usage events, net of corrections."""
    events = client.items(
        "/v1/usage-events",
        limit,
        customerId=customer,
        metricName=metric,
        sessionId=session,
        traceId=trace,
        corrections=corrections or None,
    )
    print_list(events, shape, _COLUMNS)
