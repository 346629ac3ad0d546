"""Quota checks over HTTP: real usage of this month against the catalog's limits, answered 200 whatever happens."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.collector.running import Running, Start
from tests.collector.wire import JSON, PROTOBUF, body, customer, span, tool

PATHS = ("/api/v1/quota/check", "/v1/quota/check")


def catalog_for(*customers: str) -> dict[str, Any]:
    """A plan with a limit by quantity, one by field, one by count, one of spans, and prices without one."""
    block = {"model": "PER_UNIT", "unit_price": "1", "overage": "BLOCK"}
    return {
        "billable_units": [
            {"name": "pages"},
            {"name": "bytes", "event_field": "response_bytes"},
            {"name": "scans", "aggregation": "COUNT"},
            {"name": "seats", "aggregation": "MAX"},
        ],
        "rate_plans": [{
            "code": "pro",
            "base_fee": "9",
            "prices": [
                {"metric": "pages", **block, "included": "1000"},
                {"metric": "bytes", "model": "FLAT_RATE", "included": "5000.5", "overage": "BLOCK"},
                {"metric": "scans", **block, "included": "3"},
                {"metric": "agentic_api.tool_calls", **block, "included": "2"},
                {"metric": "seats", "model": "PER_UNIT", "unit_price": "1"},
            ],
        }],
        "products": [{"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"}],
        "customers": [{"id": name, "products": ["research"]} for name in customers],
    }  # fmt: skip


@pytest.fixture
def acme(collector: Running) -> str:
    """A customer of that plan, without usage."""
    name = customer()
    content = json.dumps(catalog_for(name))
    assert collector.http.put("/v1/catalog", content=content, headers=JSON).status_code == 200
    return name


def use(collector: Running, who: str, metric: str, quantity: int | str, **more: Any) -> None:
    """Record one usage event."""
    event = {"customerId": who, "metricName": metric, "quantity": quantity, **more}
    assert collector.http.post("/v1/ingest", json=event).status_code == 200


def check(collector: Running, path: str = PATHS[0], **asked: Any) -> dict[str, Any]:
    """The answer to a check."""
    response = collector.http.post(path, json=asked)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["success"] is True
    found: dict[str, Any] = answer["data"]
    assert None not in found.values()
    return found


@pytest.mark.parametrize("path", PATHS)
def test_usage_moves_a_quota_from_allow_to_warn_to_deny(collector: Running, acme: str, path: str) -> None:
    """Every answer counts all that was acknowledged before it, and a denial says when the period ends."""
    asked = {"customerId": acme, "metricName": "pages", "estimatedQuantity": 1}
    assert check(collector, path, **asked) == {
        "decision": "ALLOW", "reason": "within the quota: 0 of 1000 pages is used in this period",
        "currentUsage": 0, "limit": 1000, "tierName": "pro",
        "headers": {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "1000"},
    }  # fmt: skip
    use(collector, acme, "pages", 949.5)
    warning = check(collector, path, **asked)
    assert (warning["decision"], warning["currentUsage"]) == ("WARN", 949.5)
    assert check(collector, path, **{**asked, "estimatedQuantity": 51})["decision"] == "DENY"
    use(collector, acme, "pages", 50.5)
    denial = check(collector, path, customerId=acme, metricName="pages")
    assert (denial["decision"], denial["currentUsage"]) == ("DENY", 1000)
    assert denial["headers"]["X-RateLimit-Remaining"] == "0"
    now = datetime.now(UTC)
    ends = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
    assert abs(ends - now - timedelta(milliseconds=denial["retryAfterMs"])) < timedelta(minutes=5)


def test_each_unit_is_used_as_it_is_billed(collector: Running, acme: str) -> None:
    """Fields, counts and spans reach their limits as their invoice lines do; last month's usage does not count."""
    use(collector, acme, "bytes", 1, metadata={"responseBytes": 5000})
    assert check(collector, customerId=acme, metricName="bytes")["decision"] == "WARN"
    use(collector, acme, "bytes", 1, metadata={"response_bytes": "0.5"})
    assert check(collector, customerId=acme, metricName="bytes")["decision"] == "DENY"
    use(collector, acme, "scans", 1000)
    assert check(collector, customerId=acme, metricName="scans")["currentUsage"] == 1
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=2)
    use(collector, acme, "scans", 1, occurredAt=last_month.isoformat())
    assert check(collector, customerId=acme, metricName="scans", estimatedQuantity=2)["decision"] == "WARN"
    spans = [tool(acme), tool(acme), tool(acme, error__type="timeout")]
    assert collector.http.post("/v1/traces", content=body(*spans), headers=PROTOBUF).status_code == 200
    calls = check(collector, customerId=acme, metricName="agentic_api.tool_calls")
    assert (calls["decision"], calls["currentUsage"]) == ("DENY", 2)


