"""`aforo intake balance|quarantine`: the books of what came in, and what was set aside dealt with."""

from __future__ import annotations

import sys
from typing import Any

import click

from .client import Client, asking
from .exits import CONFLICT, FAILED, OK, USAGE, Failure, run
from .printing import formatted, print_list, print_one

_COLUMNS = ("receivedAt", "door", "code", "detail", "traceId", "spanId", "quarantineId")


def main(argv: list[str]) -> int:
    """Show what came in and what was set aside: balance, quarantine."""
    return run(intake, "intake", argv)


@click.group(help=main.__doc__)
def intake() -> None:
    """Show what came in and what was set aside."""


@intake.command()
@formatted
@asking
def balance(client: Client, shape: str) -> None:
    """Received = recorded + duplicates + conflicts + rejected."""
    print_one(client.get("/v1/intake/balance"), shape)


@intake.command()
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most items to show.")
@click.option("--assign", type=int, metavar="ID", help="Let --customer pay for this item.")
@click.option("--customer", help="Who pays for the item that is assigned.")
@click.option("--replay", type=int, metavar="ID", help="Submit this item again.")
@formatted
@asking
def quarantine(
    client: Client, limit: int, assign: int | None, customer: str | None, replay: int | None, shape: str
) -> int:
    """What was set aside, latest first, with the reason; or deal with one item of it."""
    if assign is not None:
        if not customer:
            raise Failure(USAGE, "--assign needs --customer. Nothing was changed.")
        return _told(client.send(f"/v1/intake/quarantine/{assign}/assign", {"customerId": customer}), shape)
    if replay is not None:
        return _told(client.send(f"/v1/intake/quarantine/{replay}/replay", {}), shape)
    print_list(client.items("/v1/intake/quarantine", limit), shape, _COLUMNS)
    return OK


def _told(fate: dict[str, Any], shape: str) -> int:
    """Print what became of an item; fails where it stays in quarantine."""
    print_one(fate, shape)
    if fate["refusal"] is not None:
        print(f"it stays in quarantine: {fate['refusal']['detail']}", file=sys.stderr)
    return {"rejected": FAILED, "conflict": CONFLICT}.get(fate["outcome"], OK)
