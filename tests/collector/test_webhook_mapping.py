"""What payloads become: defaults of the providers, paths, constants, and bounds on all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from aforo_collector.domain.metrics import TEMPLATES
from aforo_collector.domain.submission import Refusal
from aforo_collector.doors.webhooks.extraction import Extracted, extract, key_of
from aforo_collector.doors.webhooks.paths import Budget, InvalidPath, check_path, values_at
from aforo_collector.doors.webhooks.payloads import DEPTH_MAX, json_of
from aforo_collector.doors.webhooks.provider import Challenge, Incoming, MalformedPayload
from aforo_collector.doors.webhooks.registry import PROVIDERS
from aforo_collector.doors.webhooks.terms import InvalidTerms, terms_of
from hypothesis import given, settings
from hypothesis import strategies as st

URL = "https://billing.example.com/v1/ingest/webhook/x?customerId=acme"
NOW_S = 1_790_000_000
SOURCE = "0b7c6a52-3a4e-4b0e-9a55-4a7d6f0f3c11"


def extracted(
    provider: str,
    payload: Any,
    *,
    headers: Mapping[str, str] = {},
    options: Any = None,
    metric: Any = None,
    event_filter: Any = None,
    mappings: Any = None,
    customers: Any = None,
) -> list[Extracted]:
    """What a source makes of a payload: bytes, or something to send as JSON."""
    terms = terms_of(provider, options, metric, event_filter, mappings, customers)
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    found = extract(terms, SOURCE, Incoming(headers, URL, body))
    assert not isinstance(found, Challenge)
    return found


def usage(*arguments: Any, **terms: Any) -> dict[str, Any]:
    """The one usage event that a payload becomes, without what says where it came from."""
    found = [one.event for one in extracted(*arguments, **terms) if one.event is not None]
    assert len(found) == 1
    assert isinstance(found[0], dict), found
    return found[0]


SAMPLES = {
    "stripe": ("stripe.charges", "cus_sample", 1, "evt_7"),
    "twilio": ("twilio.messages", "acme", 2, "SM7:delivered"),
    "sendgrid": ("sendgrid.emails", "sample", 1, "delivered-7"),
    "github": ("github.pushes", "sample", 1, "7"),
    "slack": ("slack.mentions", "T0SAMPLE", 1, "Ev7"),
    "standard": ("api_calls", "sample", 3, "msg_7"),
    "custom": ("api_calls", "sample", 3, "7"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_samples_need_no_mapping(provider: str) -> None:
    """Each provider's usage becomes an event by the defaults alone, under the provider's event id."""
    sample = PROVIDERS[provider].sample("7", NOW_S)
    headers = {name.lower(): value for name, value in sample.headers.items()}
    event = usage(provider, sample.body, headers=headers)
    metric, customer, quantity, event_id = SAMPLES[provider]
    assert (event["metricName"], event["customerId"], event["quantity"]) == (metric, customer, quantity)
    assert event["idempotencyKey"] == f"webhook:{SOURCE}:{event_id}"
    assert event["metadata"]["provider"] == provider
    assert event["metadata"]["sourceId"] == SOURCE
    if provider not in ("twilio", "github"):
        assert event["occurredAt"] == "2026-09-21T14:13:20.000000000Z"


def test_default_metrics_are_built_in_units() -> None:
    """What a provider's defaults call a metric exists from the start, and no unit is there that none uses."""
    rules = [rules for known in PROVIDERS.values() for rules in (*known.templates.values(), known.fallback)]
    named = {rule.fields["metricName"].constant for rule in rules} - {None}
    assert named == {name for name in TEMPLATES if name.partition(".")[0] in PROVIDERS}


def test_events_of_an_array_keep_their_own_ids() -> None:
    """SendGrid's array becomes one event for each that is billed; the others are filtered."""
    body = PROVIDERS["sendgrid"].sample("1", NOW_S).body
    assert [(one.event_id, one.event is None) for one in extracted("sendgrid", body)] == [
        ("processed-1", True),
        ("delivered-1", False),
    ]
    wanted = extracted("sendgrid", body, event_filter=["processed", "deliv*"])
    assert len({one.event["idempotencyKey"] for one in wanted if isinstance(one.event, dict)}) == 2


