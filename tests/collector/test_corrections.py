"""Corrections by hand: events taken back and amended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aforo_collector.domain.identity import Identity
from aforo_collector.pipeline.admit import Refused
from aforo_collector.service.corrections import Corrections, NoSuchEvent, NotCorrectable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import readings
from .engine import Engine, body, span
from .test_intake_properties import traces
from .test_submission_properties import FROM, NOW_S, TO, events, read

FIXED = ("agentId", "sessionId", "executionDurationMs")
"""What an amendment leaves as it is, also where the metadata said it that it replaces."""
EVENT = {
    "customerId": "acme",
    "metricName": "pages",
    "quantity": 3,
    "idempotencyKey": "e/1",
    "metadata": {"a": 1},
}
OTHERS: dict[str, tuple[Any, ...]] = {
    "customerId": ("acme", "globex", "stranger"),
    "sessionId": ("s-1", "s-2", "s-3"),
    "traceId": (f"{1:032x}", f"{2:032x}"),
    "occurredAt": (NOW_S, NOW_S - 5_000, NOW_S - 5_001),
    "executionDurationMs": (1, 700_000),
    "agentId": ("a-1", "a-2"),
    "teamId": ("t-1", "t-2", None),
    "appId": ("app-1", "app-2", None),
}
"""What else an amendment may say of whose and when an event is."""
CHAT = {
    "gen_ai__operation__name": "chat", "gen_ai__request__model": "m-1", "gen_ai__usage__input_tokens": 1000,
    "gen_ai__usage__output_tokens": 10,
}  # fmt: skip


def work(made: Engine, run: Any) -> Any:
    """Something done inside a transaction of its own."""
    made.store.begin()
    try:
        result = run(made.now_ns)
        made.intake.finish(made.now_ns)
        made.store.commit(made.policy)
    except BaseException:
        made.intake.forget()
        made.store.rollback()
        raise
    return result


def void(made: Engine, event_id: str) -> bool:
    """Take an event back."""
    return bool(
        work(made, lambda now: Corrections(made.store, made.intake).void(made.tenant_no, event_id, now))
    )


def amend(made: Engine, event_id: str, **changes: Any) -> bool:
    """Book an event again."""
    corrections = Corrections(made.store, made.intake)
    return bool(work(made, lambda now: corrections.amend(made.tenant_no, event_id, changes, now)))


def bills(made: Engine) -> Any:
    """What every customer is billed for."""
    reading = readings.reading(made)
    told = []
    for customer in ("acme", "globex", "stranger"):
        listed = reading.usage_events(made.tenant_no, customer_id=customer, limit=1000)["items"]
        told.append(sorted(listed, key=lambda view: str(view["eventId"])))
        invoice = reading.invoice_preview(made.tenant_no, customer, start=FROM, end=TO)
        told.append([line for line in (invoice or {"lines": []})["lines"] if line["eventCount"]])
    return json.loads(json.dumps(told, default=str))


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_corrected_is_billed_as_if_it_had_been_right(data: st.DataObject) -> None:
    """Voided events are as if never sent, amended ones as if sent right, however often and in whatever order."""
    found = data.draw(events())
    # A session's end is billed, and a session stays although its events were taken back.
    right = {str(event["idempotencyKey"]): event for event in found}
    with readings.engine() as made:
        made.submit(*found)
        for key in data.draw(st.lists(st.sampled_from(sorted(right)), max_size=5)):
            if data.draw(st.booleans()):
                changed = {"quantity": data.draw(st.integers(0, 5)), "metadata": {"size": "a3"}}
                amend(made, key, **changed)
                sent = next(event for event in found if event["idempotencyKey"] == key)
                whose = {name: sent["metadata"][name] for name in FIXED if name in sent.get("metadata", {})}
                right[key] = right.get(key, sent) | whose | changed
            elif key in right:
                assert void(made, key)
                assert not void(made, key), "again changes nothing"
                held = right.pop(key)
                if data.draw(st.booleans()):
                    amend(made, key, quantity=7)
                    right[key] = held | {"quantity": 7}
            if data.draw(st.booleans()):
                made.restart()
        got = bills(made)

    with readings.engine() as made:
        made.submit(*right.values())
        expected = bills(made)
    for mine, right_one in zip(got, expected, strict=True):
        assert mine == right_one


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whose_and_when_an_event_is_can_be_put_right(data: st.DataObject) -> None:
    """Amended customers, sessions, traces and times read as if sent right: sessions, roll-ups, invoices, all of it."""
    found = data.draw(events())
    spans = data.draw(st.one_of(st.just([]), traces()))
    right = {str(event["idempotencyKey"]): event for event in found}
    known = {"customerId": "stranger", "metricName": "scans", "quantity": 1, "idempotencyKey": "known"}
    with readings.engine() as made:
        made.bring(*(body([one]) for one in spans), made.submission(known, *found))
        for key in data.draw(st.lists(st.sampled_from(sorted(right)), max_size=5)):
            names = data.draw(st.sets(st.sampled_from(sorted(OTHERS)), max_size=3))
            changes = {name: data.draw(st.sampled_from(OTHERS[name])) for name in sorted(names)}
            amend(made, key, **changes)
            right[key] = right[key] | changes
            if data.draw(st.booleans()):
                made.restart()
        got = told(read(made))

    with readings.engine() as made:
        made.bring(*(body([one]) for one in spans), made.submission(known, *right.values()))
        assert got == told(read(made))


def told(text: str) -> list[str]:
    """Each thing that users read, for a difference that can be seen."""
    return [json.dumps(one) for one in json.loads(text)]


def test_an_event_of_a_closed_session_is_an_adjustment_of_it() -> None:
    """What is amended out of a closed session is taken off it, what is amended into one is added to it."""
    sent = {
        **EVENT,
        "metricName": "agentic_api.tool_calls",
        "toolName": "lookup",
        "quantity": 1,
        "metadata": {},
    }
    with readings.engine() as made:
        made.submit({**sent, "sessionId": "s-1"}, {**sent, "sessionId": "s-2", "idempotencyKey": "e/2"})
        made.now_ns += 2 * readings.HOUR_NS
        made.restart()
        assert amend(made, "e/1", sessionId="s-2")
        reading = readings.reading(made)
        first, second = (
            reading.session(made.tenant_no, name, customer_id="acme") or {} for name in ("s-1", "s-2")
        )
        assert (first["totals"]["toolCalls"], first["adjustments"]["toolCalls"]) == (1, -1)
        assert (second["totals"]["toolCalls"], second["adjustments"]["toolCalls"]) == (1, 1)
        history = reading.history(made.tenant_no, "e/1") or []
        assert [(view["type"], view["sessionId"]) for view in history] == [
            ("usage", "s-1"), ("void", "s-1"), ("usage", "s-2"),
        ]  # fmt: skip


def test_another_customers_team_does_not_come_along() -> None:
    """Amended to another customer, an event is of that one's team, or of the one that it states itself."""
    with readings.engine() as made:
        made.submit({**EVENT, "agentId": "a-1"}, caller=Identity(team_id="key's", app_id="key's"))
        assert amend(made, "e/1", customerId="globex")
        history = readings.reading(made).history(made.tenant_no, "e/1") or []
        assert [(view["customerId"], view["teamId"], view["appId"]) for view in history] == [
            ("acme", "science", "key's"), ("acme", "science", "key's"), ("globex", None, None),
        ]  # fmt: skip
        assert made.submit(
            {**EVENT, "agentId": "a-1"}, caller=Identity(team_id="key's", app_id="key's")
        ).duplicates


