"""Customers that usage names and the catalog does not have: everybody can see which ones they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aforo_collector.cli import customer as customer_command
from aforo_collector.cli import invoice as invoice_command
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collector.access import As, key_said
from tests.collector.catalogs import catalog_for
from tests.collector.engine import Engine
from tests.collector.running import Running, Start
from tests.collector.wire import PROTOBUF, body, chat, tool

from . import readings


@pytest.fixture
def running(start: Start) -> Running:
    """A collector of its own whose catalog has acme alone."""
    collector = start("--dev")
    collector.http.put("/v1/catalog", json=catalog_for("acme"))
    return collector


def send(collector: Running, customer_id: str, key: str) -> None:
    """One event of a customer."""
    event = {"customerId": customer_id, "metricName": "api_calls", "quantity": 1, "idempotencyKey": key}
    assert collector.http.post("/v1/ingest", json=event).status_code == 200


def flags(rows: list[dict[str, Any]], name: str = "id") -> dict[str, bool]:
    """Who is provisional."""
    return {row[name]: row["provisional"] for row in rows}


def test_customers_are_provisional_until_the_catalog_has_them(running: Running) -> None:
    """Lists, single customers, usage and previews say so, from the first usage to the catalog that brings them."""
    send(running, "acme", "1")
    send(running, "glo/bex", "2")
    running.http.post("/v1/traces", content=body(chat("initech")), headers=PROTOBUF)
    both = {"acme": False, "glo/bex": True, "initech": True}
    assert flags(running.data("/v1/customers")) == both
    assert flags(running.data("/v1/customers", provisional="true")) == {"glo/bex": True, "initech": True}
    assert flags(running.data("/v1/customers", provisional="false")) == {"acme": False}
    for customer_id, provisional in both.items():
        assert running.data(f"/v1/customers/{customer_id}")["provisional"] is provisional
        preview = running.data("/v1/invoices/preview", customerId=customer_id)
        assert preview["provisional"] is provisional
    assert running.http.get("/v1/customers/glo").status_code == 404
    usage = running.data("/v1/analytics/usage", groupBy="customerId")
    assert flags(usage, "customerId") == both
    assert running.http.post("/v1/customers", json={"id": "glo/bex"}).json()["data"]["provisional"] is False
    assert flags(running.data("/v1/customers")) == both | {"glo/bex": False}


def test_whoever_has_nothing_left_is_nobody(running: Running) -> None:
    """A customer whose only event was taken back, or of whom only refused usage told, is not listed."""
    send(running, "typo", "1")
    assert flags(running.data("/v1/customers")) == {"acme": False, "typo": True}
    assert running.http.post("/v1/usage-events/1/void").status_code == 200
    assert running.http.get("/v1/customers/typo").status_code == 404
    running.http.put("/v1/catalog", json=catalog_for("acme", unknown_customers="reject"))
    running.http.post("/v1/traces", content=body(tool("refused")), headers=PROTOBUF)
    assert flags(running.data("/v1/customers")) == {"acme": False}


def test_commands_show_who_is_provisional(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`aforo customer list --provisional` lists them, and an invoice preview says that nothing is billed yet."""
    monkeypatch.setenv("AFORO_ENDPOINT", running.url)
    send(running, "globex", "1")
    assert customer_command.main(["list", "--provisional", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"id": "globex", "provisional": True}]
    assert invoice_command.main(["preview", "globex"]) == 0
    assert "globex is not in the catalog" in capsys.readouterr().err
    assert invoice_command.main(["preview", "acme"]) == 0
    assert "not in the catalog" not in capsys.readouterr().err


def test_another_tenants_customers_are_not_listed(start: Start) -> None:
    """What the test environment uses shows no customer in the live one."""
    collector = start()
    owner = As(collector, key_said(collector))
    test = owner.key(environment="test", scopes=["admin"])
    event = {"customerId": "globex", "metricName": "api_calls", "quantity": 1}
    assert test("POST", "/v1/ingest", json=event).status_code == 200
    assert flags(test.data("/v1/customers")) == {"globex": True}
    assert owner.data("/v1/customers") == []


@given(
    st.sets(st.text("aZ0:%/é\U0001f600", min_size=1, max_size=3), max_size=8),
    st.integers(1, 3),
)
@settings(max_examples=20, deadline=None)
def test_pages_leave_nobody_out(names: set[str], length: int) -> None:
    """Pages of any length have every customer once, in order of their ids."""
    with readings.engine(readings.catalog()) as made:
        made.submit(*({"customerId": name, "metricName": "api_calls", "quantity": 1} for name in names))
        assert listed(made, length) == sorted(names - {customer.id for customer in made.catalog.customers})


def listed(made: Engine, length: int) -> list[str]:
    """All provisional customers, by pages."""
    reading = readings.reading(made)
    found: list[str] = []
    after = ""
    while read := reading.provisional_customers(made.tenant_no, after, length):
        found += read
        after = f"{read[-1]}\0"
    return found
