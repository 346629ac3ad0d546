"""Sessions idle and close by stored times, with one final event each, whatever restarts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.session import Policy, Session
from aforo_collector.domain.usage import Kind
from aforo_collector.service.quarantine import Quarantine
from aforo_collector.store.session_reads import SessionReads
from aforo_collector.store.session_rows import decode as decode_session
from aforo_collector.views import session_totals, session_view

from .engine import NOW_NS, NS, Engine, body, span
from .test_corrections import work


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with the default policy: idle after 60 s, closed after an hour."""
    made = Engine(tmp_path)
    yield made
    made.database.close()


def chat(span_id: int, session: str = "s-1", start_s: float = 0, **more: Any) -> dict[str, Any]:
    """A model call of 100 tokens in, 10 out."""
    return span(
        span_id, start_s=start_s, trace=span_id,
        **{
            "aforo.customer.id": "acme", "aforo.session.id": session, "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10, **more,
        },
    )  # fmt: skip


def view(engine: Engine, session_id: str = "s-1") -> dict[str, Any]:
    """The session as users see it."""
    [(stored,)] = engine.query("SELECT body FROM sessions WHERE session_id = ?", session_id)
    return session_view(decode_session(stored), engine.now_ns, engine.policy)


def finals(engine: Engine) -> list[dict[str, Any]]:
    """Metadata of all final events."""
    rows = engine.query("SELECT metadata FROM usage_events WHERE kind = ?", int(Kind.FINAL))
    return [json.loads(row[0]) for row in rows]


def close_due(engine: Engine) -> None:
    """What the collector's clock does every second."""
    engine.store.begin()
    engine.intake.finals.close_due(engine.now_ns)
    engine.store.commit(engine.policy)


def close(engine: Engine, session_id: str = "s-1") -> None:
    """What POST /v1/sessions/{id}/close does."""
    engine.store.begin()
    for session in engine.store.sessions.by_id(engine.tenant_no, session_id, None):
        engine.intake.finals.close(session.session_no, engine.now_ns)
    engine.store.commit(engine.policy)


@pytest.mark.parametrize("restart", [False, True])
def test_state_follows_from_stored_times(engine: Engine, restart: bool) -> None:
    """ACTIVE until 60 s without activity, IDLE until an hour, then CLOSED; a restart in between changes nothing."""
    states = []
    engine.send(body([chat(1)]))
    for later_s in (0, 59, 60, 3599, 3600):
        if restart:
            engine.restart()
        clock = engine.now_ns
        engine.now_ns += later_s * NS
        close_due(engine)
        states.append(view(engine)["state"])
        engine.now_ns = clock

    assert states == ["ACTIVE", "ACTIVE", "IDLE", "IDLE", "CLOSED"]


def test_activity_wakes_an_idle_session(engine: Engine) -> None:
    """IDLE becomes ACTIVE again with the next call, and the timeout starts anew."""
    engine.send(body([chat(1)]))
    engine.now_ns += 3000 * NS
    assert view(engine)["state"] == "IDLE"

    engine.send(body([chat(2)]))
    assert view(engine)["state"] == "ACTIVE"

    engine.now_ns += 3000 * NS
    close_due(engine)
    assert view(engine)["state"] == "IDLE"


def test_a_timeout_closes_at_the_deadline_not_when_somebody_looks(engine: Engine) -> None:
    """A collector that was down for a day closes the session at the hour it was due, once."""
    engine.send(body([chat(1)]))
    sent_ns = engine.now_ns
    engine.now_ns += 86_400 * NS
    engine.restart()
    for _ in range(3):
        close_due(engine)

    [(closed_ns,)] = engine.query("SELECT closed_ns FROM sessions")
    assert closed_ns == sent_ns + 3600 * NS
    assert len(finals(engine)) == 1
    assert view(engine)["closeReason"] == "TIMEOUT"