def test_an_amendment_knows_better_than_the_credential_whose_an_event_is() -> None:
    """Team and app are as an amendment says, whatever the key or the event said before; both stay otherwise."""
    with readings.engine() as made:
        made.submit({**EVENT, "appId": "sent"}, caller=Identity(team_id="key's"))
        for changes, whose in (
            ({"quantity": 5}, ("key's", "sent")), ({"teamId": "t-1"}, ("t-1", "sent")),
            ({"app_id": "app-1"}, ("t-1", "app-1")), ({"teamId": None, "appId": None}, (None, None)),
            ({"quantity": 6}, (None, None)),
        ):  # fmt: skip
            assert amend(made, "e/1", **changes)
            [view] = bills(made)[0]
            assert (view["teamId"], view["appId"]) == whose


def test_an_event_is_not_taken_for_a_metric_of_another() -> None:
    """`KEY#metric` is what is derived of an event, and nothing else is: an unknown key corrects no other event."""
    call = {**EVENT, "metadata": {"model": "m-1", "input_tokens": 10}}
    with readings.engine() as made:
        made.submit({**EVENT, "idempotencyKey": "order"}, {**call, "idempotencyKey": "call"})
        before = bills(made)
        for unknown in ("order#2", "order#", "order#scans", "call#pages#pages", "#order"):
            with pytest.raises(NoSuchEvent):
                void(made, unknown)
            with pytest.raises(NoSuchEvent):
                amend(made, unknown, quantity=9)
        assert bills(made) == before
        [derived] = [v["eventId"] for v in before[0] if v["metricName"] == "agentic_api.input_tokens"]
        assert void(made, derived), "with one metric of an event goes all that it was billed for"
        assert [view["eventId"] for view in bills(made)[0]] == ["order"]


