"""Slack: `X-Slack-Signature: v0=…`, HMAC-SHA256 over time and body; events, commands and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .payloads import FORM, form_of, json_of, object_of, rendered, text_at
from .provider import Challenge, Incoming, Provider, ProviderEvent, Sample
from .rules import FieldRules, template
from .signing import (
    check_text_secret,
    mac_hex,
    require_header,
    require_match,
    require_not_early,
    require_recent,
    seconds,
)

HEADER: Final = "X-Slack-Signature"
TIME_HEADER: Final = "X-Slack-Request-Timestamp"


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:
    """Raise `BadSignature` unless time and body are signed with one of the secrets, and recent."""
    stamp = require_header(incoming, TIME_HEADER)
    sent_s = seconds(stamp)
    expected = [_signature(secret, stamp, incoming.body) for secret in secrets]
    require_match([require_header(incoming, HEADER)], expected)
    require_recent(sent_s, now_s)
    require_not_early(sent_s, now_s)


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:
    """The headers that Slack would send."""
    return {TIME_HEADER: str(now_s), HEADER: _signature(secret, str(now_s), incoming.body)}


def _signature(secret: str, stamp: str, body: bytes) -> str:
    return f"v0={mac_hex(secret.encode(), f'v0:{stamp}:'.encode() + body)}"


def split(incoming: Incoming) -> list[ProviderEvent] | Challenge:
    """The event of a delivery, or the challenge with which Slack asks whether the URL is ours."""
    if incoming.content_type == FORM:
        fields = form_of(incoming.body)
        if "payload" in fields:
            return [_interaction(object_of(json_of(fields["payload"].encode()), "`payload`"))]
        return [ProviderEvent(text_at(fields, "trigger_id"), "slash_command", fields)]
    payload = object_of(json_of(incoming.body))
    if payload.get("type") == "url_verification":
        return Challenge({"challenge": text_at(payload, "challenge")})
    kind = text_at(payload, "event", "type") or text_at(payload, "type")
    return [ProviderEvent(text_at(payload, "event_id"), kind, payload)]


def _interaction(payload: dict[str, Any]) -> ProviderEvent:
    return ProviderEvent(text_at(payload, "trigger_id"), text_at(payload, "type"), payload)


def _template(metric: str) -> FieldRules:
    metadata = {"teamId": "$.team_id", "user": "$.event.user", "channel": "$.event.channel"}
    customer = ("$.team_id", "$.team.id")
    return template(metric, customer=customer, time="$.event_time", metadata=metadata)


def sample(event_id: str, now_s: int) -> Sample:
    """A mention of an app."""
    event = {"type": "app_mention", "user": "U0SAMPLE", "channel": "C0SAMPLE", "text": "hello"}
    payload = {"type": "event_callback", "event_id": f"Ev{event_id}", "event_time": now_s,
               "team_id": "T0SAMPLE", "event": event}  # fmt: skip
    return Sample({"Content-Type": "application/json"}, rendered(payload))


PROVIDER = Provider(
    name="slack",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={
        "app_mention": _template("slack.mentions"),
        "message": _template("slack.messages"),
        "slash_command": _template("slack.commands"),
    },
    fallback=_template("slack.events"),
    check_secret=check_text_secret,
    mint=None,
)
