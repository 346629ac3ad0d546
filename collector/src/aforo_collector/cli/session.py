"""`aforo session list|show|close|trace`: sessions of agents."""

from __future__ import annotations

from typing import Any

import click

from .client import Client, asking, segment
from .exits import run
from .printing import formatted, print_list, print_one
from .trees import flat_nodes, print_tree

_COLUMNS = (
    "sessionId", "customerId", "agentId", "state", "startedAt", "lastActivityAt", "totals.modelCalls",
    "totals.toolCalls", "totals.tokens.total", "totals.providerCost", "totals.revenue",
)  # fmt: skip
_NODE_COLUMNS = ("name", "operation", "status", "durationMs", "tokens.total", "providerCost", "standing")


def main(argv: list[str]) -> int:
    """Show and close sessions: list, show, close, trace."""
    return run(session, "session", argv)


@click.group(help=main.__doc__)
def session() -> None:
    """Show and close sessions."""


def _path(session_id: str, rest: str = "") -> str:
    return f"/v1/sessions/{segment(session_id)}{rest}"


_customer = click.option("--customer", help="Only of this customer.")


@session.command("list")
@_customer
@click.option(
    "--state", type=click.Choice(("CREATED", "ACTIVE", "IDLE", "CLOSED")), help="Only in this state."
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Most sessions to show."
)
@formatted
@asking
def list_sessions(client: Client, customer: str | None, state: str | None, limit: int, shape: str) -> None:
    """Sessions, newest first."""
    print_list(client.items("/v1/sessions", limit, customerId=customer, state=state), shape, _COLUMNS)


@session.command()
@click.argument("session_id")
@_customer
@formatted
@asking
def show(client: Client, session_id: str, customer: str | None, shape: str) -> None:
    """One session with its totals."""
    print_one(client.get(_path(session_id), customerId=customer), shape)


@session.command()
@click.argument("session_id")
@_customer
@formatted
@asking
def close(client: Client, session_id: str, customer: str | None, shape: str) -> None:
    """Close a session, which writes its final billing event; closing again changes nothing."""
    print_one(client.post(_path(session_id, "/close"), customerId=customer), shape)


@session.command()
@click.argument("session_id")
@_customer
@formatted
@asking
def trace(client: Client, session_id: str, customer: str | None, shape: str) -> None:
    """The tree of a session's spans."""
    tree: dict[str, Any] = client.get(_path(session_id, "/trace"), customerId=customer)
    if shape in ("ndjson", "csv"):
        print_list(flat_nodes(tree), shape, _NODE_COLUMNS)
    else:
        print_one(tree, shape, lambda: print_tree(tree))
