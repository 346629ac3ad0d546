"""`aforo customer list`: who pays, and whom usage names although the catalog does not have them."""

from __future__ import annotations

import click

from .client import Client, asking
from .exits import run
from .printing import formatted, print_list

_COLUMNS = ("id", "provisional", "products")


def main(argv: list[str]) -> int:
    """Show customers: list."""
    return run(customer, "customer", argv)


@click.group(help=main.__doc__)
def customer() -> None:
    """Show customers."""


@customer.command("list")
@click.option(
    "--provisional", is_flag=True, help="Only those that usage names and the catalog does not have."
)
@click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most customers to show."
)
@formatted
@asking
def list_customers(client: Client, provisional: bool, limit: int, shape: str) -> None:
    """Customers by id; what a provisional one uses is kept, and billed once the catalog has it."""
    print_list(client.items("/v1/customers", limit, provisional=provisional or None), shape, _COLUMNS)
