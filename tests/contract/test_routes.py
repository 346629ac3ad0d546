"""Every ingest route: where it answers, whom it lets in, what bodies it takes, and what its answers look like."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from tests.collector.running import Running, Start

from .events import (
    COMPOUND,
    JSON,
    MANY,
    ROUTES,
    body_for,
    event,
    name,
    recorded,
    refused,
    send,
    took,
)


def status_of(path: str) -> int:
    """What a route answers when it took the body: batches are accepted, single events done."""
    return 202 if path.endswith("batch") else 200


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_records_its_event_once(collector: Running, path: str) -> None:
    """A valid event is accepted, reads back, and is a duplicate when it is sent again; a dry run records none."""
    acme = name()
    body = body_for(path, event(acme, metadata={"region": "eu"}))
    dry = path.endswith("/test")

    for expected in ((1, 0), (1, 0) if dry else (0, 1)):
        data = took(send(collector, path, body), status_of(path))
        assert (data["accepted"], data["duplicates"], data["failed"], data["errors"]) == (*expected, 0, [])
        assert data["killedSessionIds"] == []

    found = recorded(collector, acme)
    assert len(found) == (0 if dry else 1)
    for one in found:
        assert (one["metricName"], one["quantity"], one["metadata"]) == ("api_calls", "1", {"region": "eu"})


@pytest.mark.parametrize("path", COMPOUND)
def test_compound_routes_have_no_short_alias(collector: Running, path: str) -> None:
    """Compound events are taken under /api only."""
    refused(send(collector, path.removeprefix("/api"), body_for(path, event(name()))), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ROUTES)
def test_other_methods_are_refused(collector: Running, path: str) -> None:
    """An ingest route is posted to."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        response = collector.http.request(method, path)
        refused(response, 405, "METHOD_NOT_ALLOWED")
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ROUTES)
def test_only_json_is_taken(collector: Running, path: str) -> None:
    """Another content type is 415; a charset beside the type, or no type at all, is fine."""
    body = json.dumps(body_for(path, event(name()))).encode()
    for wrong in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        refused(send(collector, path, body, content_type=wrong), 415, "UNSUPPORTED_MEDIA_TYPE")
    for right in ("application/json; charset=utf-8", "Application/JSON"):
        took(send(collector, path, body, content_type=right), status_of(path))
    took(collector.http.post(path, content=body), status_of(path))


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff\xfe", b"3", b"null", b'"text"', b"[" * 5_000, b'{"a":NaN}'],
    ids=["nothing", "cut off", "no JSON", "no UTF-8", "number", "null", "text", "deep", "NaN"],
)  # fmt: skip
def test_what_is_no_json_of_the_route_is_refused_whole(collector: Running, path: str, body: bytes) -> None:
    """A malformed body is 400, and nothing of it is recorded."""
    refused(send(collector, path, body), 400, "MALFORMED_BODY")


