"""Webhooks against a real collector: received, recorded once, logged, replayed."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aforo_collector.app import opened
from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.doors.webhooks.registry import PROVIDERS
from aforo_collector.service.webhooks import Webhooks
from aforo_collector.settings import Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.running import Running, Start
from tests.collector.test_webhook_mapping import values
from tests.collector.webhooks import Sending, events, source, usage
from tests.collector.wire import customer


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
    before = collector.data("/v1/intake/balance")["doors"]["webhook"]
    sending.change(mappings={"quantity": {"path": "$.quantity", "multiplier": "1000"}})
    for again in (
        sending.replay(delivery),
        sending.data(usage(who, quantity=2)),
        sending.data(usage(who, quantity=9)),
    ):
        assert (again["outcome"], again["duplicate"]) == ("duplicate", 1)
        assert "the first one stands" in again["events"][0]["detail"]
    assert [event["quantity"] for event in events(collector, who)] == ["2"]
    after = collector.data("/v1/intake/balance")["doors"]["webhook"]
    assert [after[name] - before[name] for name in ("received", "duplicates", "conflicts")] == [3, 3, 0]
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


@pytest.mark.parametrize("provider", ["stripe", "sendgrid", "twilio", "slack"])
def test_a_source_has_its_url_before_the_provider_has_a_secret(collector: Running, provider: str) -> None:
    """Nothing is believed before the provider's secret is set; then what came in the meantime is replayed."""
    known = source(collector, provider)
    wanted = {"provider": provider, "mappings": {"customerId": customer()}}
    made = collector.http.post("/v1/webhook-sources", json=wanted).json()["data"]
    assert made["secret"] is None
    sending, path = known._replace(source=made), f"/v1/webhook-sources/{made['sourceId']}/rotate"
    sample = PROVIDERS[provider].sample("7", int(time.time()))
    headers = {name.lower(): value for name, value in sample.headers.items()}
    early = sending(sample.body, **headers)
    assert (early.status_code, "has no secret yet" in early.json()["detail"]) == (401, True)
    unsaid = collector.http.post(path)
    assert (unsaid.status_code, unsaid.json()["errors"][0]["parameter"]) == (422, "secret")
    rotated = collector.http.post(path, json={"secret": known.source["secret"]}).json()["data"]
    assert (rotated["secret"], rotated["formerSecretUntil"]) == (known.source["secret"], None)
    assert sending.replay(sending.log()[0]["deliveryId"])["outcome"] == "accepted"
    assert sending.data(sample.body, **headers)["outcome"] == "duplicate"


def test_a_delivery_that_was_looked_at_wrongly_is_not_lost(collector: Running) -> None:
    """A source that named the wrong header is mended, and what it refused is replayed."""
    who = customer()
    sending = source(collector, options={"signatureHeader": "X-Wrong"})
    right = sending._replace(source=sending.source | {"options": {"signatureHeader": "X-Right"}})
    assert right(usage(who)).status_code == 401
    sending.change(options={"signatureHeader": "X-Right"})
    assert sending.replay(sending.log()[0]["deliveryId"])["outcome"] == "accepted"


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
    assert (dry["outcome"], str(dry["events"][0]["event"]["quantity"])) == ("accepted", "12.5")
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


def test_a_replay_is_judged_by_when_the_delivery_came(tmp_path: Path) -> None:
    """What was within the window when it came is so when it is replayed, weeks later."""
    with opened(Settings(data=tmp_path, dev=True), lambda _: None) as collector:
        webhooks = collector.app.state.desk.webhooks
        made = webhooks.sources.create(
            1, {"provider": "custom", "secret": "s", "retentionDays": 365}, lambda *_: None
        )
        day_ns = 86_400 * 10**9
        came_ns = time.time_ns() - 60 * day_ns
        for event_id, old_days in (("1", 89), ("2", 91)):
            happened_s = (came_ns - old_days * day_ns) // 10**9
            body = json.dumps(usage("acme", event_id, metricName="later", timestamp=happened_s)).encode()
            signed = PROVIDERS["custom"].sign("s", Incoming({}, "", body), 0)
            headers = {name.lower(): value for name, value in signed.items()}
            prepared = webhooks.prepare(made["sourceId"], Incoming(headers, "", body), came_ns)
            assert webhooks.record(prepared).result().outcome == "rejected"
        mappings = {"metricName": "api_calls", "occurredAt": "$.timestamp"}
        webhooks.sources.change(1, made["sourceId"], {"mappings": mappings})
        replays = [webhooks.replay(1, number).result() for number in (1, 2)]
        assert [replay.outcome for replay in replays] == ["accepted", "rejected"]
        assert replays[1].events[0]["code"] == "TOO_OLD"


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