def test_twilio_tells_messages_calls_and_streams() -> None:
    """Forms of messages and calls and the JSON of Event Streams each become their own usage."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    call = b"CallSid=CA1&CallStatus=completed&CallDuration=61&Timestamp=Mon,+21+Sep+2026+14:13:20+GMT&AccountSid=AC1"
    event = usage("twilio", call, headers=form, mappings={"customerId": "$.AccountSid"})
    assert (event["metricName"], event["quantity"], event["customerId"]) == ("twilio.call_seconds", 61, "AC1")
    assert event["occurredAt"] == "2026-09-21T14:13:20+00:00"
    streamed = {"id": "EZ1", "type": "com.twilio.messaging.message.delivered", "time": "2026-09-21T14:13:20Z",
                "data": {"messageSid": "SM1", "numSegments": 3}}  # fmt: skip
    event = usage("twilio", [streamed], headers={"content-type": "application/json"})
    assert (event["quantity"], event["idempotencyKey"]) == (3, f"webhook:{SOURCE}:EZ1")
    sent = b"MessageSid=SM1&MessageStatus=sent"
    assert extracted("twilio", sent, headers=form) == [Extracted("SM1:sent", "message.sent", None)]


def test_github_and_slack_send_forms_too() -> None:
    """A form with a field `payload` is read like the JSON in it; a slash command is an event."""
    form = {
        "content-type": "application/x-www-form-urlencoded",
        "x-github-event": "push",
        "x-github-delivery": "g",
    }
    event = usage("github", b"payload=%7B%22sender%22:%7B%22login%22:%22me%22%7D%7D", headers=form)
    assert event["customerId"] == "me"
    command = b"command=/weather&team_id=T1&trigger_id=13.1"
    event = usage("slack", command, headers=form)
    assert (event["metricName"], event["customerId"]) == ("slack.commands", "T1")
    clicked = {"type": "block_actions", "trigger_id": "13.2", "team": {"id": "T2"}}
    click = urlencode({"payload": json.dumps(clicked)}).encode()
    assert usage("slack", click, headers=form, event_filter=["block_actions"])["customerId"] == "T2"


def test_slack_is_answered_its_challenge() -> None:
    """The question whether the URL is ours is answered and becomes no event."""
    terms = terms_of("slack", None, None, None, None, None)
    body = b'{"type": "url_verification", "challenge": "abc"}'
    assert extract(terms, SOURCE, Incoming({}, URL, body)) == Challenge({"challenge": "abc"})


def test_a_mapping_wins_over_the_defaults() -> None:
    """Paths, constants, multiplier, metadata, the metric of the source and the customers' own names hold."""
    lines = [{"kind": "a", "n": 1}, {"kind": "b", "n": 7}]
    paid = {"customer": "cus_9", "amount_paid": 1234, "lines": lines}
    payload = {"id": "evt_1", "type": "invoice.paid", "created": NOW_S, "data": {"object": paid}}
    event = usage(
        "stripe",
        payload,
        metric="revenue",
        customers={"cus_9": "acme"},
        mappings={
            "quantity": {"path": "$.data.object.amount_paid", "multiplier": "0.01"},
            "productType": "API",
            "occurredAt": {"path": ["$.nowhere", "$.created"]},
            "metadata": {"b": "$.data.object.lines[?@.kind == 'b'].n", "plan": "pro"},
        },
    )
    assert (event["customerId"], event["metricName"], event["productType"]) == ("acme", "revenue", "API")
    assert event["quantity"] == Decimal("12.34")
    assert {name: event["metadata"][name] for name in ("b", "plan", "eventType")} == {
        "b": 7, "plan": "pro", "eventType": "invoice.paid",
    }  # fmt: skip


def test_custom_sources_say_where_things_are() -> None:
    """Events, ids and types of a custom sender are found by path; events without an id share the body's."""
    body = {"id": "d1", "rows": [{"n": 1, "who": "acme"}, {"n": 2, "who": "acme"}]}
    mappings = {"customerId": "$.who", "quantity": "$.n", "metricName": "rows"}
    found = extracted("custom", body, options={"eventsPath": "$.rows[*]"}, mappings=mappings)
    keys = [one.event["idempotencyKey"] for one in found if isinstance(one.event, dict)]
    assert keys == [f"webhook:{SOURCE}:d1:0", f"webhook:{SOURCE}:d1:1"]
    options = {"eventsPath": "$.rows", "eventIdPath": "$.n", "eventTypePath": "$.who"}
    found = extracted("custom", body, options=options, mappings=mappings)
    assert [(one.event_id, one.type) for one in found] == [("1", "acme"), ("2", "acme")]