def test_a_maximum_age_closes_a_busy_session(tmp_path: Path) -> None:
    """With a maximum age a session closes although work goes on."""
    engine = Engine(tmp_path, policy=Policy(age_s_max=100))
    for number in range(1, 4):
        engine.send(body([chat(number)]))
        engine.now_ns += 50 * NS
    close_due(engine)

    assert view(engine)["closeReason"] == "MAX_AGE"
    engine.database.close()


def test_the_final_event_is_the_sum_of_the_session(engine: Engine) -> None:
    """Totals of the final event equal those of the session and the sum over its events; closing again adds none."""
    engine.send(body([chat(1), chat(2, start_s=10), chat(3, **{"gen_ai.request.model": "mystery"})]))
    close(engine)
    close(engine)

    [final] = finals(engine)
    [(stored,)] = engine.query("SELECT body FROM sessions")
    assert final["totals"] == session_totals(decode_session(stored))
    [(tokens, cost)] = engine.query("SELECT sum(input + output), sum(cost) FROM usage_events")
    assert final["totals"]["tokens"]["total"] == tokens == 330
    assert Decimal(final["totals"]["providerCost"]) == Decimal(str(cost))
    assert final["totals"]["unpricedCalls"] == 1


def test_pauses_do_not_count_as_active_time(engine: Engine) -> None:
    """Gaps up to the idle timeout belong to the work, longer ones are pauses; wall time counts both."""
    engine.send(body([chat(1, start_s=0), chat(2, start_s=31), chat(3, start_s=500)]))

    totals = view(engine)["totals"]
    assert (totals["activeDurationMs"], totals["wallDurationMs"]) == (33_000, 501_000)


