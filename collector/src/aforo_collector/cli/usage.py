"""`aforo usage query`: usage added up by metric, customer, team, agent, tool, model, day or hour."""

from __future__ import annotations

import click

from .client import Client, asking
from .exits import run
from .printing import formatted, print_list

_SUMS = ("quantity", "eventCount", "providerCost", "revenue", "unpricedCalls")


def main(argv: list[str]) -> int:
    """Add usage up: query."""
    return run(usage, "usage", argv)


@click.group(help=main.__doc__)
def usage() -> None:
    """Add usage up."""


@usage.command()
@click.option(
    "--group-by", default="metricName", show_default=True, metavar="KEYS",
    help="metricName, customerId, teamId, agentId, appId, productType, toolName, model, executionStatus, day, "
    "hour; several with commas between them.",
)  # fmt: skip
@click.option("--from", "start", metavar="TIME", help="First moment, RFC 3339; a day is its start in UTC.")
@click.option("--to", "end", metavar="TIME", help="First moment after it.")
@click.option("--customer", help="Only of this customer.")
@click.option("--metric", help="Only of this metric.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Most rows to show.")
@formatted
@asking
def query(
    client: Client,
    group_by: str,
    start: str | None,
    end: str | None,
    customer: str | None,
    metric: str | None,
    limit: int,
    shape: str,
) -> None:
    """Usage by what it is grouped by, net of corrections."""
    rows = client.items(
        "/v1/analytics/usage",
        limit,
        groupBy=group_by,
        customerId=customer,
        metricName=metric,
        to=end,
        **{"from": start},
    )
    keys = group_by.split(",")
    told = ("provisional",) if "customerId" in keys else ()
    print_list(rows, shape, (*keys, *_SUMS, *told))
