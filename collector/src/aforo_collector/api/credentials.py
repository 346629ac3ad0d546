"""Who asks: the tenant of a request, from its API key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from starlette.datastructures import Headers

from .problems import Problem


class Tenant(NamedTuple):
    """An operator: everything that is read or written belongs to one."""

    tenant_no: int
    tenant_id: str


def digest_of(key: str) -> bytes:
    """What is kept of an API key: its SHA-256."""
    return sha256(key.encode()).digest()


class Credentials:
    """The known keys, and the tenant of requests that carry none, if there is one."""

    def __init__(self, keys: Iterable[tuple[bytes, Tenant]], without_key: Tenant | None = None) -> None:
        self._keys = dict(keys)
        self._without_key = without_key

    @property
    def tenants(self) -> list[Tenant]:
        """Every tenant that a request can be of."""
        found = set(self._keys.values())
        if self._without_key is not None:
            found.add(self._without_key)
        return sorted(found)

    def tenant(self, headers: Headers) -> Tenant:
        """The tenant of a request; raises `Problem` 401 for a key that is missing or not known."""
        key = headers.get("x-api-key")
        if key is None:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                key = None if not scheme else ""
        if key is None:
            if self._without_key is not None:
                return self._without_key
            raise Problem(401, "MISSING_CREDENTIAL", "no API key; send X-API-Key or Authorization: Bearer")
        asked = digest_of(key.strip())
        for digest, tenant in self._keys.items():
            if hmac.compare_digest(digest, asked):
                return tenant
        raise Problem(
            401, "INVALID_CREDENTIAL", "the API key is not known here; nothing was read or recorded"
        )
