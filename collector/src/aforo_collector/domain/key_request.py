"""What somebody asks a new credential to be, and the credential that follows from it.

The kind follows from the product: users of an API hold a bearer token, agents and MCP servers exchange the
secret of a client. Nobody gives away what they do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .catalog import Catalog
from .catalog_edits import subscriptions_of
from .credential import (
    ACCESSORS,
    CUSTOMER_SCOPES,
    ENVIRONMENTS,
    LIVE,
    Credential,
    Scope,
    kind_of,
    tenant_in,
)
from .metrics import PRODUCT_TYPES

ID_LENGTH_MAX: Final = 255
RATE_MAX: Final = 10_000_000
TIME_NS_MAX: Final = 2**63 - 1


class KeyRequestError(ValueError):
    """A request for a credential that makes no sense; `field` is its wire name. Nothing was made."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class NotGranted(Exception):
    """Scopes, or an environment, that the one who asks does not have either. Nothing was made."""


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The fields of the wire; None and empty are "not said". `expires_ns` is nanoseconds since 1970."""

    name: str = ""
    environment: str = ""
    scopes: tuple[str, ...] | None = None
    customer_id: str = ""
    team_id: str = ""
    accessor_type: str = ""
    accessor_id: str = ""
    product_type: str = ""
    subscription_ids: tuple[str, ...] = ()
    expires_ns: int = 0
    rate_per_minute: int | None = None


def environment_of(request: KeyRequest, by: Credential) -> str:
    """Where the credential is to work: where the one who asks does, unless it says otherwise."""
    environment = request.environment or by.environment
    if environment not in ENVIRONMENTS:
        raise KeyRequestError("environment", f"{environment!r} is neither live nor test")
    if environment == LIVE != by.environment:
        raise NotGranted("a test credential makes no live ones")
    return environment


def drafted(request: KeyRequest, by: Credential, catalog: Catalog, key_id: str, now_ns: int) -> Credential:
    """The credential that is asked for, without the number of its tenant and the time of its making.

    `catalog` is the one of its environment. Raises `KeyRequestError` and `NotGranted`.
    """
    environment = environment_of(request, by)
    for field, text in (
        ("name", request.name),
        ("customerId", request.customer_id),
        ("teamId", request.team_id),
        ("accessorId", request.accessor_id),
    ):
        if len(text) > ID_LENGTH_MAX or text != text.strip() or (text and not text.isprintable()):
            raise KeyRequestError(field, f"not printable text of at most {ID_LENGTH_MAX} characters")
    customer_id, product_type = _subscribed(request, catalog)
    if bool(request.accessor_id) != (request.accessor_type in ACCESSORS) or (
        request.accessor_type not in ("", *ACCESSORS)
    ):
        raise KeyRequestError("accessorType", "APP or AGENT, together with accessorId")
    if (request.accessor_id or request.team_id) and not customer_id:
        raise KeyRequestError("customerId", "missing; a team, an app or an agent belongs to a customer")
    if request.expires_ns and request.expires_ns <= now_ns:
        raise KeyRequestError("expiresAt", "is over already")
    check_time("expiresAt", request.expires_ns)
    check_rate(request.rate_per_minute)
    team_id = request.team_id or catalog.team_of(customer_id, request.accessor_id)
    return Credential(
        key_id=key_id,
        tenant_no=0,
        tenant_id=tenant_in(by.owner_id, environment),
        kind=kind_of(product_type),
        scopes=_scopes(request, by, customer_id),
        name=request.name,
        customer_id=customer_id,
        team_id=team_id,
        accessor_type=request.accessor_type,
        accessor_id=request.accessor_id,
        product_type=product_type,
        expires_ns=request.expires_ns,
        rate_per_minute=request.rate_per_minute,
    )


def check_rate(rate_per_minute: int | None) -> None:
    """Raises `KeyRequestError` for a rate that is none."""
    if rate_per_minute is not None and not 0 <= rate_per_minute <= RATE_MAX:
        raise KeyRequestError("rateLimitPerMinute", f"not between 0 (no limit) and {RATE_MAX}")


def check_time(field: str, time_ns: int) -> None:
    """Raises `KeyRequestError` for a time that is so far away that it cannot be kept."""
    if time_ns > TIME_NS_MAX:
        raise KeyRequestError(field, "too far away; leave it away for never")


def _scopes(request: KeyRequest, by: Credential, customer_id: str) -> frozenset[str]:
    if request.scopes is None:
        scopes = frozenset(scope.value for scope in CUSTOMER_SCOPES if by.allows(scope))
    else:
        scopes = frozenset(request.scopes)
    if unknown := sorted(scopes.difference(Scope)):
        raise KeyRequestError("scopes", f"{unknown[0]!r} is none of {', '.join(Scope)}")
    if not scopes:
        raise KeyRequestError("scopes", "empty; the credential could do nothing")
    if customer_id and (beyond := sorted(scopes.difference(CUSTOMER_SCOPES))):
        raise KeyRequestError("scopes", f"{beyond[0]!r} is for operators, not for a customer's credential")
    if not by.allows_all(scopes):
        raise NotGranted(f"a credential gives only scopes that it has: {', '.join(sorted(by.scopes))}")
    return scopes


def _subscribed(request: KeyRequest, catalog: Catalog) -> tuple[str, str]:
    """(customer, product type) that a request states or that follow from its subscriptions."""
    if request.product_type not in ("", *PRODUCT_TYPES):
        raise KeyRequestError("productType", f"none of {', '.join(PRODUCT_TYPES)}")
    customer_id, types = request.customer_id, {request.product_type} - {""}
    known = subscriptions_of(catalog) if request.subscription_ids else {}
    for subscription_id in request.subscription_ids:
        found = known.get(subscription_id)
        if found is None or found.customer_id != (customer_id or found.customer_id):
            raise KeyRequestError("subscriptionIds", f"the customer has no subscription {subscription_id!r}")
        customer_id = found.customer_id
        types.add(found.product_type)
    if len({kind_of(product_type) for product_type in types}) > 1:
        raise KeyRequestError("subscriptionIds", "one credential cannot be for APIs and for agents")
    return customer_id, types.pop() if len(types) == 1 else ""
