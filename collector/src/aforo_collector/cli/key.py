"""`aforo key create|list|rotate|revoke|revoke-token|recover`: API keys and clients."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from .client import Client, asking, segment
from .exits import CONFLICT, FAILED, USAGE, Failure, run
from .printing import formatted, print_list, print_one

_COLUMNS = ("id", "name", "type", "environment", "status", "customerId", "accessorId", "scopes", "lastUsedAt")
_KEY = "/v1/api-keys"
_STDIN = "-"


def main(argv: list[str]) -> int:
    """Make, list and end API keys: create, list, rotate, revoke, revoke-token, recover."""
    return run(key, "key", argv)


@click.group(help=main.__doc__)
def key() -> None:
    """Make, list and end API keys."""


@key.command()
@click.option("--name", help="What to call it.")
@click.option("--customer", help="Whose usage it is for; without one it acts for the whole tenant.")
@click.option("--team", help="The customer's team.")
@click.option("--app", help="The app that holds it.")
@click.option("--agent", help="The agent that holds it.")
@click.option("--product-type", help="API, AGENTIC_API, AI_AGENT or MCP_SERVER.")
@click.option("--environment", type=click.Choice(("live", "test")), help="Where it works; live by default.")
@click.option("--scope", "scopes", multiple=True, help="What it may do; may be given more than once.")
@click.option("--expires", metavar="TIME", help="When it ends, RFC 3339; never by default.")
@click.option("--rate-limit", type=click.IntRange(0), help="Requests a minute; 0 is any number.")
@formatted
@asking
def create(
    client: Client,
    app: str | None,
    agent: str | None,
    scopes: tuple[str, ...],
    shape: str,
    **rest: Any,
) -> None:
    """Make a key; its secret is printed this once."""
    if app and agent:
        raise Failure(USAGE, "a key is held by an app or by an agent, not by both. Nothing was made.")
    asked = {
        "name": rest["name"],
        "customerId": rest["customer"],
        "teamId": rest["team"],
        "accessorType": "APP" if app else "AGENT" if agent else None,
        "accessorId": app or agent,
        "productType": rest["product_type"],
        "environment": rest["environment"],
        "scopes": scopes or None,
        "expiresAt": rest["expires"],
        "rateLimitPerMinute": rest["rate_limit"],
    }
    body = {name: value for name, value in asked.items() if value is not None}
    print_one(client.send(_KEY, body), shape)


@key.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the collector."
)
@click.option("--tenant", default="default", show_default=True, help="Made if it is not there.")
@formatted
def recover(data: Path, tenant: str, shape: str) -> None:
    """Make a key that may do everything, on the folder of a collector that is stopped.

    For another tenant's first key, and for the way back in when all keys are lost.
    """
    from aforo_collector.app import operator_key
    from aforo_collector.store.folder_lock import FolderInUse
    from aforo_collector.store.sqlite import StoreError

    if ":" in tenant or not tenant.isprintable() or tenant != tenant.strip() or not tenant:
        raise Failure(USAGE, f"{tenant!r} is no name for a tenant: no colon, no blanks around it.")
    try:
        made, secret = operator_key(data, tenant, "recovered")
    except StoreError as error:
        raise Failure(CONFLICT if isinstance(error, FolderInUse) else FAILED, str(error)) from None
    print_one({"id": made.key_id, "tenantId": tenant, "secret": secret}, shape)


@key.command("list")
@click.option("--customer", help="Only of this customer.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most keys to show.")
@formatted
@asking
def list_keys(client: Client, customer: str | None, limit: int, shape: str) -> None:
    """Keys of the tenant and its test environment."""
    print_list(client.items(_KEY, limit, customerId=customer), shape, _COLUMNS)


@key.command()
@click.argument("key_id")
@formatted
@asking
def rotate(client: Client, key_id: str, shape: str) -> None:
    """Give KEY_ID a new secret; the one before works for five minutes more."""
    rotated = client.send(f"{_KEY}/{segment(key_id)}/rotate", {})
    print_one(rotated, shape)
    print(f"the secret before works until {rotated['previousUntil']}", file=sys.stderr)


@key.command()
@click.argument("key_id")
@click.option("--at", metavar="TIME", help="When, RFC 3339; now by default.")
@formatted
@asking
def revoke(client: Client, key_id: str, at: str | None, shape: str) -> None:
    """End KEY_ID for good, with every token that was issued for it."""
    body = {"at": at} if at else {}
    print_one(client.send(f"{_KEY}/{segment(key_id)}/revoke", body), shape)


@key.command("revoke-token")
@click.argument("token")
@asking
def revoke_token(client: Client, token: str) -> None:
    """End one access TOKEN at once, `-` to read it from stdin; its client goes on."""
    given = sys.stdin.readline() if token == _STDIN else token
    body = urlencode({"token": given.strip()}).encode()
    client.request("POST", "/oauth/revoke", body, {"Content-Type": "application/x-www-form-urlencoded"})
    print("the token opens nothing any more", file=sys.stderr)
