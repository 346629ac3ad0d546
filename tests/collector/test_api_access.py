"""Who may ask: keys, tenants, and what a development collector allows."""

import httpx2
import pytest

from tests.collector.running import Running, Start
from tests.collector.wire import PROTOBUF, body, customer, tool

READING = [
    "/v1/sessions", "/v1/sessions/x", "/v1/sessions/x/trace", "/v1/usage-events", "/v1/intake/balance",
    "/v1/intake/quarantine", "/v1/catalog", "/v1/unpriced", "/v1/prices/gpt-4o",
    "/v1/invoices/preview?customerId=acme", "/v1/invoices/preview/lines/0/events?customerId=acme",
]  # fmt: skip


def key_of(collector: Running) -> str:
    """The key that a first start prints."""
    [line] = [line for line in collector.said if "sk_live_" in line]
    return line.split()[-1]


def test_a_first_start_prints_a_key_once(start: Start) -> None:
    """The generated key works over restarts, is never shown again, and nothing else gets in."""
    first = start()
    key = key_of(first)
    assert first.http.get("/v1/sessions").status_code == 401
    assert first.http.get("/v1/sessions", headers={"X-API-Key": key}).status_code == 200
    first.stop()
    second = start()
    assert not any("sk_live_" in line for line in second.said)
    assert second.http.get("/v1/sessions", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_only_the_hash_of_a_key_is_on_disk(start: Start, tmp_path: pytest.TempPathFactory) -> None:
    """Whoever copies the data folder does not get the key."""
    collector = start()
    key = key_of(collector)
    collector.stop()
    files = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
    assert files
    assert not any(key.encode() in path.read_bytes() for path in files)


def test_every_route_of_a_tenant_wants_a_key(start: Start) -> None:
    """401 with a code and a challenge without a key, and with one that is not known."""
    collector = start()
    for path in READING:
        for headers, code in [
            ({}, "MISSING_CREDENTIAL"),
            ({"X-API-Key": "sk_live_no"}, "INVALID_CREDENTIAL"),
        ]:
            response = collector.http.get(path, headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, code)
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["content-type"] == "application/problem+json"


def test_nothing_is_recorded_without_a_key(start: Start) -> None:
    """Spans under an unknown key leave no trace."""
    collector = start()
    assert collector.http.post("/v1/traces", content=body(tool("a")), headers=PROTOBUF).status_code == 401
    key = {"X-API-Key": key_of(collector)}
    assert collector.http.get("/v1/intake/balance", headers=key).json()["data"]["received"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X-API-Key": "sk_test_dev"}, 200),
        ({"Authorization": "Bearer sk_test_dev"}, 200),
        ({"Authorization": "bearer sk_test_dev"}, 200),
        ({"X-API-Key": "sk_test_de"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic c2tfdGVzdF9kZXY="}, 401),
    ],
)
def test_development_needs_no_key_but_takes_no_wrong_one(
    collector: Running, headers: dict[str, str], status: int
) -> None:
    """Without a credential a request is of tenant dev; a credential that is wrong is never overlooked."""
    assert collector.http.get("/v1/sessions", headers=headers).status_code == status


def test_the_development_key_opens_nothing_else(start: Start) -> None:
    """A folder that was used with --dev does not know sk_test_dev without it."""
    start("--dev").stop()
    collector = start()
    assert collector.http.get("/v1/sessions", headers={"X-API-Key": "sk_test_dev"}).status_code == 401


def test_tenants_do_not_see_each_other(start: Start) -> None:
    """What one tenant sent is 404, empty or not counted for another."""
    acme = customer()
    develop = start("--dev")
    span = tool(acme, aforo__session__id="shared")
    assert develop.http.post("/v1/traces", content=body(span), headers=PROTOBUF).status_code == 200
    assert develop.data("/v1/sessions/shared")["customerId"] == acme
    develop.stop()
    other = start()
    key = {"X-API-Key": key_of(other)}

    def get(path: str) -> httpx2.Response:
        return other.http.get(path, headers=key)

    assert get("/v1/sessions/shared").status_code == 404
    assert get("/v1/sessions/shared/trace").status_code == 404
    assert other.http.post("/v1/sessions/shared/close", headers=key).status_code == 404
    assert get(f"/v1/invoices/preview?customerId={acme}").status_code == 404
    for path in ("/v1/sessions", "/v1/usage-events", "/v1/intake/quarantine"):
        assert get(path).json()["data"] == []
    assert get(f"/v1/usage-events?traceId={span.trace_id.hex()}").json()["data"] == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_development_listens_on_loopback_only(start: Start, host: str) -> None:
    """--dev with an address that others can reach is refused before anything starts."""
    collector = start("--dev", "--host", host)
    assert (collector.url, collector.stop()) == ("", 2)
    assert "loopback" in collector.said[-1]
