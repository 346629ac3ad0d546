"""`aforo intake balance|quarantine`: the books of what came in."""

from __future__ import annotations

import click

from .client import Client, asking
from .exits import run
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
@formatted
@asking
def quarantine(client: Client, limit: int, shape: str) -> None:
    """What was set aside, latest first, with the reason."""
    print_list(client.items("/v1/intake/quarantine", limit), shape, _COLUMNS)
