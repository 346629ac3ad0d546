"""The catalog over HTTP: replaced as a whole, given back, and what a new price does to old calls."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.collector.catalogs import catalog_for
from tests.collector.running import Running, Start
from tests.collector.wire import JSON, PROTOBUF, body, chat, customer, tool

TOML = {"Content-Type": "application/toml"}


def put(collector: Running, document: Any) -> dict[str, Any]:
    """Apply a catalog and return the whole answer."""
    response = collector.http.put("/v1/catalog", content=json.dumps(document), headers=JSON)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def send(collector: Running, *spans: Any) -> None:
    """Deliver spans."""
    assert collector.http.post("/v1/traces", content=body(*spans), headers=PROTOBUF).status_code == 200


def test_a_catalog_comes_back_as_it_was_put(start: Start) -> None:
    """GET gives what PUT took, and PUT of that changes nothing."""
    collector = start("--dev")
    answer = put(collector, catalog_for("acme"))
    assert answer["meta"] == {"changed": True, "rebooked": 0, "repriced": 0}
    exported = collector.data("/v1/catalog")
    assert exported == answer["data"]
    assert put(collector, exported) == {
        "success": True, "data": exported, "meta": {"changed": False, "rebooked": 0, "repriced": 0},
    }  # fmt: skip
    collector.kill()
    assert start("--dev").data("/v1/catalog") == exported


def test_toml_says_the_same_as_json(start: Start) -> None:
    """The catalog may be TOML; numbers in it are decimals, never floats."""
    collector = start("--dev")
    text = '[[rate_plans]]\ncode = "pro"\nbase_fee = 0.1\n'
    assert collector.http.put("/v1/catalog", content=text, headers=TOML).status_code == 200
    assert collector.data("/v1/catalog")["rate_plans"][0]["base_fee"] == "0.1"
    assert put(collector, {"rate_plans": [{"code": "pro", "base_fee": "0.1"}]})["meta"]["changed"] is False
    windows = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    answer = collector.http.put("/v1/catalog", content=windows, headers=TOML).json()
    assert answer["meta"]["changed"] is False, "an editor's byte order mark and line ends say nothing"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        ("{", JSON, 400, "MALFORMED_BODY"),
        ("[" * 100_000, JSON, 400, "MALFORMED_BODY"),
        ('{"base_fee": 1e9999999999999999999}', JSON, 400, "MALFORMED_BODY"),
        ("base_fee = 1e9999999999999999999", TOML, 400, "MALFORMED_BODY"),
        ("a = ", TOML, 400, "MALFORMED_BODY"),
        (b"\xff", TOML, 400, "MALFORMED_BODY"),
        ("[]", JSON, 422, "INVALID_CATALOG"),
        ('{"base_fee": NaN}', JSON, 422, "INVALID_CATALOG"),
        ('{"surprise": 1, "currency": "euro"}', JSON, 422, "INVALID_CATALOG"),
    ],
)
def test_a_wrong_catalog_changes_nothing(
    collector: Running, content: str, headers: dict[str, str], status: int, code: str
) -> None:
    """A catalog that cannot be used is refused with all its problems, and the old one stays in force."""
    before = put(collector, catalog_for("acme"))["data"]
    response = collector.http.put("/v1/catalog", content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "nothing was changed" in response.json()["detail"]
    assert ("errors" in response.json()) == (code == "INVALID_CATALOG")
    assert collector.data("/v1/catalog") == before


@pytest.mark.parametrize("again", ['"customers": []', '"currency": "EUR"'])
def test_a_table_that_stands_there_twice_is_refused(collector: Running, again: str) -> None:
    """The second of two tables of a name does not silently take the first one's place, in JSON as in TOML."""
    before = collector.data("/v1/catalog")
    text = f'{{"currency": "USD", "customers": [{{"id": "acme"}}], {again}}}'
    response = collector.http.put("/v1/catalog", content=text, headers=JSON)
    assert response.status_code == 400
    assert "stands there twice" in response.json()["detail"]
    assert collector.data("/v1/catalog") == before


def test_usage_is_rated_by_the_catalog_in_force(start: Start) -> None:
    """The invoice preview follows the catalog, and its lines add up to its total and list their events."""
    collector = start("--dev")
    acme = customer()
    put(collector, catalog_for(acme))
    send(collector, tool(acme), tool(acme, "db_write"), tool(acme, "other"), chat(acme))
    invoice = collector.data("/v1/invoices/preview", customerId=acme)
    amounts = {line["dimension"]: line["amountUnrounded"] for line in invoice["lines"] if line["dimension"]}
    assert amounts == {"lookup": "0.001", "db_write": "0.05", "other": "0.002"}
    total = sum(Decimal(line["amount"]) for line in invoice["lines"]) + Decimal(invoice["rounding"])
    assert total == Decimal(invoice["total"]) > 0
    for number, line in enumerate(invoice["lines"]):
        events = collector.data(f"/v1/invoices/preview/lines/{number}/events", customerId=acme)
        assert len(events) == line["eventCount"]
        assert sum(Decimal(event["quantity"]) for event in events) == Decimal(line["quantity"])