def test_a_crash_loses_nothing_that_was_answered_and_doubles_nothing(start: Start) -> None:
    """After a kill -9 amid deliveries all are sent again: what was answered is a duplicate, and each is there once."""
    collector = start("--dev")
    who = customer()
    sending = source(collector)
    answered: list[str] = []

    def send(number: int) -> None:
        try:
            if sending(usage(who, str(number))).status_code == 200:
                answered.append(str(number))
        except httpx2.HTTPError:
            return
        if len(answered) == 20:
            collector.process.kill()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(60)))
    collector.kill()
    again = sending._replace(collector=start("--dev"))
    outcomes = {str(number): again.data(usage(who, str(number)))["outcome"] for number in range(60)}
    assert {outcomes[number] for number in answered} == {"duplicate"}
    assert set(outcomes.values()) == {"accepted", "duplicate"}
    assert len(events(again.collector, who)) == 60
    replayed = again.replay(again.log(outcome="accepted")[0]["deliveryId"])
    assert (replayed["outcome"], len(events(again.collector, who))) == ("duplicate", 60)


@pytest.mark.parametrize("failing", ["extract", "submit"])
def test_a_delivery_that_the_collector_fails_on_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A fault of our own is 200, so that it does not come back for days, logged as rejected, and replayable."""
    with opened(Settings(data=tmp_path, dev=True), lambda _: None) as collector:
        webhooks = collector.app.state.desk.webhooks
        made = webhooks.sources.create(1, {"provider": "custom", "secret": "s"}, lambda *_: None)
        body = json.dumps(usage("acme")).encode()
        headers = PROVIDERS["custom"].sign("s", Incoming({}, "", body), 0)

        async def send() -> dict[str, Any]:
            transport = httpx2.ASGITransport(app=collector.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://collector") as http:
                response = await http.post(made["path"], content=body, headers=headers)
            assert response.status_code == 200, response.text
            data: dict[str, Any] = response.json()["data"]
            return data

        def fault(*_: object, **__: object) -> None:
            raise AssertionError("a fault of our own")

        with monkeypatch.context() as patched:
            if failing == "extract":
                patched.setattr("aforo_collector.service.webhooks.extract", fault)
            else:
                patched.setattr(Webhooks, "_submit", _failing_once(Webhooks._submit))
            said = asyncio.run(send())
        assert (said["outcome"], said["events"][0]["code"]) == ("rejected", "UNPROCESSABLE")
        assert webhooks.replay(1, int(said["deliveryId"])).result().outcome == "accepted"


def _failing_once(submit: Any) -> Any:
    """`submit`, but failing for what holds an event: the refusal that stands for it goes through."""

    def failing(self: Webhooks, source: Any, events: Any, *when_ns: int, **more: Any) -> Any:
        if any(isinstance(one.event, dict) for one in events):
            raise AssertionError("a fault of our own")
        return submit(self, source, events, *when_ns, **more)

    return failing


def test_slack_asks_whether_somebody_is_there(collector: Running) -> None:
    """The signed challenge is given back; an unsigned one is not."""
    sending = source(collector, "slack")
    body = {"type": "url_verification", "challenge": "3eZbrw1a"}
    assert sending(body).json() == {"challenge": "3eZbrw1a"}
    assert sending(body, secret="other").status_code == 401


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