@pytest.mark.parametrize(
    ("payload", "code", "field"),
    [
        (b"", "MALFORMED_PAYLOAD", ""),
        (b"\xff", "MALFORMED_PAYLOAD", ""),
        (b"[1]", "MALFORMED_PAYLOAD", ""),
        (b'{"id": NaN}', "MALFORMED_PAYLOAD", ""),
        (b'{"id": 1e9999999999999999999999}', "MALFORMED_PAYLOAD", ""),
        (b'{"id": "1", "customerId": "a"}', "UNMAPPED", "metricName"),
        (b'{"id": "1", "metricName": "m"}', "UNMAPPED", "customerId"),
        (b'{"id": "1", "metricName": "m", "customerId": {}}', "UNMAPPED", "customerId"),
        (b'{"customerId": "a", "metricName": "m"}', "NO_EVENT_ID", ""),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "quantity": "many"}', "UNMAPPED", "quantity"),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "quantity": true}', "UNMAPPED", "quantity"),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "quantity": 1e400}', "UNMAPPED", "quantity"),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "occurredAt": [1]}', "UNMAPPED", "occurredAt"),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "occurredAt": -1}', "UNMAPPED", "occurredAt"),
        (b'{"id": "1", "customerId": "a", "metricName": "m", "occurredAt": "Mon, x"}', "UNMAPPED", "occurredAt"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_says_why(payload: bytes, code: str, field: str) -> None:
    """A payload that maps to nothing is one refusal, with its code and the field."""
    (one,) = extracted("custom", payload)
    assert isinstance(one.event, Refusal)
    assert (one.event.code, one.event.field) == (code, field)


def test_a_path_gives_one_value_or_none() -> None:
    """Several values are refused, not chosen from; a blank one and a null leave it to the next path."""
    several = {"id": "1", "customerId": "a", "metricName": "m", "lines": [{"n": 1}, {"n": 2}]}
    (one,) = extracted("custom", several, mappings={"quantity": "$.lines[*].n"})
    assert isinstance(one.event, Refusal)
    assert (one.event.field, "2 values" in one.event.detail) == ("quantity", True)
    assert usage("custom", several, mappings={"quantity": "$.lines[1].n"})["quantity"] == 2
    blank = {"id": "1", "metricName": "m", "customerId": "", "customer_id": None, "customer": "a"}
    assert usage("custom", blank)["customerId"] == "a"
    (one,) = extracted("custom", blank | {"customer": " "})
    assert isinstance(one.event, Refusal)


def test_half_a_character_is_no_text() -> None:
    """What JSON can spell and UTF-8 cannot is replaced, wherever it stands."""
    half = {
        "id": "\ud800",
        "type": "\ud800",
        "customerId": "\ud800",
        "metricName": "m",
        "x": {"\ud800": ["\ud800"]},
    }
    (one,) = extracted("custom", half, mappings={"metadata": {"x": "$.x"}})
    assert json.dumps([one.event_id, one.type, one.event], default=str, ensure_ascii=False).encode()


def test_one_bad_event_costs_only_itself() -> None:
    """In an array every event is judged alone."""
    good = {"id": "1", "customerId": "a", "metricName": "m"}
    verdicts = [type(one.event) for one in extracted("custom", [good, {"id": "2"}, good | {"id": "3"}])]
    assert verdicts == [dict, Refusal, dict]


@settings(max_examples=50)
@given(
    quantity=st.decimals(0, 10**9, places=6),
    multiplier=st.decimals(Decimal("0.000001"), 1000, places=6),
    as_text=st.booleans(),
)
def test_quantities_are_exact(quantity: Decimal, multiplier: Decimal, as_text: bool) -> None:
    """A quantity is the number of the payload times the multiplier, rounded once to six digits, never a float."""
    number = f'"{quantity}"' if as_text else str(quantity)
    body = f'{{"id": "1", "customerId": "a", "metricName": "m", "amount": {number}}}'.encode()
    event = usage("custom", body, mappings={"quantity": "$.amount"})
    assert event["quantity"] == quantity
    assert isinstance(event["quantity"], Decimal)
    told = {"path": "$.amount", "multiplier": str(multiplier)}
    scaled = usage("custom", body, mappings={"quantity": told})["quantity"]
    assert abs(scaled - quantity * multiplier) <= Decimal("0.0000005")
    assert scaled == round(scaled, 6)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1_790_000_000, "2026-09-21T14:13:20.000000000Z"),
        ("1790000000.25", "2026-09-21T14:13:20.250000000Z"),
        (1_790_000_000_123, "2026-09-21T14:13:20.123000000Z"),
        ("2026-09-21T16:13:20+02:00", "2026-09-21T16:13:20+02:00"),
        ("Mon, 21 Sep 2026 14:13:20 GMT", "2026-09-21T14:13:20+00:00"),
        (0, "1970-01-01T00:00:00.000000000Z"),
    ],
)
def test_times_are_read_as_senders_write_them(time: Any, expected: str) -> None:
    """Seconds, milliseconds, ISO and mail dates mean the same moment they meant to the sender."""
    payload = {"id": "1", "customerId": "a", "metricName": "m", "at": time}
    assert usage("custom", payload, mappings={"occurredAt": "$.at"})["occurredAt"] == expected


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ({"provider": "paypal"}, "provider"),
        ({"options": {"signatureHeader": "X"}}, "options"),
        ({"provider": "custom", "options": {"signatureHeader": "a b"}}, "options.signatureHeader"),
        ({"provider": "custom", "options": {"colour": "red"}}, "options.colour"),
        ({"metric": ""}, "metricName"),
        ({"event_filter": "charge"}, "eventFilter"),
        ({"customers": {"a": 1}}, "customerMap"),
        ({"mappings": []}, "mappings"),
        ({"mappings": {"price": "$.a"}}, "mappings.price"),
        ({"mappings": {"customerId": "$.["}}, "mappings.customerId"),
        ({"mappings": {"customerId": {}}}, "mappings.customerId"),
        ({"mappings": {"customerId": {"path": "$.a", "multiplier": 2}}}, "mappings.customerId"),
        ({"mappings": {"quantity": {"path": "$.a", "multiplier": "0"}}}, "mappings.quantity"),
        ({"mappings": {"quantity": {"path": "$.a", "multiplier": "NaN"}}}, "mappings.quantity"),
        ({"mappings": {"metadata": {"a": [1]}}}, "mappings.metadata.a"),
    ],
)
def test_terms_that_make_no_sense_are_refused_by_name(terms: dict[str, Any], name: str) -> None:
    """Each wrong field of a source is named on the wire's terms."""
    with pytest.raises(InvalidTerms) as raised:
        terms_of(*({"provider": "stripe", "options": None, "metric": None, "event_filter": None,
                    "mappings": None, "customers": None} | terms).values())  # fmt: skip
    assert [found for found, _ in raised.value.problems] == [name]


