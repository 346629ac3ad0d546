"""`aforo webhook sources|deliveries|trigger|replay`: what providers push, and trying it out."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from secrets import token_hex
from typing import Any

import click

from .client import Client, asking, segment
from .exits import FAILED, OK, USAGE, Failure, run
from .printing import formatted, print_list, print_one

_SOURCES = ("sourceId", "provider", "displayName", "metricName", "active", "path")
_DELIVERIES = ("deliveryId", "receivedAt", "sourceId", "outcome", "verified", "sizeBytes", "detail")
_EVENTS = ("eventId", "type", "outcome", "event.customerId", "event.metricName", "event.quantity")
_SECRET = click.option(
    "--secret",
    envvar="AFORO_WEBHOOK_SECRET",
    help="Secret of the source; of SendGrid the key in PEM. @FILE reads one. [AFORO_WEBHOOK_SECRET]",
)


def main(argv: list[str]) -> int:
    """Manage, try and replay webhooks: sources, deliveries, trigger, replay."""
    return run(webhook, "webhook", argv)


@click.group(help=main.__doc__)
def webhook() -> None:
    """Manage, try and replay webhooks."""


@webhook.group(invoke_without_command=True)
@formatted
@asking
@click.pass_context
def sources(context: click.Context, client: Client, shape: str) -> None:
    """The sources; add, rotate and remove change them."""
    if context.invoked_subcommand is None:
        print_list(client.items("/v1/webhook-sources", sys.maxsize), shape, _SOURCES)


@sources.command()
@click.argument("provider")
@click.option("--name", help="What people call it.")
@click.option("--metric", help="Billable unit that the events count for; else the provider's default.")
@click.option("--filter", "event_filter", multiple=True, help="Type of events to bill; may be given often.")
@click.option("--public-url", help="URL that the provider was given, where it is not the one it calls.")
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON with mappings, customerMap, options and whatever has no option here.",
)  # fmt: skip
@_SECRET
@formatted
@asking
def add(
    client: Client,
    provider: str,
    name: str | None,
    metric: str | None,
    event_filter: tuple[str, ...],
    public_url: str | None,
    file: Path | None,
    secret: str | None,
    shape: str,
) -> None:
    """Make a source of PROVIDER: stripe, twilio, sendgrid, github, slack, standard or custom."""
    said: dict[str, Any] = {} if file is None else _read(file)
    said |= {"provider": provider, "displayName": name, "metricName": metric, "publicUrl": public_url}
    said |= {"secret": _secret(secret), "eventFilter": list(event_filter) or said.get("eventFilter")}
    made = client.send("/v1/webhook-sources", _given(said))
    print_one(made, shape)
    hint = (
        "the secret is not shown again"
        if made["secret"]
        else f"once {provider} has the URL and tells its secret: "
        f"aforo webhook sources rotate {made['sourceId']} --secret …; until then deliveries are refused, but kept"
    )
    print(hint, file=sys.stderr)


@sources.command()
@click.argument("source")
@click.option(
    "--grace-s", type=int, help="Seconds for which the secret before still holds; a day by default."
)
@_SECRET
@formatted
@asking
def rotate(client: Client, source: str, grace_s: int | None, secret: str | None, shape: str) -> None:
    """Give SOURCE a new secret, the one of --secret or one that is made."""
    said = _given({"secret": _secret(secret), "graceS": grace_s})
    print_one(client.send(f"/v1/webhook-sources/{segment(source)}/rotate", said), shape)
    print("the secret is not shown again", file=sys.stderr)


@sources.command()
@click.argument("source")
@formatted
@asking
def remove(client: Client, source: str, shape: str) -> None:
    """Take SOURCE out of use; what it brought stays recorded."""
    print_one(client.request("DELETE", f"/v1/webhook-sources/{segment(source)}")["data"], shape)


@webhook.command()
@click.option("--source", help="Only of this source.")
@click.option("--outcome", help="Only with this outcome: accepted, duplicate, filtered, rejected.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most to show.")
@formatted
@asking
def deliveries(client: Client, source: str | None, outcome: str | None, limit: int, shape: str) -> None:
    """What was delivered, latest first, and what became of it."""
    found = client.items("/v1/webhook-deliveries", limit, sourceId=source, outcome=outcome)
    print_list(found, shape, _DELIVERIES)


@webhook.command()
@click.argument("source")
@click.option(
    "--payload", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to send instead of the provider's sample.",
)  # fmt: skip
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Header to send with it.")
@click.option("--event-id", help="Event id of the sample; a new one by default.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of it; needs no secret.")
@_SECRET
@formatted
@asking
def trigger(
    client: Client,
    source: str,
    payload: Path | None,
    headers: tuple[str, ...],
    event_id: str | None,
    dry_run: bool,
    secret: str | None,
    shape: str,
) -> int:
    """Send SOURCE a sample of its provider, signed as the provider signs."""
    from aforo_collector.doors.webhooks.provider import BadSecret, BadSignature, Incoming
    from aforo_collector.doors.webhooks.registry import provider_of

    known = client.get(f"/v1/webhook-sources/{segment(source)}")
    provider = provider_of(known["provider"], known["options"] or {})
    now_s = int(time.time())
    sample = provider.sample(event_id or token_hex(8), now_s)
    body = sample.body if payload is None else payload.read_bytes()
    sent = {**sample.headers, **_pairs(headers)}
    if dry_run:
        return _told(
            client.request("POST", f"/v1/webhook-sources/{segment(source)}/test", body, sent)["data"], shape
        )
    key = _secret(secret)
    if key is None:
        raise Failure(USAGE, "the collector does not show secrets; give --secret, or --dry-run without one")
    url = known["publicUrl"] or client.endpoint + known["path"]
    incoming = Incoming({name.lower(): value for name, value in sent.items()}, url, body)
    try:
        signed = provider.sign(key, incoming, now_s)
    except (BadSecret, BadSignature) as error:
        raise Failure(USAGE, str(error)) from None
    return _told(client.request("POST", known["path"], body, sent | signed)["data"], shape)


@webhook.command()
@click.argument("delivery", required=False)
@click.option("--source", help="Every rejected delivery of this source.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of DELIVERY.")
@formatted
@asking
def replay(client: Client, delivery: str | None, source: str | None, dry_run: bool, shape: str) -> int:
    """Take in again, as the mapping says now: DELIVERY, or with --source all that were rejected."""
    if (delivery is None) == (source is None) or (dry_run and delivery is None):
        raise Failure(USAGE, "give a delivery, or --source; --dry-run goes with a delivery")
    if delivery is not None:
        dry = "?dryRun=true" if dry_run else ""
        return _told(
            client.request("POST", f"/v1/webhook-deliveries/{segment(delivery)}/replay{dry}")["data"], shape
        )
    counts: Counter[str] = Counter()
    cursor: int | None = 0
    path = f"/v1/webhook-sources/{segment(source or '')}/replay"
    while cursor is not None:
        answer = client.request("POST", f"{path}?cursor={cursor}")
        counts.update(answer["data"])
        cursor = answer["meta"]["nextCursor"]
    print_one(counts, shape)
    return FAILED if counts["rejected"] + counts["unverified"] else OK


def _told(receipt: dict[str, Any], shape: str) -> int:
    """Print what became of a delivery; fails where it was rejected."""
    print_one(receipt, shape, lambda: print_list(receipt["events"], shape, _EVENTS))
    print(receipt["outcome"], file=sys.stderr)
    for event in receipt["events"]:
        if event["outcome"] == "rejected":
            print(f"{event['code']}: {event['detail']}", file=sys.stderr)
    return FAILED if receipt["outcome"] == "rejected" else OK


def _secret(given: str | None) -> str | None:
    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text().strip()
    except OSError as error:
        raise Failure(USAGE, f"{given[1:]} cannot be read: {error.strerror}") from None


def _pairs(headers: tuple[str, ...]) -> dict[str, str]:
    pairs = [header.partition(":") for header in headers]
    if not all(mark for _, mark, _ in pairs):
        raise Failure(USAGE, "a header is NAME:VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _given(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        text = file.read_text()
        is_json = file.suffix.lower() == ".json"
        found = (json if is_json else tomllib).loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError) as error:
        raise Failure(USAGE, f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise Failure(USAGE, f"{file} is no table")
    return found
