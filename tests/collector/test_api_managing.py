"""Products, plans, customers and the rest over HTTP: edits of the one catalog document."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.collector.access import As, key_said
from tests.collector.catalogs import catalog_for
from tests.collector.running import Start
from tests.collector.wire import PROTOBUF, body, tool

BUILT: list[tuple[str, dict[str, Any]]] = [
    ("billable-units", {"name": "pages", "aggregation": "SUM"}),
    (
        "rate-plans",
        {
            "code": "pro",
            "baseFee": "5",
            "prices": [
                {
                    "metric": "agentic_api.tool_calls",
                    "model": "PER_UNIT",
                    "unitPrice": "0.002",
                    "dimension": "toolName",
                    "prices": {"look_up": "0.001", "lookUp": "0.003"},
                }
            ],
        },
    ),
    ("products", {"code": "research", "type": "AGENTIC_API", "ratePlan": "pro"}),
    ("customers", {"id": "acme/eu"}),
    ("subscriptions", {"customerId": "acme/eu", "productCode": "research"}),
    ("teams", {"customerId": "acme/eu", "teamId": "science"}),
    ("agents", {"customerId": "acme/eu", "teamId": "science", "agentId": "r:1"}),
    ("apps", {"customerId": "acme/eu", "teamId": "science", "appId": "web"}),
]


@pytest.fixture
def owner(start: Start) -> As:
    """Everything allowed in a fresh collector."""
    collector = start()
    return As(collector, key_said(collector))


def test_a_catalog_is_built_piece_by_piece(owner: As) -> None:
    """What is posted is there under its id, in the catalog document, and gone when it is deleted."""
    ids = []
    for noun, row in BUILT:
        answer = owner("POST", f"/v1/{noun}", json=row)
        assert answer.status_code == 201, answer.text
        made = answer.json()["data"]
        assert row.items() <= made.items()
        assert owner.data(f"/v1/{noun}/{made['id'].replace('%', '%25')}") == made
        assert owner.data(f"/v1/{noun}") == [made]
        again = owner("POST", f"/v1/{noun}", json=row)
        assert (again.status_code, again.json()["code"]) == (409, "ALREADY_EXISTS")
        ids.append((noun, made["id"]))
    assert ids[-2:] == [("agents", "acme/eu:r%3A1"), ("apps", "acme/eu:web")]
    plan = owner.data("/v1/catalog")["rate_plans"][0]
    assert (plan["base_fee"], plan["prices"][0]["prices"]) == ("5", {"look_up": "0.001", "lookUp": "0.003"})
    kept = owner("DELETE", "/v1/rate-plans/pro")
    assert (kept.status_code, kept.json()["code"]) == (409, "IN_USE")
    for noun, row_id in reversed(ids):
        assert owner("DELETE", f"/v1/{noun}/{row_id.replace('%', '%25')}").status_code == 200
        assert owner.data(f"/v1/{noun}") == []
    assert owner.data("/v1/catalog") == {"currency": "USD"}


def test_changes_are_of_the_fields_that_are_given(owner: As) -> None:
    """PATCH replaces fields in either spelling, and the rest of the catalog stays as it was put."""
    document = catalog_for("acme", "globex")
    assert owner("PUT", "/v1/catalog", json=document).status_code == 200
    assert owner("PATCH", "/v1/rate-plans/pro", json={"minimumCharge": "9"}).status_code == 200
    assert owner("PATCH", "/v1/rate-plans/pro", json={"base_fee": "1.50"}).json()["data"]["baseFee"] == "1.5"
    plan = owner.data("/v1/rate-plans/pro")
    assert (plan["minimumCharge"], len(plan["prices"])) == ("9", 2)
    refused = owner("PATCH", "/v1/products/research", json={"ratePlan": "none"})
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_CATALOG")
    assert owner.data("/v1/products/research")["ratePlan"] == "pro"
    for wrong in ({"code": "x"}, {"surprise": 1}):
        assert owner("PATCH", "/v1/products/research", json=wrong).status_code == 422
    assert owner("PATCH", "/v1/products/nothing", json={}).status_code == 404


def test_lists_come_in_pages(owner: As) -> None:
    """Walking pages shows every row once, by id."""
    names = [f"c-{number}" for number in range(7)]
    assert owner("PUT", "/v1/catalog", json=catalog_for(*reversed(names))).status_code == 200
    seen, cursor = [], None
    while True:
        parameters = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        answer = owner("GET", "/v1/customers", params=parameters).json()
        seen += [row["id"] for row in answer["data"]]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            break
    assert seen == names


def test_edits_at_once_are_all_kept(owner: As) -> None:
    """Edits that come at the same time follow each other; none undoes another."""
    names = [f"c-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: owner("POST", "/v1/customers", json={"id": name}), names))
    assert {answer.status_code for answer in answers} == {201}
    assert {row["id"] for row in owner.data("/v1/customers")} == set(names)


def test_an_idempotency_key_adds_one(start: Start) -> None:
    """The same request again is answered the same, at once or after kill -9; another one under its key is 409."""
    collector = start()
    secret = key_said(collector)
    once = {"Idempotency-Key": "c-1"}

    def post(owner: As, row: dict[str, Any]) -> Any:
        return owner("POST", "/v1/customers", json=row, headers=once)

    with ThreadPoolExecutor(4) as pool:
        owner = As(collector, secret)
        answers = list(pool.map(lambda _: post(owner, {"id": "acme"}), range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert [answer.json()["data"] for answer in answers] == [answers[0].json()["data"]] * 4
    collector.kill()
    owner = As(start(), secret)
    assert post(owner, {"id": "acme"}).json()["data"] == answers[0].json()["data"]
    other = post(owner, {"id": "globex"})
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert [row["id"] for row in owner.data("/v1/customers")] == ["acme"]


def test_a_refusal_leaves_the_idempotency_key_free(owner: As) -> None:
    """What was refused may be mended and sent again under its key."""
    once = {"Idempotency-Key": "k"}
    row = {"code": "research", "type": "AGENTIC_API", "ratePlan": "pro"}
    assert owner("POST", "/v1/products", json=row, headers=once).status_code == 422
    assert owner("POST", "/v1/rate-plans", json={"code": "pro"}).status_code == 201
    assert owner("POST", "/v1/products", json=row, headers=once).status_code == 201


def test_keys_end_with_what_they_were_for(owner: As) -> None:
    """Who loses a subscription loses its keys, and who is no customer any more all of them; others keep theirs."""
    document = catalog_for("acme", "globex")
    assert owner("PUT", "/v1/catalog", json=document).status_code == 200
    subscribed = owner.key(subscriptionIds=["acme:research"])
    free, other = owner.key(customerId="acme"), owner.key(customerId="globex")
    elsewhere = owner.key(customerId="acme", environment="test")

    def statuses() -> list[int]:
        keys = (subscribed, free, other, elsewhere)
        return [key("GET", "/v1/sessions").status_code for key in keys]

    assert statuses() == [200, 200, 200, 200]
    assert owner("DELETE", "/v1/subscriptions/acme:research").status_code == 200
    assert statuses() == [403, 200, 200, 200]
    assert owner("DELETE", "/v1/customers/acme").status_code == 200
    assert statuses() == [403, 403, 200, 200]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"id": NaN}', 400), (b'{"id": 1e400}', 422), (b"[" * 100_000, 400),
     (b'{"teams": ' + b'[{"teams": ' * 400 + b"[]" + b"}]" * 400 + b"}", 422), (b"\xff", 400)],
)  # fmt: skip
def test_bodies_that_are_no_row_change_nothing(owner: As, content: bytes, status: int) -> None:
    """What cannot be read is 400, what fits nowhere 422, and the catalog stays."""
    assert owner("POST", "/v1/customers", content=content).status_code == status
    assert owner.data("/v1/catalog") == {"currency": "USD"}


def test_usage_is_billed_under_what_was_just_edited(owner: As) -> None:
    """A plan that was posted piece by piece prices the next call as one that was put whole."""
    for noun, row in BUILT:
        assert owner("POST", f"/v1/{noun}", json=row).status_code == 201
    spans = body(tool("acme/eu", name="look_up"))
    assert owner("POST", "/v1/traces", content=spans, headers=PROTOBUF).status_code == 200
    invoice = owner.data("/v1/invoices/preview", customerId="acme/eu")
    amounts = {line["metricName"]: line["amountUnrounded"] for line in invoice["lines"]}
    assert amounts["agentic_api.tool_calls"] == "0.001"