@pytest.mark.parametrize("start_ns", [0, 1, NOW_NS // 1000, NOW_NS - 91 * 86_400 * NS])
def test_a_start_that_nobody_set_is_not_billed_as_time(engine: Engine, start_ns: int) -> None:
    """A span that began in 1970, or in microseconds, is a moment of its session, and no fifty years of it."""
    engine.send(body([chat(1), chat(2) | {"start": start_ns}]))

    assert view(engine)["totals"]["wallDurationMs"] == 1_000
    engine.restart()
    assert engine.send(body([chat(2) | {"start": start_ns}]))[0].duplicates == 1


@pytest.mark.parametrize("milliseconds", [-1, 91 * 86_400_000, 10**15, 2**53])
def test_a_duration_that_cannot_be_is_none(engine: Engine, milliseconds: int) -> None:
    """An event that says it took longer than any does counts as a moment, wherever it says so."""
    event = {"customerId": "acme", "metricName": "api_calls", "quantity": 1, "sessionId": "s-1"}
    engine.submit(
        event | {"executionDurationMs": milliseconds},
        event | {"metadata": {"executionDurationMs": milliseconds}},
    )

    assert view(engine)["totals"]["wallDurationMs"] == 0


@pytest.mark.parametrize("restart", [False, True])
def test_late_spans_become_adjustments(engine: Engine, restart: bool) -> None:
    """What arrives after the close is billed as an adjustment that names the session; the final event stands."""
    engine.send(body([chat(1)]))
    close(engine)
    before = finals(engine)
    if restart:
        engine.restart()
    engine.now_ns += 10 * NS
    engine.send(body([chat(2)]), body([chat(2)]))

    assert finals(engine) == before
    shown = view(engine)
    assert shown["state"] == "CLOSED"
    assert shown["totals"]["tokens"]["total"] == 110
    assert shown["adjustments"]["tokens"]["total"] == 110
    rows = engine.query(
        "SELECT adjustment, count(*) FROM usage_events WHERE kind = ? GROUP BY 1", int(Kind.MODEL)
    )
    assert rows == [(0, 1), (1, 1)]


def test_a_span_after_the_deadline_is_late_even_if_nobody_noticed_yet(engine: Engine) -> None:
    """The deadline decides: a span that comes before the sweep but after the deadline is an adjustment."""
    engine.send(body([chat(1)]))
    engine.now_ns += 3600 * NS
    engine.send(body([chat(2)]))

    assert len(finals(engine)) == 1
    assert view(engine)["adjustments"]["modelCalls"] == 1


def test_an_end_marker_closes_after_everything_that_came_with_it(engine: Engine) -> None:
    """A program's own end of session includes all spans of the same delivery, also those behind it."""
    marker = span(
        9, **{"aforo.customer.id": "acme", "aforo.session.id": "s-1", "aforo.operation.name": "session_end"}
    )
    engine.send(body([chat(1), marker, chat(2)]), body([chat(3)]))

    [final] = finals(engine)
    assert final["totals"]["modelCalls"] == 3
    assert view(engine)["closeReason"] == "EXPLICIT"


def test_every_end_marker_closes_its_session_however_many_come_at_once(engine: Engine) -> None:
    """A backlog of short sessions that arrives in one transaction is closed as any other is."""
    count = 2_050  # more than are remembered
    ends = [
        span(
            count + number, trace=number,
            **{"aforo.customer.id": "acme", "aforo.session.id": f"s-{number}", "aforo.operation.name": "session_end"},
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    engine.send(body(ends))

    assert engine.query("SELECT count(*) FROM sessions WHERE closed_ns > 0") == [(count,)]
    assert len(finals(engine)) == count


def end(session_id: str, trace: int = 9, **attributes: Any) -> Any:
    """A program's own end of a session that names no customer, in a trace of its own."""
    named = {"aforo.session.id": session_id, "aforo.operation.name": "session_end"}
    return span(trace, trace=trace, **named | attributes)


def test_an_end_marker_without_a_customer_closes_the_only_session_so_called(engine: Engine) -> None:
    """Who pays may be said by what runs in the session alone; with several customers nobody can tell whose it is."""
    engine.send(body([end("s-1", 8), chat(1), end("unheard-of", 9)]))
    assert view(engine)["closeReason"] == "EXPLICIT"
    assert engine.query("SELECT code, hex(trace_id) FROM quarantine") == [("NO_CUSTOMER", f"{9:032x}")]

    shared = {"aforo.session.id": "s-2"}
    engine.send(body([chat(2, **shared), chat(3, **shared, **{"aforo.customer.id": "globex"})]))
    engine.send(body([end("s-2", 10)]))
    assert len(finals(engine)) == 1
    assert engine.query("SELECT count(*) FROM quarantine") == [(2,)]


def test_an_end_marker_closes_its_session_when_its_customer_becomes_known(engine: Engine) -> None:
    """Assigned to a customer, or looked at again when its session is there, it closes what it says is over."""
    engine.send(body([end("s-1"), end("s-2", 8)]))
    assert finals(engine) == []
    engine.send(body([chat(1), chat(2, **{"aforo.session.id": "s-2"})]))
    quarantine = Quarantine(engine.store, engine.intake)
    first, second = (row[0] for row in engine.query("SELECT quarantine_no FROM quarantine ORDER BY 1"))
    work(engine, lambda now: quarantine.assign(engine.tenant_no, first, "acme", now))
    assert view(engine)["closeReason"] == "EXPLICIT"
    engine.restart()
    quarantine = Quarantine(engine.store, engine.intake)
    work(engine, lambda now: quarantine.replay(engine.tenant_no, second, {}, now))
    assert view(engine, "s-2")["closeReason"] == "EXPLICIT"
    assert engine.query("SELECT count(*) FROM quarantine") == [(0,)]
    assert [final["totals"]["modelCalls"] for final in finals(engine)] == [1, 1]


def test_two_customers_may_use_the_same_session_id(engine: Engine) -> None:
    """Sessions belong to a customer: equal ids of two customers stay apart."""
    engine.send(body([chat(1), chat(2, **{"aforo.customer.id": "globex"})]))

    rows = engine.query("SELECT count(*) FROM sessions WHERE session_id = 's-1'")
    assert rows == [(2,)]


def test_a_price_that_arrives_later_rates_what_was_unpriced(engine: Engine) -> None:
    """An unpriced call is recorded again with its cost once there is a price; the sums show it once."""
    engine.send(body([chat(1, **{"gen_ai.request.model": "mystery"})]))
    assert view(engine)["totals"]["unpricedCalls"] == 1

    from .engine import RATES, cost_of

    engine.intake.contracts.use(
        engine.tenant_no, engine.catalog, lambda _p, _m, pools, _t: cost_of(pools, RATES)
    )
    engine.store.begin()
    for event_no in engine.store.unpriced(engine.tenant_no):
        assert engine.intake.reprice(engine.tenant_no, event_no, engine.now_ns)
    engine.store.commit(engine.policy)

    totals = view(engine)["totals"]
    assert (totals["unpricedCalls"], totals["modelCalls"], totals["tokens"]["total"]) == (0, 1, 110)
    assert Decimal(totals["providerCost"]) == 100 * RATES.input + 10 * RATES.output  # type: ignore[operator]
    assert engine.store.unpriced(engine.tenant_no) == []


def test_a_rolled_back_delivery_leaves_no_trace_in_memory(tmp_path: Path) -> None:
    """A batch number that is given again names the body that came, not the one whose transaction failed."""
    acme = {"aforo.customer.id": "acme"}
    before = body([span(2, 1, start_s=100, **acme), span(3, start_s=100, **acme)])
    parent = span(1, start_s=100, **acme, **{"aforo.session.id": "s-1"})
    lost, kept = body([parent, span(4, start_s=50, **acme)]), body([parent, span(5, start_s=70, **acme)])
    started = []
    for failing in (False, True):
        engine = Engine(tmp_path / str(failing))
        engine.send(before)
        if failing:
            engine.fail(lost)
        engine.send(kept)
        started.append(view(engine, (1).to_bytes(16, "big").hex())["startedAt"])
        engine.database.close()

    assert started[0] == started[1]


def test_a_session_that_was_taken_away_gives_back_its_number_and_its_id(engine: Engine) -> None:
    """Who has an id, and under which number, follows from the sessions that are there."""
    acme, other = NOBODY._replace(customer_id="acme"), NOBODY._replace(customer_id="other")

    def turn(tenant_no: int, identity: Identity, session_id: str) -> Session:
        """Open a session and take it away again, with what was planned for it, and start the process again."""
        engine.store.begin()
        session = engine.store.sessions.open(tenant_no, identity, session_id, engine.now_ns)
        session.spans = 1
        engine.store.commit(engine.policy)
        engine.store.begin()
        engine.store.sessions.remove(session)
        for due_ns, number in engine.store.sessions.due(2**62, 9):
            engine.store.sessions.looked_at(due_ns, number, None)
        engine.store.commit(engine.policy)
        engine.restart()
        return session

    opened = [(2, acme, "a"), (1, acme, "a"), (1, other, "a"), (1, acme, "b"), (1, acme, "a")]
    assert {turn(*each).session_no for each in opened} == {1}
    engine.store.begin()
    for customer, count in [(acme, 1), (other, 2), (acme, 2)]:
        session = engine.store.sessions.open(1, customer, "a", engine.now_ns)
        session.spans = 1
        assert session.session_no == (1 if customer == acme else 2)
        assert len(engine.store.sessions.by_id(1, "a", None)) == count
    assert engine.store.sessions.by_id(2, "a", None) == engine.store.sessions.by_id(1, "b", None) == []
    engine.store.commit(engine.policy)
    engine.restart()
    found = engine.store.sessions.by_id(1, "a", None)
    assert sorted((session.session_no, session.customer_id) for session in found) == [
        (1, "acme"),
        (2, "other"),
    ]
    with engine.database.reading() as connection:
        assert len(SessionReads(connection, 1).by_id("a", None)) == 2
        assert (
            SessionReads(connection, 1).by_id("b", None) == SessionReads(connection, 2).by_id("a", None) == []
        )
    assert engine.store.sessions.open(2, acme, "a", engine.now_ns).session_no == 3
