"""What signatures have in common: HMACs, comparing in constant time, and how old one may be."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from .provider import BadSecret, BadSignature, Incoming

TOLERANCE_S = 300
SECRET_LENGTH_MAX = 4096


def mac_hex(key: bytes, content: bytes) -> str:
    """HMAC-SHA256 in lower-case hexadecimal."""
    return hmac.new(key, content, sha256).hexdigest()


def mac_base64(key: bytes, content: bytes, digest: Callable[..., Any] = sha256) -> str:
    """An HMAC in base64."""
    return base64.b64encode(hmac.new(key, content, digest).digest()).decode()


def require_header(incoming: Incoming, name: str) -> str:
    """The value of a header; raises `BadSignature` without one."""
    value = incoming.headers.get(name.lower(), "").strip()
    if not value:
        raise BadSignature(f"there is no header {name}")
    return value


def require_match(given: Iterable[str], expected: Sequence[str]) -> None:
    """Raise `BadSignature` unless one of the signatures is one of those expected.

    Every pair is compared, each in constant time, so that the time says nothing about either.
    """
    matches = 0
    wanted = [text.encode() for text in expected]
    for signature in given:
        said = signature.encode("utf-8", "replace")
        for text in wanted:
            matches += hmac.compare_digest(said, text)
    if not matches:
        raise BadSignature("the signature is of none of the source's secrets")


def seconds(text: str) -> int:
    """A time in whole seconds since 1970 from a header; raises `BadSignature`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise BadSignature(f"{text[:40]!r} is no time in seconds since 1970")
    return int(text)


def require_recent(sent_s: int, now_s: int, tolerance_s: int = TOLERANCE_S) -> None:
    """Raise `BadSignature` for what was signed too long ago: somebody may have kept it."""
    if sent_s < now_s - tolerance_s:
        raise BadSignature(f"it was signed {now_s - sent_s} s ago, {tolerance_s} s are allowed")


def require_not_early(sent_s: int, now_s: int, tolerance_s: int = TOLERANCE_S) -> None:
    """Raise `BadSignature` for what was signed in the future."""
    if sent_s > now_s + tolerance_s:
        raise BadSignature(f"it was signed {sent_s - now_s} s in the future, {tolerance_s} s are allowed")


def check_text_secret(secret: str) -> None:
    """Raise `BadSecret` for a shared secret that is blank or absurdly long."""
    if not secret.strip() or len(secret) > SECRET_LENGTH_MAX:
        raise BadSecret(f"a secret has 1 to {SECRET_LENGTH_MAX} characters")


def mint_text(random: bytes) -> str:
    """A shared secret of random bytes."""
    return random.hex()
