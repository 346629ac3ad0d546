"""What was set aside: assigned to who pays for it, sent again put right, and billed as if it had been right."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.identity import Identity
from aforo_collector.service.corrections import Corrections, NotCorrectable
from aforo_collector.service.quarantine import Quarantine
from aforo_collector.views import instant

from . import readings
from .engine import Engine, body, span
from .test_corrections import CHAT, EVENT, bills, work
from .test_submission_properties import FROM, NOW_S, TO


def test_spans_without_a_customer_can_be_assigned() -> None:
    """Assigning one span of a trace bills all its spans that name nobody, and what comes later too."""
    with readings.engine() as made:
        made.send(body([span(1, **CHAT), span(2, **CHAT)]))
        reading = readings.reading(made)
        aside = reading.quarantine(made.tenant_no)["items"]
        assert {one["code"] for one in aside} == {"NO_CUSTOMER"}
        quarantine = Quarantine(made.store, made.intake)
        number = int(aside[0]["quarantineId"])
        assert work(made, lambda now: quarantine.assign(made.tenant_no, number, "acme", now))
        made.restart()
        made.send(body([span(3, **CHAT)]))

        assert reading.quarantine(made.tenant_no)["items"] == []
        steps = [
            view for view in readings.reading(made).usage_events(made.tenant_no, customer_id="acme")["items"]
            if view["metricName"].endswith("steps")
        ]  # fmt: skip
        assert len(steps) == 3


@pytest.mark.parametrize("restarted", [False, True])
def test_the_session_of_an_assigned_trace_is_billed_to_its_customer(restarted: bool) -> None:
    """Spans that name a customer and spans that were assigned to it stay apart, and so do those that leave later."""
    acme, globex = {"aforo__customer__id": "acme"}, {"aforo__customer__id": "globex"}
    with readings.engine() as made:
        for bodies in (
            [span(1, 9, **CHAT), span(2, start_s=5, **CHAT), span(3, start_s=9, **CHAT, **acme)],
            None,
            [span(4, 3, start_s=10), span(5, 2, start_s=10)],
            [span(9, **globex)],
        ):
            if bodies is not None:
                made.send(body(bodies))
            else:
                aside = readings.reading(made).quarantine(made.tenant_no)["items"]
                number = int(aside[0]["quarantineId"])
                quarantine = Quarantine(made.store, made.intake)
                assert work(made, lambda now: quarantine.assign(made.tenant_no, number, "acme", now))  # noqa: B023
            if restarted:
                made.restart()
        assert made.query("SELECT span_id FROM usage_events WHERE kind = 5") == [(1,)]
        made.now_ns += 7_200 * 10**9
        work(made, made.intake.finals.close_due)

        for customer in ("acme", "globex"):
            invoice = readings.reading(made).invoice_preview(made.tenant_no, customer, start=FROM, end=TO)
            assert invoice is not None
            [fee] = [line for line in invoice["lines"] if line["metricName"] == "agentic_api.sessions"]
            assert (fee["quantity"], fee["amount"]) == ("1", "0.50")


def test_what_was_refused_can_be_sent_again_put_right() -> None:
    """A refused event is kept, and recorded from the quarantine once what was wrong with it is right."""
    with readings.engine() as made:
        report = made.submit({**EVENT, "metricName": "nothing"}, {**EVENT, "quantity": Decimal(4)}, EVENT)
        assert (report.recorded, report.rejected, report.conflicts) == (1, 1, 1)
        quarantine = Quarantine(made.store, made.intake)
        conflict, refused = (
            int(one["quarantineId"]) for one in readings.reading(made).quarantine(made.tenant_no)["items"]
        )

        def replay(number: int, **changes: Any) -> Any:
            return work(made, lambda now: quarantine.replay(made.tenant_no, number, changes, now))

        assert replay(refused).verdict == "rejected"
        assert replay(refused, metricName="scans", idempotency_key="e/2").verdict == "recorded"
        assert replay(conflict).verdict == "conflict"
        assert replay(conflict, idempotencyKey="e/3").verdict == "recorded"
        assert replay(conflict) is None
        assert readings.reading(made).quarantine(made.tenant_no)["items"] == []
        balance = readings.reading(made).intake_balance(made.tenant_no)
        outcomes = ("recorded", "duplicates", "conflicts", "rejected")
        assert balance["received"] == sum(balance[name] for name in outcomes)


def aside(made: Engine) -> list[int]:
    """The numbers of what is in quarantine, latest first."""
    return [int(one["quarantineId"]) for one in readings.reading(made).quarantine(made.tenant_no)["items"]]


def replayed(made: Engine, number: int, **changes: Any) -> Any:
    """What becomes of an event in quarantine that is submitted again."""
    quarantine = Quarantine(made.store, made.intake)
    return work(made, lambda now: quarantine.replay(made.tenant_no, number, changes, now))


def test_a_history_says_when_an_event_came() -> None:
    """What waited in the quarantine came before it was recorded, also once it is amended; what did not wait, then."""
    with readings.engine() as made:
        came = instant(made.now_ns)
        made.submit({**EVENT, "metricName": "nothing"})
        made.now_ns += 3_600 * 10**9
        assert replayed(made, *aside(made), metricName="scans").verdict == "recorded"
        later = instant(made.now_ns)
        made.submit({**EVENT, "idempotencyKey": "e/2"})
        made.now_ns += 3_600 * 10**9
        for key in ("e/1", "e/2"):
            corrections = Corrections(made.store, made.intake)
            assert work(made, lambda now: corrections.amend(made.tenant_no, key, {"quantity": 9}, now))  # noqa: B023

        latest = instant(made.now_ns)
        for key, received in (("e/1", came), ("e/2", later)):
            history = readings.reading(made).history(made.tenant_no, key) or []
            assert [view["receivedAt"] for view in history] == [received] * 3
            assert [view["recordedAt"] for view in history] == [later, latest, latest]


NAMED_TWICE = [
    {"quantity": 1, "value": Decimal("99.5")}, {"customerId": "acme", "customer_id": "globex"},
    {"occurredAt": NOW_S, "timestamp": NOW_S - 9}, {"metadata": {"size": "a4"}, "properties": {"size": "a5"}},
    {"quantity": 1, "value": None}, {"customerId": "acme", "customer_id": None},
]  # fmt: skip


@pytest.mark.parametrize("names", NAMED_TWICE, ids=str)
def test_what_is_replayed_is_billed_as_if_it_had_not_been_refused(names: dict[str, Any]) -> None:
    """A field that stands there under two names means the same from the quarantine as from the door."""
    sent = {**EVENT, **names}
    with readings.engine() as made:
        made.submit({**sent, "metric": "nothing", "metricName": None})
        assert replayed(made, *aside(made), metric_name="pages").verdict == "recorded"
        got = bills(made)
    with readings.engine() as made:
        made.submit(sent, door="quarantine")
        assert got == bills(made)


@pytest.mark.parametrize("late_days", [1, 40, 400])
@pytest.mark.parametrize("refused", [{"metricName": "nothing"}, {"metricName": "filtered"}])
def test_what_is_replayed_late_happened_when_it_did(late_days: int, refused: dict[str, str]) -> None:
    """However late it is put right: within the window it came in, and without a time when it came in."""
    catalog = readings.catalog()
    unit = parse({"billable_units": [{"name": "filtered", "filter": [
        {"field": "tier", "operator": "EQUALS", "value": "paid"}
    ]}]}).unit("filtered")  # fmt: skip
    assert unit is not None
    with readings.engine(replace(catalog, billable_units=(*catalog.billable_units, unit))) as made:
        timeless, old_s = {**EVENT, **refused}, NOW_S - 90 * 86_400
        made.submit(timeless, {**EVENT, **refused, "occurredAt": old_s, "idempotencyKey": "old"})
        if refused["metricName"] == "filtered":  # an upload may bring what is older
            history = {**EVENT, **refused, "occurredAt": NOW_S - 300 * 86_400, "idempotencyKey": "history"}
            made.submit(history, door="upload", window_ns=(365 * 86_400 * 10**9, 0))
        came_s = NOW_S
        made.now_ns += late_days * 86_400 * 10**9
        for number in aside(made):
            assert replayed(made, number).verdict == (
                "rejected" if refused["metricName"] == "nothing" else "recorded"
            )
        for number in aside(made):
            assert replayed(made, number, metricName="pages").verdict == "recorded"
        told = {view["eventId"]: view["occurredAt"] for view in bills(made)[0]}
        assert told["e/1"] == instant(came_s * 10**9)
        assert told["old"] == instant(old_s * 10**9)
        assert told.get("history") in (None, instant((NOW_S - 300 * 86_400) * 10**9))
        assert len(told) == 2 + (refused["metricName"] == "filtered")
        assert made.submit({**timeless, "metricName": "pages"}).duplicates == 1, (
            "its sender may send it again"
        )


def test_an_event_is_assigned_to_nobody_else_than_who_pays() -> None:
    """The credential that an event came by says whose it is; what became of the event is told."""
    with readings.engine() as made:
        made.submit({**EVENT, "metricName": "nothing"}, caller=Identity("acme"))
        made.submit({**EVENT, "metricName": "nothing", "idempotencyKey": "e/2"})
        made.submit({**EVENT, "customerId": None, "idempotencyKey": "e/3"})
        quarantine = Quarantine(made.store, made.intake)
        nobodys, unknown, keys = aside(made)

        def assign(number: int) -> Any:
            return work(made, lambda now: quarantine.assign(made.tenant_no, number, "globex", now))

        with pytest.raises(NotCorrectable, match="acme"):
            assign(keys)
        assert (assign(unknown).verdict, assign(nobodys).verdict) == ("rejected", "recorded")
        assert aside(made) == [unknown, keys]
        assert [view["eventId"] for view in bills(made)[2]] == ["e/3"]


def test_customers_that_are_not_in_the_catalog_can_be_refused() -> None:
    """Under `unknown_customers = "reject"` their usage is set aside, and billed from there once they are in."""
    catalog = readings.catalog()
    strict = replace(catalog, unknown_customers="reject")
    with readings.engine(replace(strict, customers=())) as made:
        call = span(1, **CHAT, aforo__customer__id="acme", aforo__session__id="s-1")
        made.bring(body([call]), made.submission(EVENT))
        reading = readings.reading(made)
        aside = reading.quarantine(made.tenant_no)["items"]
        assert [one["code"] for one in aside] == ["UNKNOWN_CUSTOMER", "UNKNOWN_CUSTOMER"]
        assert reading.usage_events(made.tenant_no, customer_id="acme")["items"] == []

        made.catalog = strict
        made.intake.contracts.use(made.tenant_no, strict)
        quarantine = Quarantine(made.store, made.intake)
        replayed = {
            work(
                made, lambda now, n=int(one["quarantineId"]): quarantine.replay(made.tenant_no, n, {}, now)
            ).verdict
            for one in aside
        }
        got = bills(made)
        assert replayed == {"reviewed", "recorded"}
        assert readings.reading(made).quarantine(made.tenant_no)["items"] == []

    with readings.engine(strict) as made:
        made.bring(body([call]), made.submission(EVENT))
        expected = bills(made)
    doors = [
        view.pop("door") for part in (got, expected) for listed in part for view in listed if "door" in view
    ]
    assert "quarantine" in doors
    assert got == expected
