"""Who asks: the credential of a request, and what follows from it for tenant, customer and rate."""

from __future__ import annotations

import time
from typing import NamedTuple

from starlette.datastructures import Headers

from aforo_collector.domain.credential import Credential
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.rate_limit import WINDOW_S, seconds, spend
from aforo_collector.service.keyring import Denied, Keyring
from aforo_collector.service.tokens import Tokens

from .access import Access
from .problems import Problem

DEVELOPMENT_KEY = "sk_test_dev"
"""What everybody knows; it opens a development collector alone, which needs no key anyway."""
_FORBIDDEN = ("CREDENTIAL_REVOKED", "CREDENTIAL_SUSPENDED")


class Tenant(NamedTuple):
    """An operator: everything that is read or written belongs to one."""

    tenant_no: int
    tenant_id: str


class Caller(NamedTuple):
    """Who makes a request."""

    tenant: Tenant
    credential: Credential

    @property
    def identity(self) -> Identity:
        """What the credential says of who pays; it wins over what a request says."""
        return self.credential.identity

    def customer(self, asked: str | None) -> str | None:
        """Whose things a request is about: a customer's credential shows its own and nothing else.

        Raises `Problem` 404 for another customer, as for one that does not exist.
        """
        own = self.credential.customer_id
        if own and asked not in (None, own):
            raise Problem(404, "NOT_FOUND", f"there is no customer {asked!r}")
        return own or asked


class Credentials:
    """Tells who makes a request; `developer` is who asks with `DEVELOPMENT_KEY` or no credential, if anybody."""

    def __init__(
        self,
        keyring: Keyring,
        tokens: Tokens,
        rate_per_minute: int | None = None,
        developer: Credential | None = None,
    ) -> None:
        self.keyring = keyring
        self.tokens = tokens
        self._rate_per_minute = rate_per_minute or 0
        self._developer = developer
        self._full_ns: dict[str, int] = {}

    def caller(self, headers: Headers, access: Access | None) -> Caller:
        """Who makes a request with these headers to a route that asks for `access`.

        Raises `Problem`: 401 for a credential that is missing or does not hold, 403 for one that is revoked,
        of another tenant or not allowed to do this, 429 for one that asks too often.
        """
        try:
            credential = self._credential(headers)
        except Denied as denied:
            status = 403 if denied.code in _FORBIDDEN else 401
            raise Problem(status, denied.code, str(denied)) from None
        self._spend(credential)
        named = headers.get("x-tenant-id")
        if named is not None and named not in (credential.tenant_id, credential.owner_id):
            raise Problem(
                403, "TENANT_MISMATCH", "X-Tenant-Id is not the tenant of the credential; leave it away"
            )
        if access is None or not credential.allows(access.scope):
            needed = access.scope if access is not None else "a scope that no credential has"
            raise Problem(403, "INSUFFICIENT_SCOPE", f"this needs {needed}; nothing was read or changed")
        if credential.customer_id and not access.customers:
            raise Problem(403, "OPERATORS_ONLY", "this is not for the credential of a customer")
        return Caller(Tenant(credential.tenant_no, credential.tenant_id), credential)

    def _credential(self, headers: Headers) -> Credential:
        key = headers.get("x-api-key")
        if key is None:
            given = headers.get("authorization")
            if given is None:
                if self._developer is not None:
                    return self._developer
                raise Denied("MISSING_CREDENTIAL", "no API key; send X-API-Key or Authorization: Bearer")
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer":
                key = ""
            elif "." in key:  # keys have no dot in them, tokens two
                return self.tokens.credential_of(key.strip())
        if self._developer is not None and key.strip() == DEVELOPMENT_KEY:
            return self._developer
        return self.keyring.of_key(key.strip())

    def _spend(self, credential: Credential) -> None:
        limit = credential.rate_per_minute
        if limit is None:
            limit = self._rate_per_minute
        if not limit:
            return
        now_ns = time.monotonic_ns()  # a clock that is set back would hold every key up for as long
        spent = spend(self._full_ns.get(credential.key_id, 0), now_ns, limit)
        self._full_ns[credential.key_id] = spent.full_ns
        if not spent.wait_ns:
            return
        wait_s = seconds(spent.wait_ns)
        raise Problem(
            429,
            "RATE_LIMITED",
            f"the key may make {limit} requests a minute; nothing was read or recorded, go on after {wait_s} s",
            members={"retryAfter": wait_s},
            retry_after=str(wait_s),
            x_ratelimit_limit=str(limit),
            x_ratelimit_remaining="0",
            x_ratelimit_reset=str(seconds(spent.full_ns - now_ns)),
            x_ratelimit_window=str(WINDOW_S),
        )
