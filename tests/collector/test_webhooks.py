"""Webhooks against a real collector: received, recorded once, logged, replayed."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.doors.webhooks.registry import PROVIDERS, provider_of
from aforo_collector.store.sqlite import StoreError
from aforo_collector.store.vault import SealBroken, vault_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.running import Running, Start
from tests.collector.test_webhook_mapping import values
from tests.collector.test_webhook_signatures import PRIVATE, PUBLIC
from tests.collector.wire import customer


class Sending(NamedTuple):
    """A source of a running collector, and a provider that sends to it."""

    collector: Running
    source: dict[str, Any]
    secret: str

    def __call__(
        self, body: Any, *, secret: str | None = None, age_s: int = 0, **headers: str
    ) -> httpx2.Response:
        """Send a body as the provider would, signed with a secret."""
        provider = provider_of(self.source["provider"], self.source["options"] or {})
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        url = self.collector.url + self.source["path"]
        now_s = int(time.time()) - age_s
        signed = provider.sign(secret or self.secret, Incoming(told, url, body), now_s)
        return self.collector.http.post(self.source["path"], content=body, headers=told | signed)

    def data(self, body: Any, **more: Any) -> dict[str, Any]:
        """What became of a delivery."""
        response = self(body, **more)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    def change(self, **changes: Any) -> None:
        """Change the source."""
        response = self.collector.http.patch(f"/v1/webhook-sources/{self.source['sourceId']}", json=changes)
        assert response.status_code == 200, response.text

    def log(self, **parameters: Any) -> list[dict[str, Any]]:
        """What is logged of the source, latest first."""
        found: list[dict[str, Any]] = self.collector.data(
            "/v1/webhook-deliveries", sourceId=self.source["sourceId"], **parameters
        )
        return found

    def replay(self, delivery_id: str, *, dry: bool = False) -> dict[str, Any]:
        """What a replay makes of a delivery."""
        query = "?dryRun=true" if dry else ""
        response = self.collector.http.post(f"/v1/webhook-deliveries/{delivery_id}/replay{query}")
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data


def source(collector: Running, provider: str = "custom", **wanted: Any) -> Sending:
    """Make a source; its provider signs with the secret that was given, or that was made."""
    if provider not in ("github", "standard", "custom"):
        wanted = {"secret": PUBLIC if provider == "sendgrid" else "whsec_secret"} | wanted
    response = collector.http.post("/v1/webhook-sources", json={"provider": provider, **wanted})
    assert response.status_code == 201, response.text
    made = response.json()["data"]
    return Sending(collector, made, PRIVATE if provider == "sendgrid" else made["secret"])


def usage(who: str, event_id: str = "1", quantity: Any = 1, **more: Any) -> dict[str, Any]:
    """A payload of a custom sender."""
    return {"id": event_id, "customerId": who, "metricName": "api_calls", "quantity": quantity, **more}


def events(collector: Running, who: str) -> list[dict[str, Any]]:
    """The usage events of a customer."""
    found: list[dict[str, Any]] = collector.data("/v1/usage-events", customerId=who)
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_recorded_without_any_mapping(collector: Running, provider: str) -> None:
    """A signed sample of every provider becomes a usage event at once, with where it came from."""
    who = customer()
    public = "https://billing.example.com/hook" if provider == "twilio" else None
    sending = source(collector, provider, publicUrl=public, mappings={"customerId": who})
    sample = PROVIDERS[provider].sample("77", int(time.time()))
    headers = {name.lower(): value for name, value in sample.headers.items()}
    url = sending.source["publicUrl"] or collector.url + sending.source["path"]
    signed = PROVIDERS[provider].sign(sending.secret, Incoming(headers, url, sample.body), int(time.time()))
    response = collector.http.post(sending.source["path"], content=sample.body, headers=headers | signed)
    assert (response.status_code, response.json()["data"]["outcome"]) == (200, "accepted"), response.text
    (event,) = events(collector, who)
    assert event["metadata"]["sourceId"] == sending.source["sourceId"]
    assert event["metadata"]["provider"] == provider


def test_an_event_is_recorded_once(collector: Running) -> None:
    """However often it is delivered, at once or later, one event id is one usage event."""
    who = customer()
    sending = source(collector)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: sending.data(usage(who))["outcome"], range(16)))
    assert sorted(outcomes) == ["accepted"] + ["duplicate"] * 15
    assert sending.data([usage(who), usage(who, "2"), usage(who, "2", 5)])["outcome"] == "accepted"
    assert [event["quantity"] for event in events(collector, who)] == ["1", "1"]
    assert [delivery["outcome"] for delivery in sending.log(outcome="duplicate")] == ["duplicate"] * 15


def test_what_was_recorded_stands_when_the_mapping_changes(collector: Running) -> None:
    """A redelivery or a replay that the mapping now reads otherwise is a duplicate, and says so."""
    who = customer()
    sending = source(collector)
    delivery = sending.data(usage(who, quantity=2))["deliveryId"]
    sending.change(mappings={"quantity": {"path": "$.quantity", "multiplier": "1000"}})
    for again in (
        sending.replay(delivery),
        sending.data(usage(who, quantity=2)),
        sending.data(usage(who, quantity=9)),
    ):
        assert (again["outcome"], again["duplicate"]) == ("duplicate", 1)
        assert "the first one stands" in again["events"][0]["detail"]
    assert [event["quantity"] for event in events(collector, who)] == ["2"]
    logged = collector.data(f"/v1/webhook-deliveries/{delivery}")
    assert (logged["outcome"], logged["replayedAt"]) == ("accepted", None)


def test_a_bad_signature_is_logged_and_records_nothing(collector: Running) -> None:
    """Forged, unsigned or old: 401, kept in the log as not verified, and no usage."""
    who = customer()
    sending = source(collector, options={"timestampHeader": "X-Time"})
    answers = [
        sending(usage(who), secret="forged"),
        sending(usage(who), age_s=400),
        collector.http.post(sending.source["path"], json=usage(who)),
    ]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert answers[0].json()["code"] == "INVALID_SIGNATURE"
    assert events(collector, who) == []
    assert [(one["outcome"], one["verified"]) for one in sending.log()] == [("rejected", False)] * 3
    forged = sending.log()[-1]["deliveryId"]
    assert collector.http.post(f"/v1/webhook-deliveries/{forged}/replay").status_code == 409
    assert events(collector, who) == []


def test_a_delivery_under_a_secret_that_was_set_too_late_is_not_lost(collector: Running) -> None:
    """Once the right secret is known, what was refused for its signature can be replayed."""
    who = customer()
    sending = source(collector, options={"timestampHeader": "X-Time"})
    assert sending(usage(who), secret="the right one").status_code == 401
    rotate = f"/v1/webhook-sources/{sending.source['sourceId']}/rotate"
    assert collector.http.post(rotate, json={"secret": "the right one"}).status_code == 200
    assert sending.replay(sending.log()[0]["deliveryId"])["outcome"] == "accepted"
    assert len(events(collector, who)) == 1
    assert sending.log()[0]["verified"]


def test_unsigned_deliveries_do_not_fill_the_disk(collector: Running) -> None:
    """Of what nobody known has signed only the latest hundred are kept, and only small bodies."""
    sending = source(collector)
    payload = b"x" * 500_000
    collector.http.post(sending.source["path"], content=b"".join(str(n).encode() for n in range(60_000)))
    collector.http.post(sending.source["path"], content=payload)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: collector.http.post(sending.source["path"], content=b"x"), range(110)))
    assert len(sending.log(limit=1000)) == 100
    assert sending.data(usage(customer()))["outcome"] == "accepted"


def test_an_unknown_source_is_404(collector: Running) -> None:
    """A source that is not there, is no id, was deleted or is not active takes nothing."""
    sending = source(collector)
    ids = ["0b7c6a52-3a4e-4b0e-9a55-4a7d6f0f3c11", "x", "%2e%2e"]
    assert [collector.http.post(f"/v1/ingest/webhook/{one}").status_code for one in ids] == [404] * 3
    sending.change(active=False)
    assert sending(usage("a")).status_code == 404
    sending.change(active=True)
    path = f"/v1/webhook-sources/{sending.source['sourceId']}"
    assert collector.http.delete(path).json()["data"]["deleted"]
    assert sending(usage("a")).status_code == 404
    assert collector.http.get(path).status_code == 404
    assert sending.log() == []


def test_what_is_filtered_is_answered_and_logged(collector: Running) -> None:
    """An event that the filter leaves out is 200, logged, and recorded once the filter lets it in."""
    who = customer()
    sending = source(collector, eventFilter="usage.made, usage.late")
    assert sending.data(usage(who, type="usage.other"))["outcome"] == "filtered"
    assert sending.data(usage(who, "2", type="usage.late"))["outcome"] == "accepted"
    sending.change(eventFilter=None)
    (logged,) = sending.log(outcome="filtered")
    assert sending.replay(logged["deliveryId"])["outcome"] == "accepted"
    assert len(events(collector, who)) == 2


def test_what_maps_to_nothing_is_kept_and_replayed_after_it_is_mended(collector: Running) -> None:
    """A payload that the mapping or the validator refuses is 200, kept raw, and recorded by a replay."""
    who = customer()
    sending = source(collector)
    payload = {"id": "7", "account": who, "metricName": "api_calls", "n": "12.5"}
    said = sending.data(payload)
    assert (said["outcome"], said["events"][0]["field"]) == ("rejected", "customerId")
    assert sending.data(usage(who, "8", quantity=-1))["events"][0]["code"] == "INVALID_QUANTITY"
    logged = collector.data(f"/v1/webhook-deliveries/{said['deliveryId']}")
    assert json.loads(logged["payload"]) == payload
    assert logged["headers"]["content-type"] == "application/json"
    before = collector.data("/v1/intake/balance")["doors"]["webhook"]
    sending.change(mappings={"customerId": "$.account", "quantity": "$.n"})
    dry = sending.replay(said["deliveryId"], dry=True)
    assert (dry["outcome"], dry["events"][0]["event"]["quantity"]) == ("accepted", "12.5")
    assert events(collector, who) == []
    path = f"/v1/webhook-sources/{sending.source['sourceId']}/replay"
    answer = collector.http.post(path, params={"limit": 1}).json()
    assert (answer["data"]["accepted"], answer["meta"]["nextCursor"]) == (1, int(said["deliveryId"]))
    answer = collector.http.post(path, params={"cursor": answer["meta"]["nextCursor"]}).json()
    assert (answer["data"]["rejected"], answer["meta"]["nextCursor"]) == (1, None)
    (event,) = events(collector, who)
    assert (event["quantity"], event["occurredAt"]) == ("12.5", logged["receivedAt"])
    after = collector.data("/v1/intake/balance")["doors"]["webhook"]
    assert after["received"] - before["received"] == 2
    for books in (before, after):
        assert books["received"] == sum(
            books[name] for name in ("recorded", "duplicates", "conflicts", "rejected")
        )


def test_one_bad_event_of_a_delivery_costs_only_itself(collector: Running) -> None:
    """The others are recorded; a replay records what was mended and nothing twice."""
    who = customer()
    sending = source(collector)
    said = sending.data(
        [usage(who, "1"), {"id": "2", "who": who, "metricName": "api_calls"}, usage(who, "3")]
    )
    assert [event["outcome"] for event in said["events"]] == ["accepted", "rejected", "accepted"]
    sending.change(mappings={"customerId": {"path": ["$.customerId", "$.who"]}})
    again = sending.replay(said["deliveryId"])
    assert [event["outcome"] for event in again["events"]] == ["duplicate", "accepted", "duplicate"]
    assert len(events(collector, who)) == 3


def test_a_redelivery_after_a_crash_is_a_duplicate(start: Start) -> None:
    """What was answered before a kill -9 is there after it, and comes in only once."""
    collector = start("--dev")
    who = customer()
    sending = source(collector)
    first = sending.data([usage(who, "1"), usage(who, "2")])
    assert first["accepted"] == 2
    collector.kill()
    again = sending._replace(collector=start("--dev"))
    assert again.data([usage(who, "1"), usage(who, "2"), usage(who, "3")])["duplicate"] == 2
    assert again.replay(first["deliveryId"])["outcome"] == "duplicate"
    assert len(events(again.collector, who)) == 3


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
        ({"provider": "stripe"}, "secret"),
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


def test_slack_asks_whether_somebody_is_there(collector: Running) -> None:
    """The signed challenge is given back; an unsigned one is not."""
    sending = source(collector, "slack")
    body = {"type": "url_verification", "challenge": "3eZbrw1a"}
    assert sending(body).json() == {"challenge": "3eZbrw1a"}
    assert sending(body, secret="other").status_code == 401


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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_any_signed_body_is_answered(collector: Running, body: bytes) -> None:
    """Whatever was signed is 200, since no provider could mend it; nothing of it makes the collector fail."""
    sending = _shared(collector)
    assert sending(body).status_code == 200


_sources: dict[str, Sending] = {}


def _shared(collector: Running) -> Sending:
    if collector.url not in _sources:
        _sources[collector.url] = source(collector, mappings={"customerId": {"path": "$..*", "default": "a"}})
    return _sources[collector.url]


def test_bodies_are_bounded(collector: Running) -> None:
    """More than 10 MiB is 413; a deep payload is kept and rejected."""
    sending = source(collector)
    assert sending(b"x" * (10 * 1024 * 1024 + 1)).status_code == 413
    assert sending.data(b"[" * 100_000)["outcome"] == "rejected"
