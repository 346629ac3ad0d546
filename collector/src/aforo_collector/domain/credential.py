"""Credentials: who may ask for what, and whose usage it is.

An operator's credential acts for the whole tenant; one that names a customer acts for that customer alone.
The test environment of a tenant is a tenant of its own, `<tenant>:test`: what comes in through a test
credential has its own customers, sessions, numbers and invoices, and can be on no live one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .identity import NOBODY, Identity

BEARER: Final = "BEARER_TOKEN"
CLIENT: Final = "CLIENT_CREDENTIALS"
_CLIENT_TYPES: Final = ("AI_AGENT", "MCP_SERVER")
_EXCHANGEABLE: Final = (*_CLIENT_TYPES, "AGENTIC_API")

LIVE: Final = "live"
TEST: Final = "test"
ENVIRONMENTS: Final = (LIVE, TEST)
_TEST_SUFFIX: Final = ":test"

APP: Final = "APP"
AGENT: Final = "AGENT"
ACCESSORS: Final = (APP, AGENT)


class Scope(StrEnum):
    """What a credential may do."""

    USAGE_INGEST = "usage:ingest"
    USAGE_READ = "usage:read"
    QUOTAS_READ = "quotas:read"
    CATALOG_WRITE = "catalog:write"
    KEYS_WRITE = "keys:write"
    ADMIN = "admin"
    """All of them."""


CUSTOMER_SCOPES: Final = frozenset({Scope.USAGE_INGEST, Scope.USAGE_READ, Scope.QUOTAS_READ})
"""What a credential of one customer may do at most, and what a credential may do that names no scopes."""


class Status(StrEnum):
    """Where a credential is in its life; REVOKED is the end of it."""

    ACTIVE = "ACTIVE"
    PENDING_REVOCATION = "PENDING_REVOCATION"
    """Works until a set time."""
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or a client, without its secret.

    `tenant_id` is the tenant whose books it opens, the test environment's for a test credential. Times are
    nanoseconds since 1970; `expires_ns` 0 is never. `rate_per_minute` is how many requests it may make: None
    leaves it to the collector's setting, 0 is any number. An empty string means "none".
    """

    key_id: str
    tenant_no: int
    tenant_id: str
    kind: str = BEARER
    scopes: frozenset[str] = frozenset({Scope.ADMIN})
    name: str = ""
    customer_id: str = ""
    team_id: str = ""
    accessor_type: str = ""
    accessor_id: str = ""
    product_type: str = ""
    status: Status = Status.ACTIVE
    created_ns: int = 0
    expires_ns: int = 0
    rate_per_minute: int | None = None

    @property
    def environment(self) -> str:
        """`live` or `test`."""
        return TEST if self.tenant_id.endswith(_TEST_SUFFIX) else LIVE

    @property
    def owner_id(self) -> str:
        """The tenant that made it, whichever environment it opens."""
        return self.tenant_id.removesuffix(_TEST_SUFFIX)

    @property
    def identity(self) -> Identity:
        """What it says of who pays; `NOBODY` itself when it says nothing."""
        said = Identity(
            self.customer_id,
            self.team_id,
            self.accessor_id if self.accessor_type == AGENT else "",
            self.accessor_id if self.accessor_type == APP else "",
            self.product_type,
        )
        return NOBODY if said == NOBODY else said

    @property
    def exchangeable(self) -> bool:
        """Whether /oauth/token gives a token for it."""
        return self.kind == CLIENT or self.product_type in _EXCHANGEABLE

    def allows(self, scope: str) -> bool:
        """Whether it may do what a scope names."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def allows_all(self, scopes: frozenset[str]) -> bool:
        """Whether it may do everything that the scopes name."""
        return all(self.allows(scope) for scope in scopes)

    def status_at(self, now_ns: int) -> Status:
        """Its status at a moment: what was to end by then has ended."""
        return Status.REVOKED if self.is_over(now_ns) else self.status

    def is_over(self, now_ns: int) -> bool:
        """Whether its time has run out."""
        return bool(self.expires_ns) and self.expires_ns <= now_ns


def kind_of(product_type: str) -> str:
    """The kind of credential that the users of a product type have."""
    return CLIENT if product_type in _CLIENT_TYPES else BEARER


def tenant_in(owner_id: str, environment: str) -> str:
    """The tenant that is an environment of a tenant."""
    return owner_id + _TEST_SUFFIX if environment == TEST else owner_id


def secret_prefix(credential: Credential) -> str:
    """How the secret of a credential begins, so that people and scanners know what they have found."""
    if credential.kind == CLIENT:
        kind = "cs"
    else:
        kind = "sk" if credential.customer_id else "afo"
    return f"{kind}_{credential.environment}_"
