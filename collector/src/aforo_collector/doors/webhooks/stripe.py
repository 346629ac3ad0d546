"""Stripe: `Stripe-Signature: t=…,v1=…`, HMAC-SHA256 over time and body; one event a delivery.

One payment is told by several types (a charge, its payment intent, its invoice): each has a metric of its own
here, and a source whose metric is set should filter for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .payloads import json_of, object_of, rendered, text_at
from .provider import BadSignature, Incoming, Provider, ProviderEvent, Sample
from .rules import FieldRules, template
from .signing import (
    check_text_secret,
    mac_hex,
    require_header,
    require_match,
    require_recent,
    seconds,
)

HEADER: Final = "Stripe-Signature"
_OBJECT: Final = "$.data.object"
_CUSTOMER: Final = (
    f"{_OBJECT}.metadata.customerId",
    f"{_OBJECT}.metadata.customer_id",
    f"{_OBJECT}.customer.id",
    f"{_OBJECT}.customer",
    f"{_OBJECT}.client_reference_id",
)


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:
    """Raise `BadSignature` unless one of the `v1` signatures is of one of the secrets, and recent."""
    items = [item.partition("=") for item in require_header(incoming, HEADER).split(",")]
    times = [value for name, _, value in items if name == "t"]
    if not times or not all(equals for _, equals, _ in items):
        raise BadSignature(f"{HEADER} has no time")
    sent_s = seconds(times[0])
    content = f"{sent_s}.".encode() + incoming.body
    expected = [mac_hex(secret.encode(), content) for secret in secrets]
    require_match([value for name, _, value in items if name == "v1"], expected)
    require_recent(sent_s, now_s)


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:
    """The header that Stripe would send."""
    return {HEADER: f"t={now_s},v1={mac_hex(secret.encode(), f'{now_s}.'.encode() + incoming.body)}"}


def split(incoming: Incoming) -> list[ProviderEvent]:
    """The event of a delivery."""
    event = object_of(json_of(incoming.body))
    return [ProviderEvent(text_at(event, "id"), text_at(event, "type"), event)]


def _template(metric: str, amount: str) -> FieldRules:
    metadata = {
        "object": f"{_OBJECT}.id", "amount": f"{_OBJECT}.{amount}", "currency": f"{_OBJECT}.currency",
        "livemode": "$.livemode",
    }  # fmt: skip
    return template(metric, customer=_CUSTOMER, time="$.created", metadata=metadata)


def sample(event_id: str, now_s: int) -> Sample:
    """A charge."""
    charge = {"id": "ch_sample", "object": "charge", "customer": "cus_sample", "amount": 1200,
              "currency": "usd", "metadata": {}}  # fmt: skip
    event = {"id": f"evt_{event_id}", "object": "event", "type": "charge.succeeded", "created": now_s,
             "livemode": False, "data": {"object": charge}}  # fmt: skip
    return Sample({"Content-Type": "application/json"}, rendered(event))


PROVIDER = Provider(
    name="stripe",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={
        "charge.succeeded": _template("stripe.charges", "amount"),
        "payment_intent.succeeded": _template("stripe.payments", "amount"),
        "invoice.paid": _template("stripe.invoices", "amount_paid"),
        "invoice.payment_succeeded": _template("stripe.invoice_payments", "amount_paid"),
        "checkout.session.completed": _template("stripe.checkouts", "amount_total"),
    },
    fallback=_template("stripe.events", "amount"),
    check_secret=check_text_secret,
    mint=None,
)
