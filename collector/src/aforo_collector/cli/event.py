"""`aforo event send|list|history|void|amend`: usage events."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from .client import Client, asking, segment
from .exits import USAGE, Failure, run
from .printing import formatted, print_list, print_one

_COLUMNS = (
    "occurredAt", "customerId", "metricName", "quantity", "toolName", "model", "executionStatus", "sessionId",
    "eventId",
)  # fmt: skip

_HISTORY = (
    "receivedAt",
    "recordedAt",
    "type",
    "eventNo",
    "corrects",
    "voidedBy",
    "metricName",
    "quantity",
    "door",
    "eventId",
)


def main(argv: list[str]) -> int:
    """Usage events: send, list, history, void, amend."""
    return run(event, "event", argv)


@click.group(help=main.__doc__)
def event() -> None:
    """Send, show and correct usage events."""


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


@event.command()
@click.argument("metric")
@click.argument("quantity")
@click.option("--customer", required=True, help="Who pays.")
@click.option("--key", help="Idempotency key; sending again under the same key records nothing twice.")
@click.option("--at", help="When it happened, RFC 3339; now without it.")
@click.option("--session", help="The session that it belongs to.")
@click.option("--metadata", metavar="JSON", help="An object that filters and prices can look at.")
@formatted
@asking
def send(
    client: Client,
    metric: str,
    quantity: str,
    customer: str,
    key: str | None,
    at: str | None,
    session: str | None,
    metadata: str | None,
    shape: str,
) -> None:
    """Record one usage event."""
    said = {"customerId": customer, "metricName": metric, "quantity": _number(quantity), "idempotencyKey": key,
            "occurredAt": at, "sessionId": session, "metadata": _object(metadata)}  # fmt: skip
    print_one(
        client.send("/v1/ingest", {name: value for name, value in said.items() if value is not None}), shape
    )


@event.command()
@click.argument("event_id")
@formatted
@asking
def history(client: Client, event_id: str, shape: str) -> None:
    """As an event was recorded, what took it back, and what was recorded instead."""
    print_list(client.get(f"/v1/usage-events/{segment(event_id)}/history"), shape, _HISTORY)


@event.command()
@click.argument("event_id")
@formatted
@asking
def void(client: Client, event_id: str, shape: str) -> None:
    """Take an event back by a correction event."""
    print_list(client.post(f"/v1/usage-events/{segment(event_id)}/void"), shape, _HISTORY)


@event.command()
@click.argument("event_id")
@click.option("--quantity", help="The right quantity.")
@click.option("--metric", help="The right metric.")
@click.option("--customer", help="Who pays.")
@click.option("--session", help="The session that it belongs to.")
@click.option("--at", help="When it happened, RFC 3339.")
@click.option("--metadata", metavar="JSON", help="The right metadata.")
@formatted
@asking
def amend(
    client: Client,
    event_id: str,
    quantity: str | None,
    metric: str | None,
    customer: str | None,
    session: str | None,
    at: str | None,
    metadata: str | None,
    shape: str,
) -> None:
    """Record a submitted event again with other contents; as it was, it is taken back."""
    said = {
        "quantity": _number(quantity) if quantity else None,
        "metricName": metric,
        "customerId": customer,
        "sessionId": session,
        "occurredAt": at,
        "metadata": _object(metadata),
    }
    changes = {name: value for name, value in said.items() if value is not None}
    if not changes:
        raise Failure(USAGE, "say what is to be changed, like --quantity 5. Nothing was sent.")
    print_list(client.send(f"/v1/usage-events/{segment(event_id)}/amend", changes), shape, _HISTORY)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise Failure(USAGE, f"{text!r} is not a number. Nothing was sent.") from None


def _object(text: str | None) -> Any:
    try:
        found = json.loads(text, parse_float=Decimal) if text else None
    except (ValueError, ArithmeticError) as error:
        raise Failure(USAGE, f"--metadata is not JSON: {error}. Nothing was sent.") from None
    if found is not None and not isinstance(found, dict):
        raise Failure(USAGE, "--metadata is not a JSON object. Nothing was sent.")
    return found
