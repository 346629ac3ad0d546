"""API keys over HTTP: a secret shown once, rotated with an overlap, revoked at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.collector.access import As, key_said, two_tenants
from tests.collector.catalogs import catalog_for
from tests.collector.running import Start, starter
from tests.collector.wire import PROTOBUF, body, customer, tool

READ = "/v1/sessions"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[As]:
    """Everything allowed in one collector for the tests of the module."""
    with starter(tmp_path_factory.mktemp("keys") / "data") as start:
        collector = start()
        yield As(collector, key_said(collector))


def code_of(key: As, method: str = "GET", path: str = READ, **more: Any) -> tuple[int, str]:
    """Status and code of what a key gets."""
    response = key(method, path, **more)
    return response.status_code, "" if response.is_success else response.json()["code"]


def test_a_secret_is_shown_once(owner: As) -> None:
    """The answer that makes a key has its secret; no list and no later answer has it."""
    made = owner.made(name="one", customerId="acme", scopes=["usage:read"])
    assert made["secret"].startswith("sk_live_")
    assert code_of(As(owner._collector, made["secret"])) == (200, "")
    shown = owner.data(f"/v1/api-keys/{made['id']}")
    assert {name: value for name, value in made.items() if name != "secret"} == shown | {"lastUsedAt": None}
    assert made["secret"] not in json.dumps(owner.data("/v1/api-keys"))
    assert shown["customerId"] == "acme"
    assert shown["lastUsedAt"] > shown["createdAt"]


def test_prefixes_tell_what_a_secret_is(owner: As) -> None:
    """Operators' keys, customers' keys and clients are told apart by how they begin, as are environments."""
    begins = {
        "afo_": {},
        "sk_": {"customerId": "acme"},
        "cs_": {"customerId": "acme", "productType": "MCP_SERVER"},
    }
    for environment in ("live", "test"):
        for begin, asked in begins.items():
            made = owner.made(environment=environment, **asked)
            secret = made.get("secret") or made["clientSecret"]
            assert secret.startswith(f"{begin}{environment}_")


def test_lists_come_in_pages(owner: As) -> None:
    """Walking pages of one shows every key of a customer once, in the order of their making."""
    payer = customer()
    made = [owner.made(customerId=payer)["id"] for _ in range(4)]
    seen, cursor = [], None
    while True:
        parameters = {"customerId": payer, "limit": 1} | ({"cursor": cursor} if cursor else {})
        answer = owner("GET", "/v1/api-keys", params=parameters).json()
        seen += [key["id"] for key in answer["data"]]
        cursor = answer["meta"]["nextCursor"]
        if cursor is None:
            break
    assert seen == made


def test_rotation_keeps_the_secret_before_for_a_while(owner: As) -> None:
    """After a rotation both secrets open the key; after two, all three, until the first one's time is over."""
    made = owner.made()
    answer = owner("POST", f"/v1/api-keys/{made['id']}/rotate").json()
    until = datetime.fromisoformat(answer["data"]["previousUntil"])
    assert timedelta(minutes=4, seconds=50) < until - datetime.now(UTC) <= timedelta(minutes=5)
    again = owner("POST", f"/v1/api-keys/{made['id']}/rotate").json()
    secrets = [made["secret"], answer["data"]["secret"], again["data"]["secret"]]
    assert len(set(secrets)) == 3
    assert [code_of(As(owner._collector, secret)) for secret in secrets] == [(200, "")] * 3


def test_a_rotated_secret_ends_when_its_time_is_over(start: Start, tmp_path: Path) -> None:
    """The secret before is refused once its time is over, also by a collector that was started since."""
    collector = start()
    owner = As(collector, key_said(collector))
    made = owner.made()
    new = owner("POST", f"/v1/api-keys/{made['id']}/rotate").json()["data"]["secret"]
    collector.stop()
    file = sqlite3.connect(tmp_path / "data" / "aforo.db")
    assert file.execute("UPDATE secrets SET until_ns = 1 WHERE until_ns > 0").rowcount == 1
    file.commit()
    file.close()
    collector = start()
    assert code_of(As(collector, made["secret"])) == (401, "INVALID_CREDENTIAL")
    assert code_of(As(collector, new)) == (200, "")


