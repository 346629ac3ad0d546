"""The fields of a usage event: what they are called, how long they may be, what they may say (appendix B)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import NOBODY
from aforo_collector.domain.submission import WINDOW_NS
from aforo_collector.pipeline.admit import Refused, admit

from tests.collector.running import Running

from .events import event, instant, name, recorded, refused, send, took

LIMITS = {
    "customerId": 64, "metricName": 255, "idempotencyKey": 255, "traceId": 128, "spanId": 32, "sessionId": 64,
    "agentId": 36, "toolName": 64, "capabilityName": 64, "subscriptionId": 64, "endpointPath": 512,
    "httpMethod": 16, "grpcService": 255, "grpcMethod": 128, "gqlOperationName": 255, "wsConnectionId": 64,
    "wsCloseReason": 32, "mqttTopic": 500, "mqttClientId": 128,
}  # fmt: skip
"""Appendix B, but for the two fields whose values are fixed words."""

WORDS = {
    "productType": ("API", "AGENTIC_API", "AI_AGENT", "MCP_SERVER", "GRPC_API", "GRAPHQL_API", "WEBSOCKET_API",
                    "MQTT_BROKER"),
    "executionStatus": ("SUCCESS", "PARTIAL", "TIMEOUT", "ERROR", "VALIDATION_FAILED", "FAILED", "FAILURE",
                        "CANCELLED", "PENDING", "BLOCKED", "HITL_REQUIRED"),
}  # fmt: skip


def texts_of(units: int) -> list[str]:
    """Texts of so many UTF-16 code units: ASCII, two bytes each, and two units a character."""
    astral = "\N{GRINNING FACE}" * (units // 2)
    return ["x" * units, "é" * units, astral + "x" * (units % 2)]


@pytest.mark.parametrize(("field", "limit"), LIMITS.items())
def test_a_text_may_be_as_long_as_its_limit_in_utf_16(collector: Running, field: str, limit: int) -> None:
    """At the limit it is taken as it is, one unit more is a refusal that names the field; nothing is cut."""
    for text in texts_of(limit):
        acme = text if field == "customerId" else name()
        own = text[:-12] + name()[-12:] if field == "idempotencyKey" and text.isascii() else text
        response = send(collector, "/v1/ingest", event(acme, **{field: own}))
        if field == "metricName":  # no unit has such a name, but it is looked up
            refused(response, 422, "UNKNOWN_METRIC")
            continue
        data = took(response)
        if field in ("customerId", "idempotencyKey"):
            assert data["accepted"] + data["duplicates"] + data["conflicts"] == 1
        found = recorded(collector, acme)
        assert own in [one[field] for one in found]
    for text in texts_of(limit + 1):
        problem = refused(
            send(collector, "/v1/ingest", event(name(), **{field: text})), 400, "FIELD_TOO_LONG"
        )
        assert problem["errors"][0]["parameter"] == field
        assert str(limit) in problem["detail"]


def test_a_batch_says_by_index_which_text_is_too_long(collector: Running) -> None:
    """One event for each limit, all too long by one unit: each is refused alone, the good one between is taken."""
    acme = name()
    bad = [event(acme, **{field: "x" * (limit + 1)}) for field, limit in LIMITS.items()]
    half = len(bad) // 2
    data = took(send(collector, "/v1/ingest/batch", {"events": [*bad[:half], event(acme), *bad[half:]]}), 202)
    assert (data["accepted"], data["failed"]) == (1, len(bad))
    told = {error["index"]: (error["code"], error["field"]) for error in data["errors"]}
    fields = list(LIMITS)
    assert told == {index + (index >= half): ("FIELD_TOO_LONG", field) for index, field in enumerate(fields)}
    assert len(recorded(collector, acme)) == 1


@pytest.mark.parametrize(("field", "words"), WORDS.items())
def test_words_are_known_in_any_case(collector: Running, field: str, words: tuple[str, ...]) -> None:
    """Every listed word is taken, trimmed and upper-cased; any other refuses the event and names the field."""
    for word in words:
        acme = name()
        assert (
            took(send(collector, "/v1/ingest", event(acme, **{field: f" {word.lower()}"})))["accepted"] == 1
        )
        [one] = recorded(collector, acme)
        if field == "executionStatus":
            assert one[field] == word
        else:
            assert one[field] == (word if word in WORDS["productType"][:4] else "API")
    code = {"productType": "INVALID_PRODUCT_TYPE", "executionStatus": "INVALID_STATUS"}[field]
    problem = refused(send(collector, "/v1/ingest", event(name(), **{field: "SURPRISING"})), 400, code)
    assert problem["errors"][0]["parameter"] == field
    refused(send(collector, "/v1/ingest", event(name(), **{field: "x" * 21})), 400, "FIELD_TOO_LONG")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *((field, value, "INVALID_FIELD") for field in LIMITS for value in (1, True, ["x"], {"x": 1})),
        *((field, value, "INVALID_FIELD")
          for field in ("executionDurationMs", "statusCode", "responseTimeMs", "messageCount", "dataBytes",
                        "gqlComplexity")
          for value in ("1", 1.5, True, 10**20)),
        ("metadata", [], "INVALID_METADATA"), ("metadata", "x", "INVALID_METADATA"), ("trace", 1, "INVALID_TRACE"),
        ("metadata", {"x": "y" * 40_000}, "METADATA_TOO_LARGE"),
        *((field, "\0", "INVALID_FIELD") for field in LIMITS),
        ("customerId", " ", "MISSING_FIELD"), ("customerId", "", "MISSING_FIELD"), ("metricName", " ", "MISSING_FIELD"),
        ("metricName", "", "MISSING_FIELD"),
        *((field, None, "MISSING_FIELD") for field in ("customerId", "metricName", "quantity")),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_refuses_its_event(
    collector: Running, field: str, value: Any, code: str
) -> None:
    """Numbers for texts, texts for numbers, lists for objects, blanks and nothing: 400 with the field's name."""
    problem = refused(send(collector, "/v1/ingest", event(name(), **{field: value})), 400, code)
    assert problem["errors"][0]["parameter"] == field


