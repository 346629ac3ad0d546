"""Twilio: `X-Twilio-Signature`, base64 HMAC-SHA1 over the public URL and the sorted fields of the form.

A JSON body is signed through the URL, whose query carries its hash as `bodySHA256`. The query of the URL is
signed as well: paths see it as `$.query`, which is where a status callback's own customer id belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1, sha256
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

from .payloads import FORM, form_of, form_pairs, json_of, object_of, text_at
from .provider import BadSignature, Incoming, MalformedPayload, Provider, ProviderEvent, Sample
from .rules import FieldRules, Rule, template
from .signing import check_text_secret, mac_base64, require_header, require_match

HEADER: Final = "X-Twilio-Signature"
SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
_DIGESTS: Final = {"HMAC_SHA1": sha1, "HMAC_SHA256": sha256}
_KINDS: Final = (
    ("RecordingSid", "recording", ("RecordingStatus",)),
    ("TranscriptionSid", "transcription", ("TranscriptionStatus",)),
    ("MessageSid", "message", ("MessageStatus", "SmsStatus")),
    ("SmsSid", "message", ("SmsStatus",)),
    ("CallSid", "call", ("CallStatus",)),
)


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:  # noqa: ARG001  # the scheme has no time
    """Raise `BadSignature` unless the URL and the form are signed with one of the secrets."""
    signature = require_header(incoming, HEADER)
    digest = _DIGESTS.get(_algorithm(incoming))
    if digest is None:
        raise BadSignature(f"{SETTINGS_HEADER} names no algorithm that is known here")
    fields = _signed_fields(incoming)
    contents = [(url + fields).encode() for url in _spellings(incoming.url)]
    expected = [mac_base64(secret.encode(), content, digest) for secret in secrets for content in contents]
    require_match([signature], expected)


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:  # noqa: ARG001  # as above
    """The header that Twilio would send."""
    return {HEADER: mac_base64(secret.encode(), (incoming.url + _signed_fields(incoming)).encode(), sha1)}


def _algorithm(incoming: Incoming) -> str:
    for part in incoming.headers.get(SETTINGS_HEADER.lower(), "").split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return "HMAC_SHA1"


def _signed_fields(incoming: Incoming) -> str:
    """What the signature covers beside the URL; raises `BadSignature` when the body is not covered at all."""
    if incoming.content_type == FORM or not incoming.body:
        try:
            pairs = sorted(set(form_pairs(incoming.body)))
        except MalformedPayload as error:
            raise BadSignature(str(error)) from None
        return "".join(name + value for name, value in pairs)
    hashes = parse_qs(_query(incoming.url)).get("bodySHA256")
    if not hashes:
        raise BadSignature("the body is no form, and the URL does not carry its hash as bodySHA256")
    require_match(hashes[:1], [sha256(incoming.body).hexdigest()])
    return ""


def _query(url: str) -> str:
    return url.partition("#")[0].partition("?")[2]


def _spellings(url: str) -> tuple[str, str]:
    """The URL with and without its port: Twilio signs either."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadSignature(f"{url[:200]!r} is no URL that Twilio can have called") from None
    if not port:
        other = f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
    else:
        other = parts.netloc.rpartition(":")[0]
    return url, urlunsplit(parts._replace(netloc=other))


def split(incoming: Incoming) -> list[ProviderEvent]:
    """The status that a callback tells, or the events of an Event Streams sink."""
    query = dict(parse_qsl(_query(incoming.url)))
    if incoming.content_type == FORM or not incoming.body:
        return [_callback({"query": query, **form_of(incoming.body)})]
    value = json_of(incoming.body)
    events = value if isinstance(value, list) else [value]
    return [_streamed({"query": query, **object_of(event, "an event")}) for event in events]


def _callback(fields: dict[str, Any]) -> ProviderEvent:
    for sid, kind, statuses in _KINDS:
        if fields.get(sid):
            status = next((fields[name] for name in statuses if fields.get(name)), "received").lower()
            return ProviderEvent(f"{fields[sid]}:{status}", f"{kind}.{status}", fields)
    return ProviderEvent("", "", fields)


def _streamed(event: dict[str, Any]) -> ProviderEvent:
    return ProviderEvent(text_at(event, "id"), text_at(event, "type"), event)


def _template(metric: str, quantity: Rule, time: str | None = None) -> FieldRules:
    metadata = {"sid": "$.MessageSid", "callSid": "$.CallSid", "accountSid": "$.AccountSid"}
    customer = ("$.query.customerId", "$.query.customer_id", "$.AccountSid")
    return template(metric, customer=customer, time=time, quantity=quantity, metadata=metadata)


def _streamed_template(metric: str) -> FieldRules:
    metadata = {"sid": "$.data.messageSid", "accountSid": "$.data.accountSid"}
    customer = ("$.query.customerId", "$.query.customer_id", "$.data.accountSid")
    quantity = Rule(("$.data.numSegments",), 1)
    return template(metric, customer=customer, time="$.time", quantity=quantity, metadata=metadata)


def sample(event_id: str, now_s: int) -> Sample:  # noqa: ARG001  # a callback carries no time
    """A message that was delivered."""
    body = f"MessageSid=SM{event_id}&MessageStatus=delivered&AccountSid=AC00000000&NumSegments=2"
    return Sample({"Content-Type": FORM}, body.encode())


_SEGMENTS = Rule(("$.NumSegments",), 1)

PROVIDER = Provider(
    name="twilio",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={
        "message.delivered": _template("twilio.messages", _SEGMENTS),
        "message.received": _template("twilio.messages_received", _SEGMENTS),
        "call.completed": _template("twilio.call_seconds", Rule(("$.CallDuration",)), "$.Timestamp"),
        "recording.completed": _template("twilio.recording_seconds", Rule(("$.RecordingDuration",))),
        "com.twilio.messaging.message.delivered": _streamed_template("twilio.messages"),
        "com.twilio.messaging.inbound-message.received": _streamed_template("twilio.messages_received"),
    },
    fallback=_template("twilio.events", Rule(constant=1)),
    check_secret=check_text_secret,
    mint=None,
)