def test_a_price_that_arrives_later_is_booked_for_earlier_calls(start: Start) -> None:
    """Calls of a model without a price are visible as unpriced, and costed by the catalog that names one."""
    collector = start("--dev")
    acme, open_one, closed_one = customer(), customer(), customer()
    own = {"gen_ai__request__model": "in-house-7", "gen_ai__provider__name": "in-house"}
    put(collector, catalog_for(acme))
    send(collector, *[chat(acme, aforo__session__id=name, **own) for name in (open_one, closed_one)])
    closed = collector.http.post(f"/v1/sessions/{closed_one}/close").json()["data"]
    assert closed["totals"]["unpricedCalls"] == 1
    [unpriced] = collector.data("/v1/unpriced")
    assert (unpriced["model"], unpriced["calls"]) == ("in-house-7", 2)
    assert collector.data("/v1/invoices/preview", customerId=acme)["unpriced"]["calls"] == 2

    price = {"provider": "in-house", "model": "in-house*", "input_mtok": "100", "output_mtok": "1000"}
    assert put(collector, catalog_for(acme, price_overrides=[price]))["meta"] == {
        "changed": True,
        "rebooked": 0,
        "repriced": 2,
    }
    assert collector.data("/v1/unpriced") == []
    cost = Decimal("0.2")  # 1,000 tokens at 100 and 100 at 1,000 US dollars a million
    session = collector.data(f"/v1/sessions/{open_one}")
    assert (session["totals"]["unpricedCalls"], Decimal(session["totals"]["providerCost"])) == (0, cost)
    late = collector.data(f"/v1/sessions/{closed_one}")
    assert late["totals"] == closed["totals"]
    assert Decimal(late["adjustments"]["providerCost"]) == cost
    invoice = collector.data("/v1/invoices/preview", customerId=acme)
    [line] = [line for line in invoice["lines"] if line["metricName"] == "agentic_api.provider_cost"]
    assert (Decimal(line["quantity"]), line["eventCount"], invoice["unpriced"]["calls"]) == (2 * cost, 2, 0)
    for name in (open_one, closed_one):
        [node] = collector.data(f"/v1/sessions/{name}/trace")["roots"]
        events = collector.data("/v1/usage-events", sessionId=name, metricName="agentic_api.provider_cost")
        assert [event["spanId"] for event in events] == [node["spanId"]]


def test_a_repriced_call_that_turns_out_to_be_none_is_taken_back_whole(start: Start) -> None:
    """A wrapper whose cost was booked later, and whose real call arrives after that, costs nothing."""
    collector = start("--dev")
    acme, name = customer(), customer()
    own = {"gen_ai__request__model": "in-house-7", "gen_ai__provider__name": "in-house"}
    put(collector, catalog_for(acme))
    outer = chat(acme, aforo__session__id=name, **own)
    send(collector, outer)
    price = {"provider": "in-house", "model": "in-house*", "input_mtok": "100", "output_mtok": "1000"}
    assert put(collector, catalog_for(acme, price_overrides=[price]))["meta"]["repriced"] == 1
    assert collector.data(f"/v1/sessions/{name}")["totals"]["unpricedCalls"] == 0
    inner = chat(acme, aforo__session__id=name, **own)
    inner.trace_id, inner.parent_span_id = outer.trace_id, outer.span_id
    send(collector, inner)
    totals = collector.data(f"/v1/sessions/{name}")["totals"]
    assert (totals["unpricedCalls"], Decimal(totals["providerCost"])) == (0, Decimal("0.2"))
    [event] = collector.data("/v1/usage-events", sessionId=name, metricName="agentic_api.provider_cost")
    assert event["spanId"] == inner.span_id.hex()
    [line] = collector.data("/v1/invoices/preview", customerId=acme)["lines"]
    assert (Decimal(line["quantity"]), line["eventCount"]) == (Decimal("0.2"), 1)


def test_prices_are_shown_with_the_tenants_own_first(start: Start) -> None:
    """A price names where it is from; a model that nobody knows is unpriced with a reason."""
    collector = start("--dev")
    public = collector.data("/v1/prices/gpt-4o-mini", provider="openai")
    assert public["perMtok"]["input"] == "0.15"
    assert "genai-prices" in public["origin"]
    price = {"provider": "openai", "model": "gpt-4o-mini", "input_mtok": "9", "output_mtok": "9"}
    put(collector, {"price_overrides": [price]})
    assert collector.data("/v1/prices/gpt-4o-mini", provider="openai")["perMtok"]["input"] == "9"
    assert collector.data("/v1/prices/made/up", provider="openai")["unpriced"] == "unknown_model"