def test_a_duration_that_nothing_has_is_a_moment(collector: Running) -> None:
    """What says that it took more than 90 days is recorded without its duration, wherever that stands."""
    acme, longest = name(), 90 * 86_400_000
    durations = [event(acme, executionDurationMs=each) for each in (longest, longest + 1, 2**53)]
    noted = [event(acme, metadata={"executionDurationMs": each}) for each in (longest, longest + 1, 10**30)]
    took(send(collector, "/v1/ingest/batch", {"events": [*durations, *noted]}), 202)
    told = [one.get("executionDurationMs") for one in recorded(collector, acme)]
    assert told == [longest, None, None, longest, None, None]


@pytest.mark.parametrize("levels", [2, 64])
def test_metadata_reads_back_as_it_came(collector: Running, levels: int) -> None:
    """Every JSON value comes back as it is, numbers to the last digit, as deep as it may be."""
    text = (
        '{"n":0.12345678901234567890,"i":123456789012345678901234567890,"e":1e400,"s":"\\u00e9\\n\\ud83d\\ude00",'
        '"t":true,"z":null,"deep":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    )
    acme = name()
    body = f'{{"customerId":"{acme}","metricName":"api_calls","quantity":1,"metadata":{text}}}'.encode()
    took(send(collector, "/v1/ingest", body))
    answer = collector.http.get("/v1/usage-events", params={"customerId": acme}).text
    for written in (
        '"n":0.12345678901234567890',
        '"i":123456789012345678901234567890',
        '"e":1E+400',
        '"t":true',
    ):
        assert written in answer
    [one] = recorded(collector, acme)
    assert one["metadata"]["s"] == "é\n\N{GRINNING FACE}"


@pytest.mark.parametrize("levels", [65, 500, 980])
def test_metadata_too_deep_to_read_is_not_taken(collector: Running, levels: int) -> None:
    """Nesting beyond 64 refuses the event, wherever it stands; the customer's other events stay readable."""
    acme = name()
    took(send(collector, "/v1/ingest", event(acme)))
    deep = '{"a":' * levels + "1" + "}" * levels
    for field in ("metadata", "surprise"):
        body = f'{{"customerId":"{acme}","metricName":"api_calls","quantity":1,"{field}":{deep}}}'.encode()
        refused(send(collector, "/v1/ingest", body), 400, "METADATA_TOO_DEEP")
    assert len(recorded(collector, acme)) == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0", "0"), ("0.0", "0"), ("-0", "0"), ("1", "1"), ("0.000001", "0.000001"), ("1e3", "1000"),
        ("1.50", "1.5"), ("1.0000000000", "1"), ("99999999999999", "99999999999999"),
        ("99999999999999.999999", "99999999999999.999999"), ("1E-6", "0.000001"),
        ("0.30000000000000004", None), ("0.0000001", None), ("-1", None), ("-0.000001", None),
        ("100000000000000", None), ("1e14", None), ("1e400", None), ("1e-400", None), ('"1"', None), ("true", None),
        ("[1]", None), ("{}", None), ("123456789012345678901234567890", None),
    ],
)  # fmt: skip
def test_a_quantity_is_exact(collector: Running, written: str, read: str | None) -> None:
    """NUMERIC(20,6), 0 included: taken to the last digit or refused, never rounded."""
    acme = name()
    body = f'{{"customerId":"{acme}","metricName":"api_calls","quantity":{written}}}'.encode()
    response = send(collector, "/v1/ingest", body)
    if read is None:
        assert refused(response, 400, "INVALID_QUANTITY")["errors"][0]["parameter"] == "quantity"
        assert recorded(collector, acme) == []
    else:
        took(response)
        [one] = recorded(collector, acme)
        assert one["quantity"] == read


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1.", ".5", "+1", "0x1", "1_000", "01"])
def test_a_quantity_that_no_json_can_say_is_malformed(collector: Running, written: str) -> None:
    """What is no JSON number makes no JSON body."""
    body = f'{{"customerId":"x","metricName":"api_calls","quantity":{written}}}'.encode()
    refused(send(collector, "/v1/ingest", body), 400, "MALFORMED_BODY")