def test_revocation_holds_at_once_and_for_good(start: Start) -> None:
    """From the answer on a revoked key and its tokens open nothing, also after kill -9; it cannot come back."""
    collector = start()
    owner = As(collector, key_said(collector))
    made = owner.made(customerId="acme", productType="AI_AGENT", scopes=["usage:ingest", "usage:read"])
    key_id, plain = made["id"], owner.made()
    token = As(collector, owner.token(key_id, made["clientSecret"]), "Authorization")
    key = As(collector, plain["secret"])
    assert code_of(token) == code_of(key) == (200, "")
    for one in (key_id, plain["id"]):
        answer = owner("POST", f"/v1/api-keys/{one}/revoke")
        assert answer.json()["data"]["status"] == "REVOKED"
    for running in (collector, None):
        if running is None:
            collector.kill()
            collector = start()
            owner, key, token = (As(collector, each.secret) for each in (owner, key, token))
            token = As(collector, token.secret, "Authorization")
        assert code_of(token) == (401, "CLIENT_REVOKED")
        assert code_of(key) == (403, "CREDENTIAL_REVOKED")
        assert code_of(key, "POST", "/v1/ingest", json={}) == (403, "CREDENTIAL_REVOKED")
    assert code_of(owner, "POST", f"/v1/api-keys/{key_id}/rotate") == (409, "CREDENTIAL_REVOKED")
    resumed = code_of(owner, "PATCH", f"/v1/api-keys/{key_id}", json={"status": "ACTIVE"})
    assert resumed == (409, "CREDENTIAL_REVOKED")
    assert owner("POST", f"/v1/api-keys/{key_id}/revoke").status_code == 200


def test_a_revocation_may_be_set_for_later(owner: As) -> None:
    """Until then the key works and says so; it can still be revoked at once."""
    made = owner.made()
    url = f"/v1/api-keys/{made['id']}/revoke"
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert owner("POST", url, json={"at": later}).json()["data"]["status"] == "PENDING_REVOCATION"
    key = As(owner._collector, made["secret"])
    assert code_of(key) == (200, "")
    assert owner("POST", url).json()["data"]["status"] == "REVOKED"
    assert code_of(key) == (403, "CREDENTIAL_REVOKED")


def test_a_key_may_be_suspended_and_resumed(owner: As) -> None:
    """A suspended key opens nothing until it is active again; its token neither."""
    made = owner.made(customerId="acme", productType="AI_AGENT")
    token = As(owner._collector, owner.token(made["id"], made["clientSecret"]), "Authorization")
    url = f"/v1/api-keys/{made['id']}"
    for status, expected in [("SUSPENDED", (403, "CREDENTIAL_SUSPENDED")), ("ACTIVE", (200, ""))]:
        assert owner("PATCH", url, json={"status": status}).json()["data"]["status"] == status
        assert code_of(token) == expected


def test_a_deleted_key_is_gone(owner: As) -> None:
    """What was deleted opens nothing, is not listed, and its tokens have ended."""
    made = owner.made(customerId="acme", productType="AI_AGENT")
    token = As(owner._collector, owner.token(made["id"], made["clientSecret"]), "Authorization")
    url = f"/v1/api-keys/{made['id']}"
    assert owner("DELETE", url).json()["data"]["status"] == "REVOKED"
    assert code_of(owner, "GET", url) == (404, "NOT_FOUND")
    assert code_of(token) == (401, "CLIENT_REVOKED")


