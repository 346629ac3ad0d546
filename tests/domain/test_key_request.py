"""What a credential becomes of what is asked for, and what nobody is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.credential import CUSTOMER_SCOPES, Credential, Scope
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.key_request import KeyRequest, KeyRequestError, NotGranted, drafted
from hypothesis import given
from hypothesis import strategies as st

CATALOG = parse({
    "rate_plans": [{"code": "pro"}],
    "products": [
        {"code": kind.lower(), "type": kind, "rate_plan": "pro"}
        for kind in ("API", "AGENTIC_API", "AI_AGENT", "MCP_SERVER")
    ],
    "customers": [
        {
            "id": "acme",
            "products": ["api", "agentic_api", "ai_agent", "mcp_server"],
            "teams": [{"id": "science", "agents": ["r-1"], "apps": ["web"]}],
        },
        {"id": "globex", "products": ["api"]},
    ],
})  # fmt: skip
OWNER = Credential("key_owner", 7, "vendor")
NOW_NS = 1_795_000_000_000_000_000


def draft(by: Credential = OWNER, **fields: Any) -> Credential:
    """The credential that follows from a request."""
    return drafted(KeyRequest(**fields), by, CATALOG, "key_new", NOW_NS)


@pytest.mark.parametrize(
    ("product_type", "kind", "exchangeable"),
    [
        ("API", "BEARER_TOKEN", False),
        ("AGENTIC_API", "BEARER_TOKEN", True),
        ("AI_AGENT", "CLIENT_CREDENTIALS", True),
        ("MCP_SERVER", "CLIENT_CREDENTIALS", True),
    ],
)
def test_the_kind_follows_from_the_product(product_type: str, kind: str, exchangeable: bool) -> None:
    """Said as a type or by a subscription, the product decides between a bearer token and a client."""
    stated = draft(customer_id="acme", product_type=product_type)
    bought = draft(subscription_ids=(f"acme:{product_type.lower()}",))
    assert stated == bought
    assert (stated.kind, stated.exchangeable) == (kind, exchangeable)


def test_a_credential_says_who_pays() -> None:
    """Customer, team, agent or app and product type; the team is looked up, an operator's key says nothing."""
    agent = draft(customer_id="acme", accessor_type="AGENT", accessor_id="r-1", product_type="AI_AGENT")
    assert agent.identity == Identity("acme", "science", "r-1", "", "AI_AGENT")
    app = draft(customer_id="acme", accessor_type="APP", accessor_id="web")
    assert app.identity == Identity("acme", "science", "", "web", "")
    assert draft().identity is NOBODY


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("environment", {"environment": "staging"}),
        ("scopes", {"scopes": ("usage:*",)}),
        ("scopes", {"scopes": ()}),
        ("scopes", {"scopes": ("admin",), "customer_id": "acme"}),
        ("scopes", {"scopes": ("keys:write",), "customer_id": "acme"}),
        ("productType", {"product_type": "APIS"}),
        ("subscriptionIds", {"subscription_ids": ("acme:nothing",)}),
        ("subscriptionIds", {"subscription_ids": ("acme:api",), "customer_id": "globex"}),
        ("subscriptionIds", {"subscription_ids": ("acme:api", "globex:api")}),
        ("subscriptionIds", {"subscription_ids": ("acme:api", "acme:ai_agent")}),
        ("accessorType", {"accessor_id": "web", "customer_id": "acme"}),
        ("accessorType", {"accessor_type": "APP", "customer_id": "acme"}),
        ("accessorType", {"accessor_type": "ROBOT", "accessor_id": "web", "customer_id": "acme"}),
        ("customerId", {"accessor_type": "APP", "accessor_id": "web"}),
        ("customerId", {"team_id": "science"}),
        ("customerId", {"customer_id": "a" * 256}),
        ("name", {"name": "a\nb"}),
        ("expiresAt", {"expires_ns": NOW_NS}),
        ("expiresAt", {"expires_ns": 2**63}),
        ("rateLimitPerMinute", {"rate_per_minute": -1}),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(field: str, fields: dict[str, Any]) -> None:
    """A request that contradicts itself or the catalog names the field on the wire."""
    with pytest.raises(KeyRequestError) as raised:
        draft(**fields)
    assert raised.value.field == field


@given(st.sets(st.sampled_from(list(Scope))), st.none() | st.sets(st.sampled_from(list(Scope)), min_size=1))
def test_nobody_gives_what_they_do_not_have(has: set[Scope], asks: set[Scope] | None) -> None:
    """A new credential may do nothing that the one who makes it may not."""
    by = replace(OWNER, scopes=frozenset(has))
    try:
        made = draft(by, scopes=None if asks is None else tuple(asks))
    except NotGranted:
        assert asks is not None
        assert not by.allows_all(frozenset(asks))
    except KeyRequestError:
        assert asks is None
        assert not any(by.allows(scope) for scope in CUSTOMER_SCOPES)
    else:
        assert all(by.allows(scope) for scope in Scope if made.allows(scope))
        assert asks is None or made.scopes == asks


def test_a_test_credential_makes_no_live_ones() -> None:
    """From the test environment nothing leads to the live one; the other way it does."""
    test = draft(environment="test")
    assert (test.tenant_id, test.owner_id, test.environment) == ("vendor:test", "vendor", "test")
    assert draft(test).environment == "test"
    with pytest.raises(NotGranted):
        draft(replace(test, scopes=frozenset({"admin"})), environment="live")
