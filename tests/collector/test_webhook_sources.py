"""Sources of webhooks and their log: managed, kept apart by tenant, sealed, swept."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.app import opened
from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.doors.webhooks.registry import PROVIDERS
from aforo_collector.settings import Settings
from aforo_collector.store.sqlite import StoreError
from aforo_collector.store.vault import SealBroken, vault_of

from tests.collector.running import Running, Start
from tests.collector.webhooks import events, source, usage
from tests.collector.wire import customer


def test_secrets_are_sealed_and_shown_once(start: Start, tmp_path: Path) -> None:
    """The answers to POST and rotate show a secret; no other answer and no file of the folder does."""
    collector = start("--dev")
    sending = source(collector, "stripe", secret="whsec_find_me_if_you_can")
    path = f"/v1/webhook-sources/{sending.source['sourceId']}"
    assert sending.source["secret"] == "whsec_find_me_if_you_can"
    for said in (
        collector.http.get(path),
        collector.http.get("/v1/webhook-sources"),
        collector.http.patch(path, json={}),
    ):
        assert said.status_code == 200
        assert "secret" not in json.dumps(said.json()).lower().replace("formersecretuntil", "")
    collector.stop()
    files = [file for file in (tmp_path / "data").iterdir() if file.is_file()]
    assert not [file for file in files if b"find_me" in file.read_bytes()]
    other = sending._replace(collector=start("--dev", AFORO_SECRET_KEY="QkJC" * 10 + "QkI="))
    put_off = other({"id": "evt_1"})
    assert (put_off.status_code, int(put_off.headers["Retry-After"]) < 10) == (503, True)


def test_what_is_sealed_opens_under_its_key_for_its_owner_alone(tmp_path: Path) -> None:
    """A secret comes back as it was; another key, another owner and a changed byte open nothing."""
    vault = vault_of(tmp_path, "")
    sealed = vault.seal("sécret", "me")
    assert vault_of(tmp_path, "").open(sealed, "me") == "sécret"
    assert vault.seal("sécret", "me") != sealed
    given = vault_of(tmp_path, "QUFB" * 10 + "QUE=")
    assert given.open(given.seal("x", "me"), "me") == "x"
    for vault_asked, text, owner in (
        (given, sealed, "me"),
        (vault, sealed, "you"),
        (vault, sealed[:-1] + b"x", "me"),
    ):
        with pytest.raises(SealBroken):
            vault_asked.open(text, owner)


def test_the_key_is_the_owners_alone_and_a_bad_one_is_said(tmp_path: Path) -> None:
    """The key file is readable by its owner only; a key that is none names where it came from."""
    vault_of(tmp_path, "")
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="AFORO_SECRET_KEY"):
        vault_of(tmp_path, "short")
    (tmp_path / "secret.key").write_text("cut off")
    with pytest.raises(StoreError, match=r"secret\.key"):
        vault_of(tmp_path, "")


def test_two_secrets_hold_while_one_is_rotated(collector: Running) -> None:
    """After a rotation both secrets are believed, until the grace is over; the one before them is not."""
    who = customer()
    sending = source(collector)
    path = f"/v1/webhook-sources/{sending.source['sourceId']}/rotate"
    first = sending.secret
    second = collector.http.post(path).json()["data"]["secret"]
    assert [sending(usage(who, key), secret=key).status_code for key in (first, second)] == [200, 200]
    third = collector.http.post(path, json={"graceS": 0}).json()["data"]["secret"]
    assert [sending(usage(who, "3"), secret=key).status_code for key in (first, second, third)] == [
        401,
        401,
        200,
    ]


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"provider": "paypal"}, "provider"),
        ({}, "provider"),
        ({"provider": "sendgrid", "secret": "no key"}, "secret"),
        ({"provider": "custom", "secret": ""}, "secret"),
        ({"provider": "custom", "retentionDays": -1}, "retentionDays"),
        ({"provider": "custom", "publicUrl": "ftp://x"}, "publicUrl"),
        ({"provider": "custom", "active": 1}, "active"),
        ({"provider": "custom", "colour": "red"}, "colour"),
        ({"provider": "custom", "mappings": {"quantity": "$.["}}, "mappings.quantity"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(
    collector: Running, body: dict[str, Any], parameter: str
) -> None:
    """422 names the field, and nothing is made."""
    before = len(collector.data("/v1/webhook-sources", limit=1000))
    response = collector.http.post("/v1/webhook-sources", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "INVALID_WEBHOOK_SOURCE")
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]
    assert len(collector.data("/v1/webhook-sources", limit=1000)) == before


def test_a_change_leaves_the_rest_as_it_is(collector: Running) -> None:
    """PATCH sets what it names, null takes it away, and the provider and the secret stay."""
    sending = source(collector, displayName="a", metricName="api_calls", retentionDays=7)
    path = f"/v1/webhook-sources/{sending.source['sourceId']}"
    sending.change(displayName="b", retentionDays=None, metricName=None)
    made = {name: value for name, value in sending.source.items() if name != "secret"}
    assert collector.data(path) == made | {"displayName": "b", "retentionDays": 30, "metricName": None}
    for changes in ({"provider": "github"}, {"secret": "x"}, {"sourceId": "x"}):
        assert collector.http.patch(path, json=changes).status_code == 422
    assert sending(usage(customer())).status_code == 200


def test_a_tenant_has_its_own_sources_and_log_only(tmp_path: Path) -> None:
    """For another tenant a source and its deliveries are not there, to read, change, rotate, replay or delete."""
    with opened(Settings(data=tmp_path, dev=True), lambda _: None) as collector:
        webhooks = collector.app.state.desk.webhooks
        sources, log = webhooks.sources, webhooks.log
        made = sources.create(1, {"provider": "custom", "secret": "s"}, lambda *_: None)
        source_id, body = made["sourceId"], json.dumps(usage("acme")).encode()
        sign = PROVIDERS["custom"].sign("s", Incoming({}, "", body), 0)
        headers = {name.lower(): value for name, value in sign.items()}
        prepared = webhooks.prepare(source_id, Incoming(headers, "", body), time.time_ns())
        number = webhooks.record(prepared).result().delivery_no
        for tenant_no, mine in ((2, False), (1, True)):
            assert (sources.get(tenant_no, source_id) is not None) == mine
            assert (sources.change(tenant_no, source_id, {"displayName": "x"}) is not None) == mine
            assert (sources.rotate(tenant_no, source_id, "t", 0) is not None) == mine
            assert bool(sources.page(tenant_no)["items"]) == mine
            assert (
                bool(log.page(tenant_no)["items"])
                == bool(log.page(tenant_no, source_id=source_id)["items"])
                == mine
            )
            assert (log.get(tenant_no, number) is not None) == mine
            assert (webhooks.replay(tenant_no, number) is not None) == mine
            assert sources.delete(tenant_no, source_id) == mine


def test_a_repeated_request_makes_one_source(collector: Running) -> None:
    """With an Idempotency-Key a source is made once, and its secret is in the first answer alone."""
    wanted, headers = {"provider": "github"}, {"Idempotency-Key": customer()}
    first, second = (
        collector.http.post("/v1/webhook-sources", json=wanted, headers=headers).json() for _ in range(2)
    )
    assert first["data"].pop("secret")
    assert (second["data"], second["meta"]) == (first["data"], {"replayed": True})


def test_trying_a_payload_records_nothing(collector: Running) -> None:
    """The test route says what a payload would become, unsigned, and leaves no trace."""
    who = customer()
    sending = source(collector, customerMap={"them": who})
    path = f"/v1/webhook-sources/{sending.source['sourceId']}/test"
    said = collector.http.post(path, json=[usage("them"), {"id": "2"}]).json()["data"]
    assert [event["outcome"] for event in said["events"]] == ["accepted", "rejected"]
    assert (said["dryRun"], said["events"][0]["event"]["customerId"]) == (True, who)
    assert (events(collector, who), sending.log()) == ([], [])
    assert sending.data(usage("them"))["outcome"] == "accepted"
    assert collector.http.post(path, json=usage("them")).json()["data"]["outcome"] == "duplicate"


def test_pages_of_sources_and_deliveries(collector: Running) -> None:
    """Both lists page without gaps or repeats."""
    sending = source(collector)
    for number in range(5):
        sending.data(usage(customer(), str(number)))
    for path, more in (
        ("/v1/webhook-deliveries", {"sourceId": sending.source["sourceId"]}),
        ("/v1/webhook-sources", {}),
    ):
        whole = collector.http.get(path, params={**more, "limit": 1000}).json()["data"]
        cursor, found = None, []
        while True:
            asked = {**more, "limit": 2} | ({"cursor": cursor} if cursor else {})
            answer = collector.http.get(path, params=asked).json()
            found += answer["data"]
            cursor = answer["meta"]["nextCursor"]
            if cursor is None:
                break
        assert found == whole
    assert collector.http.get("/v1/webhook-deliveries", params={"outcome": "odd"}).status_code == 422
    assert collector.http.get("/v1/webhook-deliveries/x").status_code == 404


def test_payloads_go_when_their_time_is_over(start: Start, tmp_path: Path) -> None:
    """Retention 0 and a deleted source: the next sweep deletes the payloads, the usage stays."""
    collector = start("--dev")
    who = customer()
    short, kept, gone = source(collector, retentionDays=0), source(collector), source(collector)
    for number, sending in enumerate((short, kept, gone)):
        assert sending.data(usage(who, str(number)))["outcome"] == "accepted"
    collector.http.delete(f"/v1/webhook-sources/{gone.source['sourceId']}")
    collector.stop()
    again = start("--dev")  # sweeps when it starts
    assert short._replace(collector=again).data(usage(who, "0"))["outcome"] == "duplicate"
    assert len(kept._replace(collector=again).log()) == 1
    assert len(events(again, who)) == 3
    again.stop()
    with sqlite3.connect(tmp_path / "data" / "aforo.db") as database:
        rows = database.execute("SELECT outcome FROM webhook_deliveries ORDER BY delivery_no").fetchall()
    database.close()
    assert rows == [("accepted",), ("duplicate",)]