@pytest.mark.parametrize(
    "path",
    ["", "a", "$.a..b..c", "$.a[0,1]", "$[?@..a]", "$[?match(@.a, '(a*)*b')]", "$[?search(@.a, 'a')]", "$[?(" * 30,
     "$." + "a" * 300, "$.a | $.b", "$.~", "$[?count(@.*) > 1]", "$" + "[*]" * 100],
)  # fmt: skip
def test_paths_that_could_take_long_are_refused(path: str) -> None:
    """What is no path of the standard, or could walk a payload more often than once a segment, is refused."""
    with pytest.raises(InvalidPath):
        check_path(path)


@settings(max_examples=300)
@given(st.text(st.sampled_from("$.[]*'\"?@()=<>&|!0a-1:,~#^_ \\u"), max_size=40))
def test_any_text_is_a_path_or_refused(path: str) -> None:
    """Compiling and walking raise what they document and nothing else."""
    payload = {"a": [{"a": 1, "0": None}, "a"], "0": {"a": Decimal("1.5")}}
    try:
        check_path(f"${path}")
        values_at(f"${path}", payload, Budget())
    except (InvalidPath, MalformedPayload):
        pass


def test_walking_is_bounded() -> None:
    """A path that visits more than the budget ends the delivery, not the collector."""
    payload = {"a": [[1] * 100] * 100}
    with pytest.raises(MalformedPayload):
        values_at("$..[*]", payload, Budget(5_000))
    assert len(values_at("$.a[*][*]", payload, Budget(11_000))) == 10_000


def test_payloads_are_bounded() -> None:
    """Depth and length of a payload are bounded, whatever its bytes."""
    assert json_of(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for body in (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), b"[" * 100_000, b'{"a":' * 50_000):
        with pytest.raises(MalformedPayload):
            json_of(body)
    with pytest.raises(MalformedPayload):
        json_of(b"[" + b"1," * 500_001 + b"1]")
    (one,) = extracted("custom", b"[" + b"{}," * 10_001 + b"{}]")
    assert isinstance(one.event, Refusal)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "type", "data", "customerId", "quantity", "event"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(
    provider=st.sampled_from(sorted(PROVIDERS)),
    body=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()),
    form=st.booleans(),
)
def test_any_payload_is_extracted_or_refused(provider: str, body: bytes, form: bool) -> None:
    """Whatever a signed body holds, it becomes events and refusals, never an exception."""
    headers = {"content-type": "application/x-www-form-urlencoded" if form else "application/json"}
    terms = terms_of(
        provider, None, "m", ["*"], {"customerId": {"path": "$..customerId", "default": "a"}}, None
    )
    found = extract(terms, SOURCE, Incoming(headers, URL, body))
    for one in [] if isinstance(found, Challenge) else found:
        assert one.event is not None
        if not isinstance(one.event, Refusal):
            json.dumps(one.event, default=str).encode()
            str(one.event["idempotencyKey"]).encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.sampled_from(["", "0", "12"]))
def test_keys_are_short_and_distinct(event_id: str, position: str) -> None:
    """A key fits its column, and another id has another key."""
    key = key_of(SOURCE, event_id, position)
    assert len(key.encode("utf-16-le")) // 2 <= 255
    assert key != key_of(SOURCE, event_id + "x", position)