def test_an_event_has_a_history() -> None:
    """Recorded, voided, recorded again: every booking is there, in sequence, and refers to the one before."""
    with readings.engine() as made:
        made.submit(EVENT)
        assert amend(made, "e/1", quantity=5)
        assert not amend(made, "e/1", quantity=5)
        assert void(made, "e/1")

        history = readings.reading(made).history(made.tenant_no, "e/1") or []
        assert [(view["type"], view["quantity"]) for view in history] == [
            ("usage", "3"), ("void", "3"), ("usage", "5"), ("void", "5"),
        ]  # fmt: skip
        numbers = [view["eventNo"] for view in history]
        assert [view["corrects"] for view in history] == [None, *numbers[:-1]]
        assert made.submit(EVENT).duplicates == 1, "the key stays taken"


def test_a_span_that_was_voided_stays_so() -> None:
    """What a span is billed for can be taken back; spans that come later do not bring it back."""
    with readings.engine() as made:
        call = span(1, parent_id=2, aforo__customer__id="acme", **CHAT)
        made.send(body([call]))
        reading = readings.reading(made)
        [event, *_] = reading.usage_events(made.tenant_no, customer_id="acme")["items"]
        assert void(made, event["eventId"])
        made.send(body([span(2, aforo__customer__id="acme", aforo__session__id="s-9")]))

        assert reading.usage_events(made.tenant_no, customer_id="acme")["items"] == []
        assert [v["type"] for v in reading.history(made.tenant_no, event["eventId"]) or []] == [
            "usage",
            "void",
        ]
        with pytest.raises(NotCorrectable):
            amend(made, event["eventId"], quantity=1)


ID = {"gen_ai__response__id": "r-1"}
TOOL = {
    "gen_ai__operation__name": "execute_tool",
    "gen_ai__tool__name": "lookup",
    "gen_ai__tool__call__id": "c-1",
}
FULLER = {**CHAT, "gen_ai__usage__cache_read__input_tokens": 5}
COPIES: dict[str, list[dict[str, Any]]] = {
    "siblings": [span(1, **CHAT, **ID), span(2, start_s=0.5, **FULLER, **ID)],
    "siblings that are tools": [span(1, **TOOL), span(2, error=True, **TOOL)],
    "in two traces": [
        span(1, source="aforo", **CHAT),
        span(2, trace=2, source="other", start_s=0.5, **FULLER),
    ],
    "the client inside": [span(1, **CHAT), span(2, 1, **CHAT)],
    "a bare client inside": [span(1, **CHAT), span(2, 1, gen_ai__operation__name="chat")],
    "the framework around": [span(1, 2, **CHAT), span(2, **FULLER)],
    "the server's tool inside": [span(1, **TOOL), span(2, 1, **TOOL)],
    "the framework's tool around": [span(1, 2, **TOOL), span(2, **TOOL)],
}
"""Two spans of one call, each kind in a way of its own."""


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("kind", COPIES)
def test_a_call_that_was_voided_stays_so_whoever_else_tells_of_it(
    kind: str, later: bool, restarted: bool
) -> None:
    """No other span of the call brings it back, known before or come later, when its trace is looked at again."""
    turned = [] if "bare" in kind else [COPIES[kind][::-1]]  # a call without tokens may be another one
    for first, second in [COPIES[kind], *turned]:
        with readings.engine() as made:
            whose = {"aforo__customer__id": "acme"}
            copies = [
                one | {"attributes": one["attributes"] | {"aforo.customer.id": "acme"}}
                for one in (first, second)
            ]
            made.send(body(copies[:1] if later else copies))
            reading = readings.reading(made)
            while events := reading.usage_events(made.tenant_no, customer_id="acme")["items"]:
                assert void(made, events[0]["eventId"])
            if restarted:
                made.restart()
            more = [
                span(number, parent, trace, start_s=9, **whose)
                for number, parent, trace in ((8, 1, 1), (9, 2, 1), (9, 2, 2))
            ]
            made.send(body([*copies[1:], *more]))
            made.send(body([span(10, trace=3, source="another", **CHAT, start_s=2_000, **whose)]))

            items = readings.reading(made).usage_events(made.tenant_no, customer_id="acme")["items"]
            assert {item["spanId"] for item in items} == {f"{10:016x}"}, first["span_id"]


def test_what_cannot_be_corrected_says_why() -> None:
    """Unknown events, final events, other keys, and what no event may say are refused and change nothing."""
    with readings.engine() as made:
        made.submit(EVENT)
        before = bills(made)
        with pytest.raises(NoSuchEvent):
            void(made, "nothing")
        with pytest.raises(NoSuchEvent):
            void(made, f"{1:032x}-{1:016x}-steps")
        with pytest.raises(NotCorrectable):
            void(made, "final-0")
        with pytest.raises(Refused, match="void the event"):
            amend(made, "e/1", idempotency_key="e/2")
        with pytest.raises(Refused, match="future"):
            amend(made, "e/1", occurredAt=NOW_S + 3_600)
        with pytest.raises(Refused, match="longer ago"):
            amend(made, "e/1", occurredAt=NOW_S - 91 * 86_400)
        with pytest.raises(Refused, match="negative"):
            amend(made, "e/1", quantity=-1)
        assert bills(made) == before
