"""SendGrid: an ECDSA signature over time and body, and an array of events in each delivery.

The secret of a source is the public key that SendGrid shows. Deliveries are tried for a day, so a day is how
old a signature may be; an event is billed once in any case, by its `sg_event_id`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from .payloads import json_of, object_of, rendered, text_at
from .provider import BadSecret, BadSignature, Incoming, Provider, ProviderEvent, Sample
from .rules import FieldRules, template
from .signing import TOLERANCE_S, require_header, require_not_early, require_recent, seconds

HEADER: Final = "X-Twilio-Email-Event-Webhook-Signature"
TIME_HEADER: Final = "X-Twilio-Email-Event-Webhook-Timestamp"
AGE_S_MAX: Final = 86_400 + TOLERANCE_S
_ALGORITHM: Final = ec.ECDSA(SHA256())


@lru_cache(256)
def _public_key(secret: str) -> ec.EllipticCurvePublicKey:
    text = secret.strip()
    if not text.startswith("-----BEGIN"):
        text = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----"
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadSecret("the secret of a SendGrid source is the public key that SendGrid shows (ECDSA)")
    return key


def check_secret(secret: str) -> None:
    """Raise `BadSecret` for what is no public key of an elliptic curve."""
    _public_key(secret)


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:
    """Raise `BadSignature` unless time and body are signed with the private half of one of the keys."""
    try:
        signature = base64.b64decode(require_header(incoming, HEADER), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature(f"{HEADER} is no base64") from None
    stamp = require_header(incoming, TIME_HEADER)
    sent_s = seconds(stamp)
    if not any(_is_signed(secret, signature, stamp.encode() + incoming.body) for secret in secrets):
        raise BadSignature("the signature is of none of the source's keys")
    require_recent(sent_s, now_s, AGE_S_MAX)
    require_not_early(sent_s, now_s)


def _is_signed(secret: str, signature: bytes, content: bytes) -> bool:
    try:
        _public_key(secret).verify(signature, content, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:
    """The headers that SendGrid would send; here the secret is the private key, in PEM."""
    try:
        key = load_pem_private_key(secret.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadSecret("signing for SendGrid needs the private key of the source's public key, in PEM")
    signature = key.sign(str(now_s).encode() + incoming.body, _ALGORITHM)
    return {HEADER: base64.b64encode(signature).decode(), TIME_HEADER: str(now_s)}


def split(incoming: Incoming) -> list[ProviderEvent]:
    """Every event of the array."""
    value = json_of(incoming.body)
    events = value if isinstance(value, list) else [value]
    found = [object_of(event, "an event") for event in events]
    return [ProviderEvent(text_at(event, "sg_event_id"), text_at(event, "event"), event) for event in found]


def _template(metric: str) -> FieldRules:
    # What was given as custom or unique arguments stands beside SendGrid's own fields.
    customer = ("$.customerId", "$.customer_id", "$.unique_args.customer_id", "$.custom_args.customer_id")
    metadata = {"messageId": "$.sg_message_id", "category": "$.category"}
    return template(metric, customer=customer, time="$.timestamp", metadata=metadata)


def sample(event_id: str, now_s: int) -> Sample:
    """Two events of one message, one of which is billed."""
    common = {"email": "someone@example.com", "timestamp": now_s, "sg_message_id": f"m-{event_id}",
              "customer_id": "sample"}  # fmt: skip
    events = [
        common | {"event": kind, "sg_event_id": f"{kind}-{event_id}"} for kind in ("processed", "delivered")
    ]
    return Sample({"Content-Type": "application/json"}, rendered(events))


PROVIDER = Provider(
    name="sendgrid",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={"delivered": _template("sendgrid.emails")},
    fallback=_template("sendgrid.events"),
    check_secret=check_secret,
    mint=None,
)
