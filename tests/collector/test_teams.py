"""Teams: the catalog says which one an agent or app belongs to, for spans as for events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aforo_collector.domain.catalog import Catalog, Team
from aforo_collector.domain.identity import Identity
from aforo_collector.service.analytics import UsageQuery

from . import readings
from .engine import Engine, body
from .readings import chat, tool
from .test_rebooking import bring_catalog

ACME = {"aforo__customer__id": "acme", "aforo__session__id": "s-1"}


def of(agent: str, **more: str) -> dict[str, str]:
    """Acme's agent in session s-1."""
    return {**ACME, "aforo__agent__id": agent, **more}


def teams(made: Engine) -> dict[str | None, int]:
    """Team → number of usage events."""
    query = UsageQuery(("teamId",), {"customerId": "acme"})
    rows = readings.reading(made).usage(made.tenant_no, query)["items"]
    return {row["teamId"]: row["eventCount"] for row in rows}


def session(made: Engine) -> dict[str, Any]:
    """Acme's session s-1 as it is shown."""
    shown = readings.reading(made).session(made.tenant_no, "s-1", customer_id="acme")
    assert shown is not None
    return shown


def use(made: Engine, catalog: Catalog) -> None:
    """Put a catalog in force as applying it does."""
    bring_catalog(made, catalog, 2)


def test_spans_and_events_of_an_agent_are_its_teams() -> None:
    """Whatever a span or an event says of its team, the catalog knows better; nobody's agent keeps what it says."""
    with readings.engine() as made:
        made.send(body([tool(1, **of("a-1")), tool(2, trace=2, **of("a-1", aforo__team__id="made up"))]))
        made.send(body([tool(3, trace=3, **of("a-9")), tool(4, trace=4, **of("a-9", aforo__team__id="ops"))]))
        event = {
            "customerId": "acme",
            "metricName": "agentic_api.tool_calls",
            "quantity": 1,
            "toolName": "lookup",
        }
        made.submit({**event, "agentId": "a-1", "teamId": "made up"}, caller=Identity(team_id="key's"))
        made.submit({**event, "agentId": "a-9", "teamId": "ops"}, {**event, "agentId": "a-9"})
        made.submit({**event, "agentId": "a-9", "teamId": "ops"}, caller=Identity(team_id="key's"))
        # A tool call is a tool call and a step.
        assert teams(made) == {"science": 5, "ops": 3, "key's": 1, None: 3}
        assert session(made)["teamId"] == "science"


def test_what_a_catalog_adds_is_not_handed_down() -> None:
    """A span below another agent's is not of that agent's team, also when that one was stored long before."""
    above, below = tool(1, **of("a-1")), tool(2, 1, name="write", **of("a-9"))
    for restarted in (False, True):
        with readings.engine() as made:
            made.send(body([above]))
            if restarted:
                made.restart()
            made.send(body([below]))
            assert teams(made) == {"science": 2, None: 2}


def test_the_final_event_is_its_teams() -> None:
    """A session that closes before its customer is known is its team's once it is, its final event too."""
    known = readings.catalog()
    with readings.engine(replace(known, customers=())) as made:
        made.send(body([tool(1, **of("a-1")), chat(2, 1, **of("a-1"))]))
        made.now_ns += 2 * readings.HOUR_NS
        made.store.begin()
        made.intake.finals.close_due(made.now_ns)
        made.store.commit(made.policy)
        before = teams(made)
        assert before.keys() == {None}
        use(made, known)
        assert teams(made) == {"science": before[None]}
        made.send(body([tool(3, trace=3, **of("a-1"))]))
        assert session(made)["adjustments"]["toolCalls"] == 1


def test_moving_an_agent_counts_from_then_on() -> None:
    """Usage stays with the team that the agent was in; what comes later is its new team's."""
    with readings.engine() as made:
        made.send(body([tool(1, **of("a-1"))]))
        acme, globex = made.catalog.customers
        moved = replace(acme, teams=(Team("arts", agents=("a-1",)),))
        use(made, replace(made.catalog, customers=(moved, globex)))
        made.send(body([tool(2, 1, name="write", **of("a-1"))]))
        assert teams(made) == {"science": 2, "arts": 2}
        assert session(made)["teamId"] == "arts"
        assert made.query("SELECT count(*) FROM voided") == [(0,)]


def test_events_of_a_series_follow_their_agent() -> None:
    """Events that are alike are booked in one go; they too are of the team that their agent is in by then."""
    event = {"customerId": "acme", "metricName": "pages", "quantity": 1, "agentId": "a-1"}
    with readings.engine() as made:
        made.submit(*[event] * 3)
        acme, globex = made.catalog.customers
        moved = replace(acme, teams=(Team("arts", agents=("a-1",)),))
        use(made, replace(made.catalog, customers=(moved, globex)))
        made.submit(*[event] * 2)
        assert teams(made) == {"science": 3, "arts": 2}


def test_an_assigned_span_is_in_the_team_of_its_agent() -> None:
    """Spans that somebody assigns to a provisional customer are its teams' once the catalog has it."""
    known = readings.catalog()
    with readings.engine(replace(known, customers=())) as made:
        made.send(body([tool(1, aforo__agent__id="a-1")]))
        made.store.begin()
        made.store.assign(made.tenant_no, (1).to_bytes(16, "big"), "acme")
        made.intake.review(made.tenant_no, (1).to_bytes(16, "big"))
        made.intake.finish(made.now_ns)
        made.store.commit(made.policy)
        assert teams(made).keys() == {None}
        use(made, known)
        assert teams(made).keys() == {"science"}
        made.restart()
        made.send(body([tool(2, name="write", aforo__agent__id="a-1")]))
        assert teams(made).keys() == {"science"}
