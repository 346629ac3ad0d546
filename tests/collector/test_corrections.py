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
from .engine import Engine, body
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


def test_what_left_a_session_that_is_gone_never_shows_another_one() -> None:
    """A session that lost its only event is taken away; whoever opens the next one has none of its bookings."""
    opened = {"customerId": "globex", "idempotencyKey": "g", "sessionId": "s-3"}
    with readings.engine() as made:
        made.submit({**EVENT, "sessionId": "s-1", "idempotencyKey": "e/0"}, {**EVENT, "sessionId": "s-2"})
        assert amend(made, "e/1", sessionId="s-1")
        made.now_ns += 2 * readings.HOUR_NS
        work(made, made.intake.finals.close_due)
        made.restart()
        made.submit(EVENT | opened)
        reading = readings.reading(made)
        told = reading.history(made.tenant_no, "e/1") or []
        listed = reading.usage_events(made.tenant_no, session_id="s-3", corrections=True)["items"]

    assert [view["sessionId"] for view in told] == [None, None, "s-1"]
    assert [view["eventId"] for view in listed] == ["g"]


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
        with pytest.raises(Refused, match="minutes ahead"):
            amend(made, "e/1", occurredAt=NOW_S + 3_600)
        with pytest.raises(Refused, match="longer ago"):
            amend(made, "e/1", occurredAt=NOW_S - 91 * 86_400)
        with pytest.raises(Refused, match="negative"):
            amend(made, "e/1", quantity=-1)
        assert bills(made) == before
