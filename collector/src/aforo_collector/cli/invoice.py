"""`aforo invoice preview`: what a customer owes so far."""

from __future__ import annotations

import sys
from typing import Any

import click

from .client import Client, asking
from .exits import run
from .printing import formatted, print_list, print_one, print_table, visible

_COLUMNS = ("metricName", "dimension", "quantity", "unitPrice", "amount", "eventCount")
_EVENT_COLUMNS = (
    "occurredAt",
    "metricName",
    "quantity",
    "toolName",
    "model",
    "sessionId",
    "spanId",
    "eventId",
)
EVENTS_MAX = 100_000


def main(argv: list[str]) -> int:
    """Show what customers owe: preview."""
    return run(invoice, "invoice", argv)


@click.group(help=main.__doc__)
def invoice() -> None:
    """Show what customers owe."""


@invoice.command()
@click.argument("customer")
@click.option("--from", "start", help="First moment, RFC 3339; the first of this month in UTC by default.")
@click.option("--to", "end", help="First moment after it; the first of next month by default.")
@click.option("--line", type=click.IntRange(0), help="Show the usage events of this line, numbered from 0.")
@formatted
@asking
def preview(
    client: Client, customer: str, start: str | None, end: str | None, line: int | None, shape: str
) -> None:
    """What CUSTOMER owes for a period so far."""
    period = {"customerId": customer, "from": start, "to": end}
    if line is not None:
        events = client.items(f"/v1/invoices/preview/lines/{line}/events", EVENTS_MAX, **period)
        print_list(events, shape, _EVENT_COLUMNS)
        return
    found: dict[str, Any] = client.get("/v1/invoices/preview", **period)
    if shape in ("csv", "ndjson"):
        print_list(found["lines"], shape, _COLUMNS)
    else:
        print_one(found, shape, lambda: print_invoice(found))


def print_invoice(found: dict[str, Any]) -> None:
    """The lines of an invoice, its total, and what is not on it."""
    rows = [[str(line[column] or "") for column in _COLUMNS] for line in found["lines"]]
    currency = found["currency"]
    rows += [
        [name, "", "", "", f"{found[name]} {currency}", ""] for name in ("subtotal", "rounding", "total")
    ]
    print_table(_COLUMNS, rows)
    if found.get("provisional"):
        customer = visible(found["customerId"])
        print(f"{customer} is not in the catalog; nothing is billed before it is", file=sys.stderr)
    unpriced = found.get("unpriced") or {}
    if unpriced.get("calls"):
        models = ", ".join(unpriced["models"])
        print(f"not on it: {unpriced['calls']} calls of unknown cost ({models})", file=sys.stderr)
