"""Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,…`; HMAC-SHA256 over all three."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from .payloads import json_of, object_of, rendered, text_at
from .provider import BadSecret, BadSignature, Incoming, Provider, ProviderEvent, Sample
from .rules import CUSTOMER, METRIC, QUANTITY, TIME, FieldRules, Rule
from .signing import (
    SECRET_LENGTH_MAX,
    mac_base64,
    require_header,
    require_match,
    require_not_early,
    require_recent,
    seconds,
)

PREFIX: Final = "whsec_"


def _key(secret: str) -> bytes:
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or len(text) > SECRET_LENGTH_MAX:
        raise BadSecret(f"a secret of Standard Webhooks is base64, mostly after {PREFIX!r}")
    return key


def check_secret(secret: str) -> None:
    """Raise `BadSecret` for what is no base64."""
    _key(secret)


def mint(random: bytes) -> str:
    """A secret of random bytes."""
    return PREFIX + base64.b64encode(random).decode()


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:
    """Raise `BadSignature` unless id, time and body are signed with one of the secrets, and recent."""
    message_id, stamp = require_header(incoming, "webhook-id"), require_header(incoming, "webhook-timestamp")
    sent_s = seconds(stamp)
    require_recent(sent_s, now_s)
    require_not_early(sent_s, now_s)
    expected = [_signature(secret, message_id, sent_s, incoming.body) for secret in secrets]
    given = require_header(incoming, "webhook-signature").split(" ")
    if not all(signature.count(",") == 1 for signature in given):
        raise BadSignature("webhook-signature is no list of version,signature")
    require_match(given, expected)


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:
    """The headers that a sender would send beside the `webhook-id` that is there already."""
    message_id = require_header(incoming, "webhook-id")
    signature = _signature(secret, message_id, now_s, incoming.body)
    return {"webhook-timestamp": str(now_s), "webhook-signature": signature}


def _signature(secret: str, message_id: str, sent_s: int, body: bytes) -> str:
    return f"v1,{mac_base64(_key(secret), f'{message_id}.{sent_s}.'.encode() + body)}"


def split(incoming: Incoming) -> list[ProviderEvent]:
    """The event of a delivery; its id is the message's, which is signed."""
    payload = object_of(json_of(incoming.body))
    return [ProviderEvent(incoming.headers.get("webhook-id", "").strip(), text_at(payload, "type"), payload)]


def _rules(fields: Mapping[str, tuple[str, ...]]) -> FieldRules:
    """Each name of a field, in the data of the event and beside it."""
    rules = {
        field: Rule(tuple(f"$.{place}{name}" for name in names for place in ("data.", "")))
        for field, names in fields.items()
    }
    rules[QUANTITY] = rules[QUANTITY]._replace(constant=1)
    return FieldRules(rules)


USAGE = _rules(
    {
        CUSTOMER: ("customerId", "customer_id", "customer.id", "customer"),
        METRIC: ("metricName", "metric_name", "metric"),
        QUANTITY: ("quantity", "value"),
        TIME: ("occurredAt", "occurred_at", "timestamp"),
    }
)
"""What a sender of usage most likely calls things."""


def sample(event_id: str, now_s: int) -> Sample:
    """A usage event as a sender might name things."""
    headers = {"Content-Type": "application/json", "webhook-id": f"msg_{event_id}"}
    data = {"customerId": "sample", "metricName": "api_calls", "quantity": "3"}
    return Sample(headers, rendered({"type": "usage.recorded", "timestamp": now_s, "data": data}))


PROVIDER = Provider(
    name="standard",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={"*": USAGE},
    fallback=USAGE,
    check_secret=check_secret,
    mint=mint,
)