def test_without_a_metric_the_gravest_quota_answers(collector: Running, acme: str) -> None:
    """One exhausted quota denies whatever the others say."""
    assert check(collector, customerId=acme)["decision"] == "ALLOW"
    use(collector, acme, "pages", 990)
    assert check(collector, customer_id=acme)["reason"].endswith("990 of 1000 pages is used in this period")
    for _ in range(3):
        use(collector, acme, "scans", 1)
    denial = check(collector, customerId=acme)
    assert (denial["decision"], denial["limit"]) == ("DENY", 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not checked: the body is no JSON"),
        ("[" * 30_000, "not checked: the body is no JSON"),
        ("[]", "not checked: the body is no object"),
        ("{}", "not checked: customerId is missing"),
        ('{"customerId": 7}', "not checked: customerId is no name"),
        ('{"customerId": "ACME", "estimatedQuantity": -1}', "not checked: estimatedQuantity is below 0"),
        ('{"customerId": "ACME", "estimatedQuantity": NaN}', "not checked: estimatedQuantity: "),
        ('{"customerId": "ACME", "estimatedQuantity": true}', "not checked: estimatedQuantity: "),
        ('{"customerId": "ACME", "estimatedQuantity": 1e999}', "not checked: estimatedQuantity: "),
        ('{"customerId": "stranger", "metricName": "pages"}', "customer 'stranger' is not in the catalog"),
        ('{"customerId": "ACME", "metricName": "nothing"}', "there is no billable unit 'nothing'"),
        ('{"customerId": "ACME", "metricName": "seats"}', "there is no limit of seats in the plans"),
    ],
)
def test_a_check_that_finds_no_quota_allows(collector: Running, acme: str, content: str, reason: str) -> None:
    """Metering trouble never stops a call: whatever is asked is allowed, with the reason."""
    headers = {"Content-Type": "application/json"}
    response = collector.http.post(PATHS[0], content=content.replace("ACME", acme), headers=headers)
    assert response.status_code == 200
    data = response.json()["data"]
    assert data["decision"] == "ALLOW"
    assert data["reason"].startswith(reason)
    assert data.keys() == {"decision", "reason"}


def test_a_unit_aggregates_as_it_did_once_it_has_events(start: Start) -> None:
    """A catalog that changes it is refused, even when the unit was away meanwhile; nothing is changed."""
    collector = start("--dev")

    def put(*units: dict[str, Any]) -> Any:
        return collector.http.put("/v1/catalog", json={"billable_units": units})

    latency = {"name": "latency", "aggregation": "MAX", "event_field": "ms"}
    assert put(latency).status_code == 200
    assert put({**latency, "aggregation": "P95"}).status_code == 200
    assert put(latency).status_code == 200
    use(collector, "acme", "latency", 1)
    before = collector.data("/v1/catalog")
    for change, was in (({"aggregation": "AVG"}, "MAX"), ({"event_field": "seconds"}, "ms")):
        refused = put({"name": "other"}, {**latency, **change})
        assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_CATALOG")
        [error] = refused.json()["errors"]
        assert error["parameter"] == f"billable_units[1].{next(iter(change))}"
        assert f"recorded under {was}" in error["message"]
    assert collector.data("/v1/catalog") == before
    use(collector, "acme", "latency", 1)
    assert put({"name": "other"}).status_code == 200
    collector.kill()
    collector = start("--dev")
    assert put({**latency, "aggregation": "MIN"}).status_code == 422
    assert (
        put({**latency, "filter": [{"field": "ms", "operator": "LESS_THAN", "value": "9"}]}).status_code
        == 200
    )


def test_an_event_that_its_unit_does_not_count_is_kept_and_never_billed(start: Start) -> None:
    """Conditions decide by metadata before the top level; what they keep out is recorded, visible, and free."""
    collector = start("--dev")
    catalog = catalog_for("acme")
    catalog["billable_units"][0]["filter"] = [
        {"field": "status_code", "operator": "LESS_THAN", "value": "400"}
    ]
    assert collector.http.put("/v1/catalog", json=catalog).status_code == 200
    use(collector, "acme", "pages", 5, statusCode=200)
    use(collector, "acme", "pages", 7, statusCode=200, metadata={"statusCode": 500})
    spans = [
        span("record_usage", "acme", {
            "aforo.operation.name": "record_usage", "aforo.metric.name": "pages",
            "aforo.quantity": quantity, "aforo.metadata": metadata,
        })
        for quantity, metadata in (("11", '{"status_code": 404}'), ("13", '{"status_code": 204}'))
    ]  # fmt: skip
    assert collector.http.post("/v1/traces", content=body(*spans), headers=PROTOBUF).status_code == 200
    assert check(collector, customerId="acme", metricName="pages")["currentUsage"] == 18
    assert [one["code"] for one in collector.data("/v1/intake/quarantine")] == ["FILTERED", "FILTERED"]
    balance = collector.data("/v1/intake/balance")
    assert (balance["received"], balance["recorded"]) == (4, 4)
