"""`aforo price show|check`: what models cost."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from .client import Client, asking
from .exits import FAILED, NOT_FOUND, OK, Failure, run
from .printing import formatted, print_list, print_one

_COLUMNS = ("model", "reason", "calls")


def main(argv: list[str]) -> int:
    """Show what models cost, and which calls have no price: show, check."""
    return run(price, "price", argv)


@click.group(help=main.__doc__)
def price() -> None:
    """Show what models cost."""


@price.command()
@click.argument("model")
@click.option("--provider", default="", help="Provider as spans name it; the model's own maker by default.")
@click.option("--at", help="Moment of the price, RFC 3339; now by default.")
@formatted
@asking
def show(client: Client, model: str, provider: str, at: str | None, shape: str) -> None:
    """What MODEL costs in US dollars per million tokens."""
    found = client.get(f"/v1/prices/{quote(model, safe='')}", provider=provider or None, at=at)
    print_one(found, shape)
    if "unpriced" in found:
        raise Failure(NOT_FOUND, f"no price of {model!r} is known: {found['unpriced']} ({found['detail']})")


@price.command()
@formatted
@asking
def check(client: Client, shape: str) -> int:
    """Calls whose cost is unknown, by model and reason; fails when there are any."""
    found = client.get("/v1/unpriced")
    print_list(found, shape, _COLUMNS)
    if found:
        print("add [[price_overrides]] to the catalog; the calls are then costed as well", file=sys.stderr)
    return FAILED if found else OK
