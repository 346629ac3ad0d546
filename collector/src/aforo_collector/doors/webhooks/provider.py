"""What every provider of webhooks has: a signature, a way its payloads split into events, and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .rules import FieldRules


class BadSignature(Exception):
    """A delivery that none of the secrets has signed, or signed too long ago; nothing of it is believed."""


class MalformedPayload(Exception):
    """A delivery that is signed and cannot be read; says why."""


class BadSecret(ValueError):
    """A secret that cannot verify anything; says what one looks like."""


class Incoming(NamedTuple):
    """One delivery as it came: headers by lower-case name, the URL that the provider called, the raw bytes."""

    headers: Mapping[str, str]
    url: str
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class ProviderEvent(NamedTuple):
    """One event of a delivery: the provider's id and type for it, and what paths look at.

    `position` tells apart events that share an id, "" where each has its own. An empty id means none was found.
    """

    event_id: str
    type: str
    payload: dict[str, Any]
    position: str = ""


class Challenge(NamedTuple):
    """A delivery that only asks whether somebody is there; `answer` is the JSON to give back."""

    answer: Mapping[str, str]


class Sample(NamedTuple):
    """A body as the provider would send it, with the headers that say what it is."""

    headers: Mapping[str, str]
    body: bytes


class Provider(NamedTuple):
    """A provider's scheme.

    `verify(secrets, incoming, now_s)` raises `BadSignature`. `split(incoming)` raises `MalformedPayload`.
    `templates` are the events that are billed without any mapping, by type; `fallback` is for those that a
    source asks for by name. `sign(secret, incoming, now_s)` gives the headers that `verify` accepts,
    `sample(event_id, now_s)` a payload to try them with. `check_secret` raises `BadSecret`. `mint` makes a
    secret from random bytes, None where only the provider can give one.
    """

    name: str
    verify: Callable[[Sequence[str], Incoming, int], None]
    split: Callable[[Incoming], Sequence[ProviderEvent] | Challenge]
    sign: Callable[[str, Incoming, int], dict[str, str]]
    sample: Callable[[str, int], Sample]
    templates: Mapping[str, FieldRules]
    fallback: FieldRules
    check_secret: Callable[[str], None]
    mint: Callable[[bytes], str] | None
