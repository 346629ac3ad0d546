"""CloudEvents 1.0 over HTTP: structured, batched and binary, each the same usage event."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.running import Running

from .events import event, instant, name, recorded, refused, send, took

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
PLACES = {"customerId": "subject", "metricName": "type", "occurredAt": "time"}
"""Fields of a usage event that have an attribute of the envelope to stand in."""


def send_structured(collector: Running, cloud: dict[str, Any]) -> httpx2.Response:
    """One CloudEvent as a JSON document."""
    return send(collector, "/v1/ingest", cloud, content_type=STRUCTURED)


def send_batched(collector: Running, cloud: dict[str, Any]) -> httpx2.Response:
    """The same in a batch."""
    return send(collector, "/v1/ingest/batch", [cloud], content_type=BATCHED)


def send_binary(collector: Running, cloud: dict[str, Any]) -> httpx2.Response:
    """The same with its attributes in headers, percent-encoded as the HTTP binding says."""
    attributes = {f"ce-{key}": quote(value, safe=":/+") for key, value in cloud.items() if key != "data"}
    data = json.dumps(cloud["data"]).encode()
    return send(collector, "/v1/ingest", data, **attributes)


def send_packed(collector: Running, cloud: dict[str, Any]) -> httpx2.Response:
    """The same with its data in base64."""
    packed = base64.b64encode(json.dumps(cloud["data"]).encode()).decode()
    rest = {key: value for key, value in cloud.items() if key != "data"}
    return send_structured(collector, rest | {"data_base64": packed})


WAYS = (send_structured, send_batched, send_binary, send_packed)

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10).filter(str.strip)


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_mode_is_the_same_event(collector: Running, data: st.DataObject) -> None:
    """Whatever stands in the envelope and whatever in the data, in any mode: one event and then duplicates."""
    metadata = data.draw(st.none() | st.dictionaries(texts, texts, max_size=2))
    plain = event(
        name() + data.draw(texts), quantity=data.draw(st.sampled_from([0, 1, 2.5])), occurredAt=instant(minutes=7),
        metadata=metadata, toolName=data.draw(st.none() | texts),
    )  # fmt: skip
    moved = data.draw(st.sets(st.sampled_from(sorted(PLACES))))
    cloud: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/gateway", "type": "some.type"}
    cloud |= {PLACES[field]: plain[field] for field in moved}
    cloud["data"] = {field: value for field, value in plain.items() if field not in moved}

    first = data.draw(st.sampled_from(WAYS))
    assert took_any(first(collector, cloud))["accepted"] == 1
    for way in WAYS:
        assert took_any(way(collector, cloud))["duplicates"] == 1, way
    assert took(send(collector, "/v1/ingest", plain))["duplicates"] == 1
    [one] = recorded(collector, plain["customerId"])
    assert one["metadata"] == (metadata or {})


def took_any(response: httpx2.Response) -> dict[str, Any]:
    """`data` of a route of one event or of many."""
    return took(response, 202 if response.status_code == 202 else 200)


@pytest.mark.parametrize("way", WAYS)
def test_the_envelope_alone_makes_an_event(collector: Running, way: Any) -> None:
    """Subject, type and time name customer, metric and moment; source and id are the key; the quantity is 1."""
    acme, own = name(), name("id")
    cloud = {"specversion": "1.0", "id": own, "source": "/gateway", "type": "api_calls", "subject": acme, "data": {},
             "traceparent": f"00-{'4bf9' * 8}-00f067aa0ba902b7-01"}  # fmt: skip
    for accepted in (1, 0):
        assert took_any(way(collector, cloud))["accepted"] == accepted
    other = cloud | {"source": "/another"}
    assert took_any(way(collector, other))["accepted"] == 1
    for one in recorded(collector, acme):
        assert (one["metricName"], one["quantity"], one["traceId"]) == ("api_calls", "1", "4bf9" * 8)
    assert {one["idempotencyKey"] for one in recorded(collector, acme)} == {
        f"/gateway#{own}",
        f"/another#{own}",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("/s", "a#b"), ("/s#a", "b")),
        (("/s", "x" * 300 + "1"), ("/s", "x" * 300 + "2")),
        (("/" + "s" * 300, "1"), ("/" + "s" * 301, "1")),
        (("/s", "\N{GRINNING FACE}" * 130 + "1"), ("/s", "\N{GRINNING FACE}" * 130 + "2")),
    ],
)
def test_source_and_id_of_any_length_tell_events_apart(
    collector: Running, one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Two events are never taken for one, and none is refused for what its envelope is called."""
    acme = name()
    for accepted in (1, 0):
        for source, own in (one, other):
            cloud = {"specversion": "1.0", "type": "api_calls", "subject": acme, "source": source, "id": own}
            assert took(send_structured(collector, cloud))["accepted"] == accepted
    assert len(recorded(collector, acme)) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"specversion": "0.3"}, "specversion"), ({"id": ""}, "id"), ({"source": ""}, "source"), ({"type": ""}, "type"),
        ({"data": []}, "data"), ({"data": 3}, "data"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_cloud_event_is_refused(
    collector: Running, way: Any, change: dict[str, Any], field: str
) -> None:
    """A wrong or missing attribute refuses the event, alone or in its batch, and is named."""
    cloud = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "api_calls",
        "subject": name(),
        "data": {},
    }
    response = way(collector, cloud | change)
    if response.status_code == 202:
        [error] = took(response, 202)["errors"]
        assert (error["code"], error["field"]) == ("INVALID_CLOUD_EVENT", field)
    else:
        problem = refused(response, 400, "INVALID_CLOUD_EVENT")
        assert problem["errors"][0]["parameter"] == field


def test_a_batch_of_cloud_events_is_taken_in_part(collector: Running) -> None:
    """The bad one is told by its index, and a batch has as many as any other."""
    acme = name()
    good = {"specversion": "1.0", "source": "/s", "type": "api_calls", "subject": acme}
    clouds = [good | {"id": name("id")}, good, 3, good | {"id": name("id")}]
    data = took(send(collector, "/v1/ingest/batch", clouds, content_type=BATCHED), 202)
    assert (data["accepted"], [error["index"] for error in data["errors"]]) == (2, [1, 2])
    for body in ({"events": clouds}, [], [good] * 1001):
        refused(send(collector, "/v1/ingest/batch", body, content_type=BATCHED), 400, "MALFORMED_BODY")
    assert len(recorded(collector, acme)) == 2
