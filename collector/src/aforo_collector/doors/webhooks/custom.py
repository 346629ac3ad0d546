"""Any other sender: HMAC-SHA256 over the body, in a header and an encoding that the source names.

signatureHeader      X-Hub-Signature-256 by default; a scheme before `=` (`sha256=…`) is left away
signatureEncoding    hex (default) or base64
timestampHeader      none by default; with it `{time}.{body}` is signed, and not longer ago than 300 s
eventsPath           where the events of a delivery are; by default the body is one, or an array of them
eventIdPath          where the id of an event is; by default its id, eventId or idempotencyKey, else the
                     body's beside eventsPath, with the position
eventTypePath        where the type of an event is; by default its type, event or eventType
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from .paths import Budget, InvalidPath, check_path, values_at
from .payloads import json_of, object_of, rendered, text_at
from .provider import Incoming, Provider, ProviderEvent, Sample
from .signing import (
    check_text_secret,
    mac_base64,
    mac_hex,
    mint_text,
    require_header,
    require_match,
    require_not_early,
    require_recent,
    seconds,
)
from .standard import USAGE

Options = Mapping[str, str]

DEFAULTS: Final = {"signatureHeader": "X-Hub-Signature-256", "signatureEncoding": "hex"}
PATHS: Final = ("eventsPath", "eventIdPath", "eventTypePath")
_IDS: Final = ("id", "eventId", "event_id", "idempotencyKey", "idempotency_key")
_TYPES: Final = ("type", "event", "eventType", "event_type")
_HEADER_LENGTH_MAX: Final = 100


class BadOption(ValueError):
    """An option that a source cannot have; `name` is that of the option."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name


def check_options(options: Options) -> None:
    """Raise `BadOption` for one that is not known or cannot be used."""
    for name, value in options.items():
        if name in PATHS:
            try:
                check_path(value)
            except InvalidPath as error:
                raise BadOption(name, str(error)) from None
        elif name in ("signatureHeader", "timestampHeader"):
            if not value or len(value) > _HEADER_LENGTH_MAX or not value.replace("-", "").isalnum():
                raise BadOption(name, f"{value[:40]!r} is no name of a header")
        elif name != "signatureEncoding":
            raise BadOption(name, f"is none of {', '.join((*DEFAULTS, 'timestampHeader', *PATHS))}")
        elif value not in ("hex", "base64"):
            raise BadOption(name, f"{value[:40]!r} is neither hex nor base64")


def _verify(options: Options, secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:
    given = require_header(incoming, options["signatureHeader"])
    scheme, equals, rest = given.partition("=")
    if equals and rest.strip("="):  # padding of base64 is no scheme
        given = rest if scheme.isalnum() else given
    if options["signatureEncoding"] == "hex":
        given = given.lower()
    sent_s = None
    if header := options.get("timestampHeader"):
        sent_s = seconds(require_header(incoming, header))
    require_match([given], [_signature(options, secret, incoming.body, sent_s) for secret in secrets])
    if sent_s is not None:
        require_recent(sent_s, now_s)
        require_not_early(sent_s, now_s)


def _sign(options: Options, secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:
    header = options.get("timestampHeader")
    if header is None:
        return {options["signatureHeader"]: _signature(options, secret, incoming.body, None)}
    return {header: str(now_s), options["signatureHeader"]: _signature(options, secret, incoming.body, now_s)}


def _signature(options: Options, secret: str, body: bytes, sent_s: int | None) -> str:
    content = body if sent_s is None else f"{sent_s}.".encode() + body
    return (mac_hex if options["signatureEncoding"] == "hex" else mac_base64)(secret.encode(), content)


def _split(options: Options, incoming: Incoming) -> list[ProviderEvent]:
    value, budget = json_of(incoming.body), Budget()
    if path := options.get("eventsPath"):
        found = values_at(path, object_of(value), budget)
        events = found[0] if len(found) == 1 and isinstance(found[0], list) else found
        common_id = _first(value, _IDS)
    else:
        events, common_id = value if isinstance(value, list) else [value], ""
    read = [_event(options, object_of(event, "an event"), budget) for event in events]
    return [
        event if event.event_id else event._replace(event_id=common_id, position=str(position))
        for position, event in enumerate(read)
    ]


def _event(options: Options, event: dict[str, Any], budget: Budget) -> ProviderEvent:
    event_id = _text_of(options.get("eventIdPath"), _IDS, event, budget)
    return ProviderEvent(event_id, _text_of(options.get("eventTypePath"), _TYPES, event, budget), event)


def _text_of(path: str | None, names: Sequence[str], event: dict[str, Any], budget: Budget) -> str:
    if path is None:
        return _first(event, names)
    found = values_at(path, event, budget)
    return text_at({"found": found[0]}, "found") if len(found) == 1 else ""


def _first(event: dict[str, Any], names: Sequence[str]) -> str:
    return next((text for name in names if (text := text_at(event, name))), "")


def sample(event_id: str, now_s: int) -> Sample:
    """A usage event as a sender might name things."""
    event = {"id": event_id, "type": "usage", "customerId": "sample", "metricName": "api_calls",
             "quantity": "3", "timestamp": now_s}  # fmt: skip
    return Sample({"Content-Type": "application/json"}, rendered(event))


def provider(options: Options) -> Provider:
    """The provider of a source with these options, which are checked."""
    held = DEFAULTS | dict(options)
    return Provider(
        name="custom",
        verify=partial(_verify, held),
        split=partial(_split, held),
        sign=partial(_sign, held),
        sample=sample,
        templates={"*": USAGE},
        fallback=USAGE,
        check_secret=check_text_secret,
        mint=mint_text,
    )


PROVIDER = provider({})