@pytest.mark.parametrize(
    ("ago", "code"),
    [
        ({"minutes": -4}, ""), ({"minutes": -5}, ""), ({"minutes": -5, "seconds": -20}, "TOO_FAR_IN_FUTURE"),
        ({"minutes": -10}, "TOO_FAR_IN_FUTURE"), ({"days": -3650}, "TOO_FAR_IN_FUTURE"),
        ({"hours": 2}, ""), ({"hours": 25}, ""), ({"days": 89}, ""), ({"days": 90, "seconds": -60}, ""),
        ({"days": 90, "seconds": 1}, "TOO_OLD"), ({"days": 91}, "TOO_OLD"), ({"days": 3650}, "TOO_OLD"),
    ],
)  # fmt: skip
def test_the_window_of_time(collector: Running, ago: dict[str, float], code: str) -> None:
    """From 90 days ago to 5 minutes ahead an event may have happened; beyond it is refused, with the bound."""
    when = instant(**ago)
    acme = name()
    response = send(collector, "/v1/ingest", event(acme, occurredAt=when))
    if code:
        problem = refused(response, 400, code)
        assert problem["errors"][0]["parameter"] == "occurredAt"
        assert ("5 minutes" in problem["detail"], "90 days" in problem["detail"]) == (
            code == "TOO_FAR_IN_FUTURE", code == "TOO_OLD",
        )  # fmt: skip
    else:
        took(response)
        [one] = recorded(collector, acme)
        assert datetime.fromisoformat(one["occurredAt"]) == datetime.fromisoformat(when)