def test_nobody_reaches_beyond_their_own_scopes(owner: As) -> None:
    """A key that makes keys gives no more than it has, and gets no secret of a key that may do more."""
    clerk = owner.key(scopes=["keys:write", "usage:read"])
    strong = owner.made(scopes=["admin"])["id"]
    refused = (403, "INSUFFICIENT_SCOPE")
    assert code_of(clerk, "POST", "/v1/api-keys", json={"scopes": ["admin"]}) == refused
    assert code_of(clerk, "POST", "/v1/api-keys", json={"scopes": ["usage:ingest"]}) == refused
    assert code_of(clerk, "POST", f"/v1/api-keys/{strong}/rotate") == refused
    assert code_of(clerk, "PATCH", f"/v1/api-keys/{strong}", json={"status": "ACTIVE"}) == refused
    assert clerk.made(scopes=["usage:read"])["scopes"] == ["usage:read"]
    assert clerk("POST", f"/v1/api-keys/{strong}/revoke").status_code == 200, "ending one is always allowed"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"content": b"{"}, 400, "MALFORMED_BODY"),
        ({"content": b"[" * 100_000}, 422, "INVALID_BODY"),
        ({"content": b"[]"}, 422, "INVALID_BODY"),
        ({"json": {"surprise": 1}}, 422, "INVALID_BODY"),
        ({"json": {"scopes": "admin"}}, 422, "INVALID_BODY"),
        ({"json": {"expiresAt": "2030-01-01T00:00:00"}}, 422, "INVALID_BODY"),
        ({"json": {"expiresAt": "9999-12-31T23:59:59Z"}}, 422, "INVALID_BODY"),
        ({"json": {"rateLimitPerMinute": 10**30}}, 422, "INVALID_BODY"),
        ({"content": b"a=b", "headers": {"Content-Type": "text/plain"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_a_request_that_makes_no_sense_makes_no_key(
    owner: As, sent: dict[str, Any], status: int, code: str
) -> None:
    """What cannot be read or is contradictory is refused with a reason, and no key is made."""
    before = len(owner.data("/v1/api-keys", limit=1000))
    assert code_of(owner, "POST", "/v1/api-keys", **sent) == (status, code)
    assert len(owner.data("/v1/api-keys", limit=1000)) == before


def test_an_idempotency_key_makes_one_key(start: Start) -> None:
    """The same request again, also after a restart, is answered with the same key, without its secret."""
    collector = start()
    secret = key_said(collector)
    once = {"Idempotency-Key": "order-1"}
    made = As(collector, secret)("POST", "/v1/api-keys", json={"name": "a"}, headers=once)
    for restart in (False, True):
        if restart:
            collector.kill()
            collector = start()
        owner = As(collector, secret)
        again = owner("POST", "/v1/api-keys", json={"name": "a"}, headers=once)
        assert (made.status_code, again.status_code) == (201, 201)
        first = made.json()["data"]
        assert {"secret": first["secret"]} | again.json()["data"] == first
        assert "secret" not in again.json()["data"]
        assert again.json()["meta"] == {"replayed": True}
        other = code_of(owner, "POST", "/v1/api-keys", json={"name": "b"}, headers=once)
        assert other == (409, "IDEMPOTENCY_KEY_REUSED")
        elsewhere = code_of(owner, "POST", "/v1/customers", json={"name": "a"}, headers=once)
        assert elsewhere == (409, "IDEMPOTENCY_KEY_REUSED")
        assert [key["name"] for key in owner.data("/v1/api-keys")] == ["first", "a"]


def test_idempotency_keys_of_tenants_are_apart(start: Start, tmp_path: Path) -> None:
    """Two tenants may use one idempotency key, for a key each."""
    made = [
        tenant("POST", "/v1/api-keys", json={}, headers={"Idempotency-Key": "x"}).json()["data"]["id"]
        for tenant in two_tenants(start, tmp_path / "data")
    ]
    assert len(set(made)) == 2


def test_secrets_are_nowhere_in_clear(start: Start, tmp_path: Path) -> None:
    """Neither files of the data folder nor anything that the collector says holds a secret or a token."""
    collector = start()
    owner = As(collector, key_said(collector))
    secrets = [owner.made(name="k")["secret"]]
    client = owner.made(customerId="acme", productType="MCP_SERVER")
    secrets += [client["clientSecret"], owner.token(client["id"], client["clientSecret"])]
    once = {"Idempotency-Key": "again"}
    secrets.append(owner("POST", "/v1/api-keys", json={}, headers=once).json()["data"]["secret"])
    secrets.append(owner("POST", f"/v1/api-keys/{client['id']}/rotate").json()["data"]["clientSecret"])
    for wrong in ("sk_live_wrong-secret", "eyJ.wrong-secret.x"):
        As(collector, wrong)("GET", READ)
        As(collector, wrong, "Authorization")("GET", READ)
    collector.stop()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    said = "\n".join(collector.said[3:])
    for secret in [*secrets, "wrong-secret"]:
        assert secret.encode() not in kept
        assert secret not in said
    for path in (tmp_path / "data" / "signing-keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_test_environment_is_apart(start: Start) -> None:
    """Usage under a test key is in the numbers of the test environment and in no live ones."""
    collector = start()
    owner = As(collector, key_said(collector))
    assert owner("PUT", "/v1/catalog", json=catalog_for("acme")).status_code == 200
    test = owner.key(environment="test", scopes=["admin"])
    spans = body(tool("acme", aforo__session__id="s"))
    assert test("POST", "/v1/traces", content=spans, headers=PROTOBUF).status_code == 200
    assert owner("GET", "/v1/sessions/s").status_code == 404
    assert owner("GET", "/v1/invoices/preview", params={"customerId": "acme"}).json()["data"]["lines"] == []
    assert owner.data("/v1/intake/balance")["received"] == 0
    assert test.data("/v1/sessions/s")["customerId"] == "acme"
    assert test.data("/v1/invoices/preview", customerId="acme")["total"] == "0.00"
    assert len(test.data("/v1/invoices/preview", customerId="acme")["lines"]) == 1
    assert test("PUT", "/v1/catalog", json=catalog_for("beta")).status_code == 200
    assert owner.data("/v1/catalog")["customers"][0]["id"] == "acme"
    assert {key["environment"] for key in owner.data("/v1/api-keys")} == {"live", "test"}
    assert {key["environment"] for key in test.data("/v1/api-keys")} == {"test"}
    assert code_of(test, "POST", "/v1/api-keys", json={"environment": "live"})[0] == 403
    first = owner.data("/v1/api-keys")[0]["id"]
    assert code_of(test, "POST", f"/v1/api-keys/{first}/revoke") == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("named", "status"), [("default", 200), ("other", 403), ("", 403), ("default:test", 403)]
)
def test_a_tenant_that_is_named_must_be_that_of_the_key(owner: As, named: str, status: int) -> None:
    """X-Tenant-Id decides nothing; one that contradicts the credential is refused."""
    assert owner("GET", READ, headers={"X-Tenant-Id": named}).status_code == status


def test_a_client_says_who_pays_over_what_it_sends(owner: As) -> None:
    """Usage under a customer's credential is that customer's, whatever spans and events name."""
    payer, victim = customer(), customer()
    client = owner.client(
        customerId=payer, teamId="ops", accessorType="AGENT", accessorId="bot", productType="AI_AGENT"
    )
    span = tool(victim, aforo__session__id=f"s-{payer}", aforo__team__id="theirs")
    assert client("POST", "/v1/traces", content=body(span), headers=PROTOBUF).status_code == 200
    event = {"customerId": victim, "metricName": "api_calls", "quantity": 1, "idempotencyKey": f"k-{payer}"}
    sent = client("POST", "/v1/ingest", json=event, headers={"X-Customer-Id": victim})
    assert sent.status_code == 200, sent.text
    session = owner.data(f"/v1/sessions/s-{payer}")
    assert (session["customerId"], session["teamId"], session["agentId"], session["productType"]) == (
        payer, "ops", "bot", "AI_AGENT",
    )  # fmt: skip
    assert owner.data("/v1/usage-events", customerId=victim) == []


def test_what_was_refused_is_still_its_senders(owner: As) -> None:
    """An event that is sent again from the quarantine is of the customer whose credential brought it."""
    payer, victim = customer(), customer()
    client = owner.key(customerId=payer, accessorType="APP", accessorId="web")
    event = {"customerId": victim, "metricName": "surprise", "quantity": 1, "idempotencyKey": f"k-{payer}"}
    assert client("POST", "/v1/ingest", json=event).status_code == 422
    number = owner.data("/v1/intake/quarantine")[0]["quarantineId"]
    replayed = owner("POST", f"/v1/intake/quarantine/{number}/replay", json={"metricName": "api_calls"})
    assert replayed.json()["data"]["outcome"] == "recorded", replayed.text
    again = client("POST", "/v1/ingest", json=event | {"metricName": "api_calls"})
    assert again.json()["data"]["duplicates"] == 1, again.text
    assert owner.data("/v1/usage-events", customerId=victim) == []
    history = owner.data(f"/v1/usage-events/k-{payer}/history")
    assert [(booking["customerId"], booking["appId"]) for booking in history] == [(payer, "web")]


def test_a_key_may_be_used_so_often(owner: As) -> None:
    """Beyond its rate a key gets 429 with everything a client needs to wait; other keys are not held up."""
    made = owner.made(rateLimitPerMinute=3)
    key = As(owner._collector, made["secret"])
    answers = [key("GET", READ) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[-1]
    document = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert document["type"] == "https://errors.aforo.ai/rate-limited"
    assert document["code"] == "RATE_LIMITED"
    assert 1 <= document["retryAfter"] <= 20
    assert refused.headers["retry-after"] == str(document["retryAfter"])
    assert [refused.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "window")] == [
        "3", "0", "60",
    ]  # fmt: skip
    assert 40 < int(refused.headers["x-ratelimit-reset"]) <= 60
    sent = key("POST", "/v1/traces", content=body(tool("acme")), headers=PROTOBUF)
    assert (sent.status_code, sent.headers["content-type"]) == (429, "application/x-protobuf")
    assert code_of(owner) == (200, "")
    assert owner("PATCH", f"/v1/api-keys/{made['id']}", json={"rateLimitPerMinute": None}).is_success
    assert code_of(key) == (200, "")


def test_the_collector_may_limit_every_key(start: Start) -> None:
    """AFORO_RATE_LIMIT_PER_MINUTE holds for keys without a limit of their own, each for itself."""
    collector = start(AFORO_RATE_LIMIT_PER_MINUTE="4")
    owner = As(collector, key_said(collector))
    free, held = owner.key(rateLimitPerMinute=0), owner.key()
    assert [free("GET", READ).status_code for _ in range(9)] == [200] * 9
    assert [held("GET", READ).status_code for _ in range(6)] == [200] * 4 + [429] * 2
    assert code_of(owner) == (200, "")


def test_an_older_folder_keeps_its_keys(start: Start, tmp_path: Path) -> None:
    """A key that was made before keys had scopes opens everything, as it did, and is listed."""
    from hashlib import sha256

    from aforo_collector.store.sqlite import FILE_NAME
    from aforo_collector.store.sqlite_schema import STEPS

    (tmp_path / "data").mkdir()
    old = sqlite3.connect(tmp_path / "data" / FILE_NAME)
    old.executescript(STEPS[0] + "PRAGMA user_version = 1;")
    old.execute("INSERT INTO tenants VALUES (1, 'default')")
    old.execute(
        "INSERT INTO api_keys VALUES (?, 1, 'first', 1795000000000000000)", (sha256(b"sk_live_old").digest(),)
    )
    old.commit()
    old.close()
    collector = start()
    assert not any("sk_live_" in line for line in collector.said)
    [key] = As(collector, "sk_live_old").data("/v1/api-keys")
    assert (key["name"], key["scopes"], key["status"]) == ("first", ["admin"], "ACTIVE")
