"""Every route of the application: who gets in, what another tenant sees, what a customer sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import pytest
from aforo_collector.api.access import OPEN
from aforo_collector.domain.credential import CUSTOMER_SCOPES, Scope

from tests.collector.access import As, Operation, operations, two_tenants
from tests.collector.catalogs import catalog_for
from tests.collector.running import starter
from tests.collector.wire import PROTOBUF, body, chat, tool

SECRET = "zeta"
"""Stands in every name of the first tenant's customer, so that it can be looked for in what others see."""

ROWS = {
    "/v1/products": f"{SECRET}-products",
    "/v1/billable-units": f"{SECRET}-unit",
    "/v1/rate-plans": f"{SECRET}-rate_plans",
    "/v1/customers": f"{SECRET}-co",
    "/v1/teams": f"{SECRET}-co:{SECRET}-team",
    "/v1/apps": f"{SECRET}-co:{SECRET}-app",
    "/v1/agents": f"{SECRET}-co:{SECRET}-agent",
    "/v1/subscriptions": f"{SECRET}-co:{SECRET}-products",
}
PARAMETERS = {"customerId": f"{SECRET}-co"}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    """Every operation."""
    return operations(tmp_path_factory.mktemp("routes"))


class Scene(NamedTuple):
    """Two tenants; the first has customers zeta and beta, with usage of both, and a key of beta's."""

    owner: As
    other: As
    beta: As
    values: dict[str, str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One process that all tests of the module ask."""
    folder = tmp_path_factory.mktemp("access") / "data"
    with starter(folder) as start:
        owner, other = two_tenants(start, folder)
        document: dict[str, Any] = catalog_for(f"{SECRET}-co", "beta")
        for table, key in (("rate_plans", "code"), ("products", "code")):
            document[table][0][key] = f"{SECRET}-{table}"
        document["products"][0]["rate_plan"] = f"{SECRET}-rate_plans"
        for buyer in document["customers"]:
            buyer["products"] = [f"{SECRET}-products"]
        document["customers"][0]["teams"] = [
            {"id": f"{SECRET}-team", "agents": [f"{SECRET}-agent"], "apps": [f"{SECRET}-app"]}
        ]
        document["billable_units"] = [{"name": f"{SECRET}-unit"}]
        document["recorded_metrics"] = ["*"]
        assert owner("PUT", "/v1/catalog", json=document).status_code == 200
        spans = [chat(buyer, aforo__session__id=f"{buyer}-session") for buyer in (f"{SECRET}-co", "beta")]
        spans += [tool(f"{SECRET}-co", name=f"{SECRET}-tool"), tool(None, name=f"{SECRET}-tool")]
        sent = owner("POST", "/v1/traces", content=body(*spans), headers=PROTOBUF)
        assert sent.status_code == 200
        source = {"provider": "custom", "displayName": f"{SECRET}-source", "metricName": f"{SECRET}-unit"}
        source_id = owner("POST", "/v1/webhook-sources", json=source).json()["data"]["sourceId"]
        owner("POST", f"/v1/ingest/webhook/{source_id}", content=SECRET.encode())
        sender = owner.key(customerId=f"{SECRET}-co")
        uploaded = sender("POST", "/v1/ingest/upload", files={"file": (f"{SECRET}.csv", b"a,b\n1,2\n")})
        job_id = uploaded.json()["data"]["jobId"]
        while owner.data(f"/v1/uploads/{job_id}")["state"] in ("QUEUED", "PROCESSING"):
            sleep(0.05)
        key_id = owner.made(name=f"{SECRET}-key", customerId=f"{SECRET}-co")["id"]
        values = {
            "session_id": f"{SECRET}-co-session",
            "line": "0",
            "model": "gpt-4o-mini",
            "key_id": key_id,
            "source_id": source_id,
            "delivery_id": owner.data("/v1/webhook-deliveries")[0]["deliveryId"],
            "job_id": job_id,
            "event_id": owner.data("/v1/usage-events", **PARAMETERS)[0]["eventId"],
            "quarantineId": owner.data("/v1/intake/quarantine")[0]["quarantineId"],
        }
        yield Scene(owner, other, owner.key(customerId="beta"), values)


def url_of(operation: Operation, scene: Scene) -> str:
    """The path of an operation on something that the first tenant's customer zeta has."""
    row_id = ROWS.get(operation.path.partition("/{row_id")[0], "")
    return operation.url(row_id=row_id, **scene.values)


def guarded(routes: list[Operation]) -> list[Operation]:
    """The operations that are not open to everybody."""
    return [operation for operation in routes if operation.access is not OPEN]


def everything(scene: Scene, routes: list[Operation], but: str = "-") -> dict[str, Any]:
    """What the first tenant sees wherever one can look."""
    seen = {}
    for operation in guarded(routes):
        if operation.method == "GET" and not operation.path.startswith(but):
            answer = scene.owner("GET", url_of(operation, scene), params=PARAMETERS)
            assert answer.status_code == 200, (operation, answer.text)
            is_json = answer.headers["content-type"] == "application/json"
            seen[operation.path] = answer.json()["data"] if is_json else answer.text
    return seen


def test_every_route_says_what_it_asks_for(routes: list[Operation]) -> None:
    """A route without a line of its own in the table of access cannot be merged."""
    assert len(routes) > 40
    for operation in routes:
        assert operation.access.scope in {"", *Scope}
    opened = {operation.path for operation in routes if operation.access is OPEN}
    assert opened == {
        "/livez", "/readyz", "/metrics", "/openapi.json", "/.well-known/jwks.json", "/oauth/token", "/oauth/revoke",
        "/v1/ingest/webhook/{source_id}", "/api/v1/ingest/webhook/{source_id}",
    }  # fmt: skip


def test_nobody_gets_in_without_a_credential(scene: Scene, routes: list[Operation]) -> None:
    """401 on every route without a credential, and with one that nobody made."""
    nobody = As(scene.owner._collector, "sk_live_nobody")
    for operation in guarded(routes):
        bare = nobody._collector.http.request(operation.method, url_of(operation, scene), headers=PROTOBUF)
        wrong = nobody(operation.method, url_of(operation, scene), headers=PROTOBUF)
        assert (bare.status_code, wrong.status_code) == (401, 401), operation


def test_a_credential_opens_what_its_scopes_name(scene: Scene, routes: list[Operation]) -> None:
    """403 INSUFFICIENT_SCOPE exactly where another scope is asked for; admin has them all."""
    keys = {scope: scene.other.key(scopes=[scope]) for scope in Scope}
    for operation in guarded(routes):
        for scope, key in keys.items():
            answer = key(operation.method, url_of(operation, scene), headers=PROTOBUF)
            refused = answer.status_code == 403 and "INSUFFICIENT_SCOPE" in answer.text
            assert refused == (scope not in (operation.access.scope, Scope.ADMIN)), (operation, scope)


def test_another_tenant_sees_and_changes_nothing(scene: Scene, routes: list[Operation]) -> None:
    """Whatever belongs to another tenant is not there: not to be read, not to be changed, on any route."""
    before = everything(scene, routes)
    for operation in guarded(routes):
        url = url_of(operation, scene)
        answer = scene.other(operation.method, url, params=PARAMETERS, json={})
        if answer.is_success:
            assert "{" not in operation.path or operation.path.startswith("/v1/prices"), operation
            assert operation.path.startswith("/v1/prices") or SECRET not in answer.text, operation
        else:
            assert answer.status_code in (400, 404, 405, 409, 415, 422), (operation, answer.text)
            if "{" in operation.path and operation.method in ("GET", "DELETE"):
                assert answer.status_code == 404, (operation, answer.text)
    assert everything(scene, routes) == before


def test_a_customer_sees_itself_alone(scene: Scene, routes: list[Operation]) -> None:
    """A customer's key gets nothing that is another customer's or the operator's, whatever it asks for."""
    before = everything(scene, routes, but="/v1/intake")  # what a customer sends is counted there
    own = scene.beta
    for operation in guarded(routes):
        for parameters in ({}, PARAMETERS):
            answer = own(operation.method, url_of(operation, scene), params=parameters, json={})
            if answer.is_success:
                own_plan = answer.text.replace(f"{SECRET}-rate_plans", "")
                assert SECRET not in own_plan, operation
            if operation.access.customers and operation.access.scope in CUSTOMER_SCOPES:
                assert answer.status_code != 403, (operation, answer.text)
            else:
                assert answer.status_code == 403, (operation, answer.text)
    assert everything(scene, routes, but="/v1/intake") == before
    sessions = own.data("/v1/sessions")
    assert [session["customerId"] for session in sessions] == ["beta"]
    assert own("GET", "/v1/sessions", params=PARAMETERS).status_code == 404
    assert own.data("/v1/invoices/preview")["customerId"] == "beta"
    checks = [
        key("POST", "/v1/quota/check", json={"customerId": asked, "metricName": "agentic_api.steps"}).json()
        for key, asked in ((own, "nobody"), (scene.owner, "beta"))
    ]
    assert checks[0] == checks[1], "the quota of the credential's customer is checked, whoever is named"


def test_what_a_customer_may_read_is_narrowed_by_the_route(routes: list[Operation], tmp_path: Path) -> None:
    """Every reading route that a customer may use asks whose things are wanted in the one place that knows."""
    from aforo_collector.api.desk import customer_asked, payer_asked
    from aforo_collector.api.routes import ROUTERS

    asks = {
        route.path: {dependant.call for dependant in route.dependant.dependencies}
        for router in ROUTERS
        for route in router.routes
        if route.methods == {"GET"}
    }
    for operation in guarded(routes):
        if operation.method == "GET" and operation.access.customers:
            assert asks[operation.path] & {customer_asked, payer_asked}, operation


@pytest.mark.parametrize(
    "strange",
    [
        "' OR '1'='1",
        "..",
        "../../etc/passwd",
        "%2e%2e%2f",
        "a\x00b",
        "\u202e",
        "x" * 2000,
        "%",
        ":",
        "{}",
        ";--",
    ],
)
def test_strange_ids_find_nothing(scene: Scene, routes: list[Operation], strange: str) -> None:
    """Ids with the syntax of other languages in them are ids that do not exist."""
    from urllib.parse import quote

    for operation in guarded(routes):
        if "{" not in operation.path or operation.method != "GET" or "prices" in operation.path:
            continue
        names = [part.partition("}")[0].partition(":")[0] for part in operation.path.split("{")[1:]]
        values = dict.fromkeys(names, quote(strange, safe="")) | {"line": "0", "quarantineId": "0"}
        path = operation.path
        for name in names:
            path = path.replace(f"{{{name}:path}}", values[name]).replace(f"{{{name}}}", values[name])
        answer = scene.owner("GET", path, params={"customerId": strange})
        assert answer.status_code in (404, 422), (operation, answer.text)
