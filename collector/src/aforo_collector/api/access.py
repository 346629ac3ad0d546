"""Who may come where: the scope that each route asks for, by noun.

A route that no line speaks of opens to nobody, and a test lists the routes, so none is forgotten. Lines hold
for everything below their path; the longest one wins.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aforo_collector.domain.credential import Scope

READING: Final = frozenset({"GET", "HEAD"})


class Access(NamedTuple):
    """The scope that is needed ("" is none, not even a credential), and whether a customer's will do.

    Where a customer's credential may come, the route asks `customer_asked` or `Caller.identity` whose things
    it may show or record.
    """

    scope: str
    customers: bool = False


OPEN: Final = Access("", customers=True)
INGEST: Final = Access(Scope.USAGE_INGEST, customers=True)
_SHOW: Final = Access(Scope.USAGE_READ, customers=True)
_SHOW_ALL: Final = Access(Scope.USAGE_READ)
_QUOTAS: Final = Access(Scope.QUOTAS_READ, customers=True)
_SELL: Final = Access(Scope.CATALOG_WRITE)
KEYS: Final = Access(Scope.KEYS_WRITE)
_RUN: Final = Access(Scope.ADMIN)

# path, what reading asks for, what everything else asks for
_LINES: Final = (
    ("/livez", OPEN, _RUN),
    ("/readyz", OPEN, _RUN),
    ("/metrics", OPEN, _RUN),
    ("/openapi.json", OPEN, _RUN),
    ("/.well-known/jwks.json", OPEN, _RUN),
    ("/oauth/token", _RUN, OPEN),
    ("/oauth/revoke", _RUN, OPEN),  # who may is for OAuth to say, with its own errors
    ("/v1/traces", _RUN, INGEST),
    ("/v1/ingest", _RUN, INGEST),
    ("/v1/ingest/webhook", _RUN, OPEN),  # the provider's signature is the credential
    ("/v1/meter", _RUN, INGEST),
    ("/v1/quota", _RUN, _QUOTAS),
    ("/v1/sessions", _SHOW, INGEST),
    ("/v1/usage-events", _SHOW, _RUN),
    ("/v1/analytics", _SHOW, _RUN),
    ("/v1/invoices", _SHOW, _RUN),
    ("/v1/intake", _SHOW_ALL, _RUN),
    ("/v1/uploads", _SHOW, _RUN),
    ("/v1/unpriced", _SHOW_ALL, _RUN),
    ("/v1/prices", _SHOW_ALL, _RUN),
    ("/v1/webhook-sources", _SELL, _SELL),
    ("/v1/webhook-deliveries", _SHOW_ALL, _RUN),
    ("/v1/catalog", _SHOW_ALL, _SELL),
    ("/v1/products", _SHOW_ALL, _SELL),
    ("/v1/billable-units", _SHOW_ALL, _SELL),
    ("/v1/rate-plans", _SHOW_ALL, _SELL),
    ("/v1/customers", _SHOW_ALL, _SELL),
    ("/v1/teams", _SHOW_ALL, _SELL),
    ("/v1/apps", _SHOW_ALL, _SELL),
    ("/v1/agents", _SHOW_ALL, _SELL),
    ("/v1/subscriptions", _SHOW_ALL, _SELL),
    ("/v1/api-keys", KEYS, KEYS),
)
_BY_PATH: Final = {path: (reading, writing) for path, reading, writing in _LINES}


def access_of(route_path: str, method: str) -> Access | None:
    """What the route with this path (as it is declared) asks for; None for one that no line speaks of."""
    path = route_path.removeprefix("/api")  # an alias of the same route
    while path:
        if path in _BY_PATH:
            return _BY_PATH[path][method not in READING]
        path = path.rpartition("/")[0]
    return None