def test_both_ends_of_the_window_are_in_it() -> None:
    """Exactly 90 days ago and exactly 5 minutes ahead are taken; a microsecond more is not."""
    now = datetime(2026, 10, 1, tzinfo=UTC)
    now_ns = int(now.timestamp()) * 1_000_000_000
    bounds = now_ns - WINDOW_NS[0], now_ns + WINDOW_NS[1]
    step = timedelta(microseconds=1)
    for edge, beyond in ((now - timedelta(days=90), -step), (now + timedelta(minutes=5), step)):
        stated = {
            "customerId": "acme",
            "metricName": "api_calls",
            "quantity": 1,
            "occurredAt": edge.isoformat(),
        }
        assert admit(stated, Catalog(), bounds, NOBODY).occurred_ns in bounds
        with pytest.raises(Refused):
            admit(stated | {"occurredAt": (edge + beyond).isoformat()}, Catalog(), bounds, NOBODY)


def test_times_are_read_in_every_spelling(collector: Running) -> None:
    """RFC 3339 with or without seconds, fractions, offset or capitals, and epoch seconds, mean one moment."""
    moment = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    local = (moment + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M")
    base = moment.strftime("%Y-%m-%dT%H:%M")
    spellings: list[Any] = [
        f"{base}Z", f"{base}:00Z", f"{base}:00.0Z", f"{base}:00.000000000Z", f"{base.lower()}:00z", f"{base}:00+00:00",
        f"{base}:00+0000", f"{local}:00+05:30", f"{local}+0530", base, f"{base}:00", base.replace("T", " "),
        int(moment.timestamp()),
    ]  # fmt: skip
    acme = name()
    for spelling in spellings:
        took(send(collector, "/v1/ingest", event(acme, occurredAt=spelling)))
    found = recorded(collector, acme)
    assert len(found) == len(spellings)
    assert {datetime.fromisoformat(one["occurredAt"]) for one in found} == {moment}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("yesterday", "INVALID_TIME"), ("2026-13-01T00:00:00Z", "INVALID_TIME"), ("", ""), (True, "INVALID_TIME"),
        ([], "INVALID_TIME"), ({}, "INVALID_TIME"), ("9999-12-31T23:59:59-23:59", "TOO_FAR_IN_FUTURE"),
        (1_790_000_000_000, "TOO_FAR_IN_FUTURE"), (10**30, "TOO_FAR_IN_FUTURE"), (0, "TOO_OLD"), (-1, "TOO_OLD"),
        (-(10**30), "TOO_OLD"),
    ],
)  # fmt: skip
def test_what_is_no_moment_refuses_the_event(collector: Running, value: Any, code: str) -> None:
    """Milliseconds are far in the future, text is no time; an empty one is the same as none."""
    response = send(collector, "/v1/ingest", event(name(), occurredAt=value))
    if code:
        refused(response, 400, code)
    else:
        took(response)


@pytest.mark.parametrize("when", ["1" * 4_000, "0." + "1" * 4_000, f'"2000-01-01T00:00:00.{"0" * 4_000}Z"'])
def test_what_was_wrong_with_a_time_is_told_shortly(collector: Running, when: str) -> None:
    """A refusal does not hold all that somebody may write."""
    body = f'{{"customerId":"{name()}","metricName":"api_calls","quantity":1,"occurredAt":{when}}}'.encode()
    assert len(send(collector, "/v1/ingest", body).json()["detail"]) < 200


def test_an_event_without_a_time_happened_when_it_came(collector: Running) -> None:
    """The server's clock fills in, and the same event sent again later is still a duplicate."""
    acme = name()
    before = datetime.now(UTC)
    one = event(acme)
    took(send(collector, "/v1/ingest", one))
    assert took(send(collector, "/v1/ingest", one))["duplicates"] == 1
    [found] = recorded(collector, acme)
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(found["occurredAt"]) <= datetime.now(UTC)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_an_event_without_a_key_gets_one_and_is_told(collector: Running, key: str | None) -> None:
    """No key, an empty one and a blank one are the same: a new one each time, so nothing is deduplicated."""
    acme = name()
    one = event(acme, idempotencyKey=key)
    minted = []
    for path, body, status in (
        ("/v1/ingest", one, 200), ("/v1/ingest/batch", {"events": [event(acme), one]}, 202),
    ):  # fmt: skip
        data = took(send(collector, path, body), status)
        [told] = data["mintedKeys"]
        assert told["index"] == data["accepted"] - 1
        minted.append(told["idempotencyKey"])
    keys = [found["idempotencyKey"] for found in recorded(collector, acme)]
    assert len(set(keys)) == 3
    assert set(minted) < set(keys)