@pytest.mark.parametrize("path", [path for path in ROUTES if "batch" not in path])
def test_single_routes_refuse_batches(collector: Running, path: str) -> None:
    """A batch on a route for one event is told so: a client that mixes them up must not lose its events."""
    one = event(name())
    problem = send(collector, path, {"events": [one]})
    assert problem.status_code == 400
    assert send(collector, path, [one]).status_code == 400
    if "compound" not in path:
        assert "/v1/ingest/batch" in problem.json()["detail"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_batch_routes_refuse_each_other_s_shape(collector: Running, prefix: str) -> None:
    """A bare array is wrong on /batch, an object on /async-batch; an empty list is wrong on both."""
    one = event(name())
    for path, bodies in (
        ("/v1/ingest/batch", ([one], one, {"events": []}, {"events": one}, {"events": None}, {}, [])),
        ("/v1/ingest/async-batch", ({"events": [one]}, one, [], {})),
    ):
        for body in bodies:
            refused(send(collector, prefix + path, body), 400, "MALFORMED_BODY")


@pytest.mark.parametrize(
    ("path", "most"), [*zip(MANY, (1_000, 10_000), strict=True), ("/api/v1/ingest/compound/batch", 500)]
)
def test_a_batch_may_have_so_many_events(collector: Running, path: str, most: int) -> None:
    """The most events that a route takes are taken, and one more is refused whole."""
    acme = name()
    events = [event(acme) for _ in range(most + 1)]
    refused(send(collector, path, body_for(path, *events)), 400, "MALFORMED_BODY")
    assert recorded(collector, acme) == []
    data = took(send(collector, path, body_for(path, *events[:most])), 202)
    assert (data["accepted"], data["failed"]) == (most, 0)


def test_keys_are_taken_from_either_header(start: Start) -> None:
    """X-API-Key and Bearer name the same credential; without one, or with a wrong one, it is 401 everywhere."""
    collector = start()
    [told] = [line for line in collector.said if line.startswith("API key")]
    key = told.rpartition(" ")[2]
    for path in ROUTES:
        acme = name()
        body = body_for(path, event(acme))
        for headers in (
            {"X_API_Key": key},
            {"Authorization": f"Bearer {key}"},
            {"authorization": f"bearer {key}"},
        ):
            took(send(collector, path, body, **headers), status_of(path))
        wrong: tuple[dict[str, str], ...] = (
            {}, {"X_API_Key": "sk_live_made_up"}, {"X_API_Key": ""}, {"Authorization": "Bearer made-up"},
            {"Authorization": key}, {"Authorization": f"Basic {key}"},
        )  # fmt: skip
        for headers in wrong:
            response = send(collector, path, body_for(path, event(acme)), **headers)
            assert response.status_code == 401, (path, headers)
            assert response.json()["code"] in ("MISSING_CREDENTIAL", "INVALID_CREDENTIAL")
            assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ROUTES)
def test_bodies_may_be_packed(collector: Running, path: str) -> None:
    """Gzip and deflate are undone; what is not packed as it says, or packed otherwise, is 400."""
    body = json.dumps(body_for(path, event(name()))).encode()
    for encoding, packed in (
        ("gzip", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("identity", body),
    ):
        took(send(collector, path, packed, content_encoding=encoding), status_of(path))
    for encoding, packed in (
        ("gzip", body), ("gzip", gzip.compress(body)[:-3]), ("gzip", b""), ("br", body), ("gzip, gzip", body),
    ):  # fmt: skip
        refused(send(collector, path, packed, content_encoding=encoding), 400, "MALFORMED_BODY")


@pytest.mark.parametrize("path", ["/v1/ingest", "/api/v1/ingest/batch", "/api/v1/ingest/compound"])
def test_bodies_are_bounded(collector: Running, path: str) -> None:
    """More than 10 MiB is 413, announced, found out while reading, or found out while unpacking."""
    blank = b" " * (10 * 1024 * 1024)
    body = json.dumps(body_for(path, event(name()))).encode()
    took(send(collector, path, body + blank[len(body) :]), status_of(path))
    refused(send(collector, path, body + blank), 413, "BODY_TOO_LARGE")
    packed = gzip.compress(body + blank, 1)
    refused(send(collector, path, packed, content_encoding="gzip"), 413, "BODY_TOO_LARGE")

    def chunks() -> Any:
        yield body
        for _ in range(11):
            yield blank[: 1024 * 1024]

    response = collector.http.post(path, content=chunks(), headers=JSON)
    refused(response, 413, "BODY_TOO_LARGE")


def test_a_caller_s_request_id_comes_back(collector: Running) -> None:
    """X-Request-Id of a request is in its answer's header, in `meta` and in a problem."""
    asked = {"X_Request_Id": "ask-1"}
    assert took(send(collector, "/v1/ingest", event(name()), **asked))["accepted"] == 1
    problem = refused(send(collector, "/v1/ingest", b"{", **asked), 400, "MALFORMED_BODY")
    assert problem["requestId"] == "ask-1"