ALIASES = {
    "customerId": ("customer_id",),
    "metricName": ("metric_name", "metric_id", "metricId", "metric", "metricKey", "metric_key"),
    "quantity": ("value",),
    "occurredAt": ("occurred_at", "event_timestamp", "eventTimestamp", "timestamp"),
    "idempotencyKey": ("idempotency_key", "event_id", "eventId"),
    "productType": ("product_type",), "metadata": ("properties",), "executionStatus": ("execution_status",),
    "executionDurationMs": ("execution_duration_ms",), "traceId": ("trace_id",), "sessionId": ("session_id",),
    "agentId": ("agent_id",), "toolName": ("tool_name",), "endpointPath": ("endpoint_path",),
    "statusCode": ("status_code",), "gqlOperationType": ("gql_operation_type",), "mqttTopic": ("mqtt_topic",),
}  # fmt: skip


def test_every_spelling_of_a_field_is_the_same_event(collector: Running) -> None:
    """An event under any alias is a duplicate of the canonical one: the same in every field."""
    acme = name()
    canonical = event(
        acme, quantity=Decimal(3).__int__(), occurredAt=instant(hours=1), productType="AI_AGENT",
        metadata={"region": "eu"}, executionStatus="SUCCESS", executionDurationMs=12, traceId="t" * 40,
        sessionId=name(), agentId="a-1", toolName="search", endpointPath="/x", statusCode=200,
        gqlOperationType="QUERY", mqttTopic="a/b",
    )  # fmt: skip
    took(send(collector, "/v1/ingest", canonical))
    for field, spellings in ALIASES.items():
        for spelling in spellings:
            other = {spelling if known == field else known: value for known, value in canonical.items()}
            assert took(send(collector, "/v1/ingest", other))["duplicates"] == 1, spelling
    both = canonical | {"customer_id": "somebody-else", "value": 99, "metric": "other"}
    assert took(send(collector, "/v1/ingest", both))["duplicates"] == 1, "the contract's own spelling wins"


def test_what_the_event_says_of_its_call_may_stand_in_metadata(collector: Running) -> None:
    """Agent, session, tool, status and duration are looked for in metadata when the top level is silent."""
    acme, session_id = name(), name("session")
    for spell in (lambda n: n, lambda n: "".join(f"_{c.lower()}" if c.isupper() else c for c in n)):
        said = {"sessionId": session_id, "agentId": "a-1", "toolName": "search", "executionStatus": "ERROR",
                "executionDurationMs": 1500}  # fmt: skip
        metadata = {spell(n): v for n, v in said.items()}
        tool_call = event(
            acme, metricName="mcp_server.tool_invocations", productType="MCP_SERVER", metadata=metadata
        )
        took(send(collector, "/v1/ingest", tool_call))
    for one in recorded(collector, acme):
        assert {n: one[n] for n in said} == said


@pytest.mark.parametrize(
    ("trace", "read"),
    [
        ({"traceparent": f"00-{'4BF9' * 8}-00f067aa0ba902b7-01"}, "4bf9" * 8),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01", "xTraceId": " abc "}, "abc"),
        ({"traceparent": f"ff-{'4bf9' * 8}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": "rubbish"}, None), ({"traceparent": 3, "xTraceId": 4}, None), ({"xRequestId": "r"}, None),
    ],
)  # fmt: skip
def test_a_gateway_s_trace_names_the_trace(collector: Running, trace: Any, read: str | None) -> None:
    """The trace id of a valid traceparent, else the gateway's own id; never one that is made up."""
    acme = name()
    took(send(collector, "/v1/ingest", event(acme, trace=trace)))
    [one] = recorded(collector, acme)
    assert one["traceId"] == read
    assert one["productType"] == ("AGENTIC_API" if read else "API")
